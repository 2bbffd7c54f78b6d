"""Number formats, threads and devices: what is chosen for which machine."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from assay.config import RuntimeConfig
from assay.runtime import (
    Machine,
    apply_runtime,
    release_memory,
    resolve_precision,
    resolve_steps_per_execution,
    strategy_for,
    use_jit,
)

AMX = frozenset({"avx2", "avx512f", "avx512_bf16", "amx_bf16"})


@pytest.mark.parametrize(
    ("flags", "gpus", "expected"),
    [
        (AMX, [], "mixed_bfloat16"),
        (frozenset({"avx512f", "avx512_bf16"}), [], "mixed_bfloat16"),
        (frozenset({"avx2", "avx512f"}), [], "float32"),
        (frozenset(), [], "float32"),
        (frozenset(), [(9, 0)], "mixed_bfloat16"),
        (frozenset(), [(8, 0), (8, 6)], "mixed_bfloat16"),
        (AMX, [(7, 5)], "mixed_float16"),
        (AMX, [(8, 0), (7, 0)], "mixed_float16"),
        (AMX, [(6, 1)], "float32"),
    ],
)
def test_auto_takes_the_fastest_format_that_every_device_has(
    flags: frozenset[str], gpus: list[tuple[int, int]], expected: str
) -> None:
    assert resolve_precision(RuntimeConfig(), Machine(flags, tuple(gpus))) == expected


def test_a_format_asked_for_is_taken_on_any_machine() -> None:
    machine = Machine(frozenset(), ())
    assert resolve_precision(RuntimeConfig(precision="mixed_bfloat16"), machine) == "mixed_bfloat16"


def test_applying_a_runtime_sets_format_and_seeds() -> None:
    before = keras.mixed_precision.global_policy().name
    try:
        assert apply_runtime(RuntimeConfig(precision="mixed_bfloat16"), 5) == "mixed_bfloat16"
        first = np.asarray(keras.random.normal((3,)))
        layer = keras.layers.Dense(2)
        assert (layer.compute_dtype, layer.variable_dtype) == ("bfloat16", "float32")
        apply_runtime(RuntimeConfig(precision="float32"), 5)
        np.testing.assert_array_equal(first, np.asarray(keras.random.normal((3,))))
        assert keras.layers.Dense(2).compute_dtype == "float32"
    finally:
        keras.mixed_precision.set_global_policy(before)


def test_xla_is_never_chosen_on_a_processor() -> None:
    assert not tf.config.list_physical_devices("GPU"), "this test is about machines without a GPU"
    assert not use_jit(RuntimeConfig())
    assert use_jit(RuntimeConfig(jit_compile="always"))
    assert resolve_steps_per_execution(RuntimeConfig()) == 1
    assert resolve_steps_per_execution(RuntimeConfig(steps_per_execution=4)) == 4


def test_one_device_needs_no_strategy_and_takes_any_batch() -> None:
    assert strategy_for(7).num_replicas_in_sync == 1


def test_processor_flags_are_read_where_there_are_any(tmp_path: Path) -> None:
    from assay.runtime import _cpu_flags

    (tmp_path / "cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu avx512_bf16 amx_bf16\nbugs\t: none\n")
    assert _cpu_flags(tmp_path / "cpuinfo") == {"fpu", "avx512_bf16", "amx_bf16"}
    assert _cpu_flags(tmp_path / "absent") == frozenset()


def test_releasing_memory_leaves_the_number_format_as_it_was() -> None:
    import keras

    try:
        apply_runtime(RuntimeConfig(precision="mixed_bfloat16"), 0)
        release_memory()
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
        assert keras.layers.Dense(1).compute_dtype == "bfloat16"
    finally:
        keras.config.set_dtype_policy("float32")
