"""How the machine is used: number format, threads, GPU memory, determinism and the device strategy."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf

from assay.config import RuntimeConfig
from assay.errors import InputError
from assay.observability.progress import log
from assay.observability.resources import available_cores

CPU_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}
FIRST_GPU_WITH_BFLOAT16 = (8, 0)  # compute capability: Ampere
FIRST_GPU_WITH_FLOAT16 = (7, 0)  # compute capability: Volta, the first with tensor cores


@dataclass(frozen=True)
class Machine:
    """What decides about number formats: the processor's flags and each GPU's compute capability."""

    cpu_flags: frozenset[str]
    gpus: tuple[tuple[int, int], ...]

    @classmethod
    def this(cls) -> Machine:
        """Return the present machine's."""
        capabilities = []
        for gpu in tf.config.list_physical_devices("GPU"):
            details = tf.config.experimental.get_device_details(gpu)
            capabilities.append(tuple(details.get("compute_capability", (0, 0))))
        return cls(cpu_flags=_cpu_flags(), gpus=tuple(capabilities))


def _cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # no Linux: nothing is known, and float32 is right everywhere
        return frozenset()
    for line in lines:
        if line.startswith("flags"):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def resolve_precision(runtime: RuntimeConfig, machine: Machine | None = None) -> str:
    """Choose Keras's number-format policy.

    Args:
        runtime: ``precision`` other than ``auto`` is taken as it is.
        machine: What to choose for; the present one if None.

    Returns:
        ``mixed_bfloat16`` where the GPU (all of them), or without GPUs the processor, computes in it;
        ``mixed_float16`` on older GPUs with tensor cores; otherwise ``float32``.
    """
    if runtime.precision != "auto":
        return runtime.precision
    machine = machine or Machine.this()
    if machine.gpus:
        oldest = min(machine.gpus)
        if oldest >= FIRST_GPU_WITH_BFLOAT16:
            return "mixed_bfloat16"
        return "mixed_float16" if oldest >= FIRST_GPU_WITH_FLOAT16 else "float32"
    return "mixed_bfloat16" if machine.cpu_flags & CPU_BFLOAT16_FLAGS else "float32"


def release_memory() -> None:
    """Give back what models and graphs that are no longer held still take.

    Clearing Keras's session resets the number format too, with all else that is global there: what is built next
    would compute in float32 whatever was asked for. It is set again.
    """
    policy = keras.config.dtype_policy()
    keras.backend.clear_session()
    keras.config.set_dtype_policy(policy)
    gc.collect()


def use_jit(runtime: RuntimeConfig) -> bool:
    """Return whether steps are compiled with XLA: on CPU it ran the small CNN at a tenth of the speed."""
    if runtime.jit_compile == "auto":
        return bool(tf.config.list_logical_devices("GPU"))
    return runtime.jit_compile == "always"


def resolve_steps_per_execution(runtime: RuntimeConfig) -> int:
    """Return how many steps one call runs: several on GPUs, whose steps are shorter than a call."""
    return runtime.steps_per_execution or (8 if tf.config.list_logical_devices("GPU") else 1)


def apply_runtime(runtime: RuntimeConfig, seed: int) -> str:
    """Set threads, GPU memory growth, number format, determinism and all seeds of this process.

    Args:
        runtime: The section of the config. ``workers`` bounds TensorFlow's threads too.
        seed: Of Python, NumPy and Keras: initial weights and dropout masks follow from it.

    Returns:
        The name of the number-format policy in force.
    """
    _set_threads(runtime.workers)
    for gpu in tf.config.list_physical_devices("GPU"):
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:
            log("GPU memory: TensorFlow was in use before this step began; it keeps the memory it holds.")
            break
    policy = resolve_precision(runtime)
    keras.mixed_precision.set_global_policy(policy)
    keras.utils.set_random_seed(seed)
    if runtime.deterministic:
        tf.config.experimental.enable_op_determinism()
    return policy


def _set_threads(workers: int | None) -> None:
    cores = available_cores()
    threads = min(workers, cores) if workers is not None else cores
    # One operation at a time, on all cores: two at once take the cores and the cache from each other. Several devices
    # have to run side by side.
    at_once = threads if _several_devices() else 1
    pools = tf.config.threading
    if threads == pools.get_intra_op_parallelism_threads() and at_once == pools.get_inter_op_parallelism_threads():
        return
    try:
        pools.set_intra_op_parallelism_threads(threads)
        pools.set_inter_op_parallelism_threads(at_once)
    except RuntimeError:
        # Fixed at first use in a process. A notebook or a test keeps the number it began with.
        pass


def _several_devices() -> bool:
    """Return whether there is a GPU beside the processor, or the processor is split into several logical devices."""
    processors = tf.config.list_physical_devices("CPU")
    split = tf.config.get_logical_device_configuration(processors[0]) or []
    return bool(tf.config.list_physical_devices("GPU")) or len(split) > 1


def strategy_for(*batch_sizes: int) -> tf.distribute.Strategy:
    """Return the strategy under which a model is to be built and trained.

    Args:
        batch_sizes: Images a step, over all devices together, of each phase.

    Returns:
        ``MirroredStrategy`` where several GPUs (or, without GPUs, several logical CPU devices) are
        visible; otherwise TensorFlow's default strategy of one device.

    Raises:
        InputError: The batch cannot be shared evenly among the devices.
    """
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(devices) < 2:
        return tf.distribute.get_strategy()
    for batch_size in batch_sizes:
        if batch_size % len(devices):
            nearest = max(1, round(batch_size / len(devices))) * len(devices)
            raise InputError(
                f"batch_size {batch_size} cannot be shared evenly among {len(devices)} devices. "
                f"Give a multiple of {len(devices)}, such as {nearest}."
            )
    return tf.distribute.MirroredStrategy([device.name for device in devices])
