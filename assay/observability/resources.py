"""What a step cost: time, processor, memory of all its processes, GPUs, and money where the price is known.

``ASSAY_PRICES`` holds prices an hour by kind of machine, as JSON: ``{"n1-standard-8-t4": 0.73}``;
``ASSAY_MACHINE`` says which kind this is, ``ASSAY_WORKER_MACHINE`` that of a search's worker pods. The deployment sets
them.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from pathlib import Path

import psutil

from assay.errors import InputError

PRICES_VARIABLE = "ASSAY_PRICES"
MACHINE_VARIABLE = "ASSAY_MACHINE"
WORKER_MACHINE_VARIABLE = "ASSAY_WORKER_MACHINE"
SAMPLE_SECONDS = 0.2
MEBIBYTE = 2**20


class ResourceMeter:
    """Measures the body of a ``with`` statement, child processes included.

    Memory is looked at every so often: a peak shorter than the interval can be missed.

    Args:
        sample_seconds: Time between two looks.
    """

    def __init__(self, sample_seconds: float = SAMPLE_SECONDS) -> None:
        self.sample_seconds = sample_seconds
        self._process = psutil.Process()
        self._stop = threading.Event()
        self._peak_bytes = 0
        self._seconds = 0.0
        self._cpu_seconds = 0.0

    def __enter__(self) -> ResourceMeter:
        self._price = price_per_hour()
        self._gpus = visible_gpus()
        self._look_at_memory()
        self._cpu_before = self._cpu_so_far()
        self._started = time.monotonic()
        self._thread = threading.Thread(target=self._watch, name="resource-meter", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._seconds = time.monotonic() - self._started
        self._cpu_seconds = max(0.0, self._cpu_so_far() - self._cpu_before)
        self._stop.set()
        self._thread.join()
        self._look_at_memory()

    def metrics(self) -> dict[str, float]:
        """Return the measurements of the body, once it has ended.

        Returns:
            step_seconds, cpu_seconds, peak_memory_mb (MiB resident), gpu_seconds (seconds times the GPUs held) and
            cost (in the currency of the prices; left out where this machine's price is not known).
        """
        measured = {
            "step_seconds": self._seconds,
            "cpu_seconds": self._cpu_seconds,
            "peak_memory_mb": self._peak_bytes / MEBIBYTE,
            "gpu_seconds": self._seconds * self._gpus,
        }
        if self._price is not None:
            measured["cost"] = self._price * self._seconds / 3600
        return measured

    def _watch(self) -> None:
        while not self._stop.wait(self.sample_seconds):
            self._look_at_memory()

    def _look_at_memory(self) -> None:
        # Processes of one tree share libraries and the pages they had when they forked: those count once.
        own, most_shared = 0, 0
        for process in self._tree():
            try:
                memory = process.memory_info()
            except psutil.Error:
                continue
            shared = getattr(memory, "shared", 0)
            own += memory.rss - shared
            most_shared = max(most_shared, shared)
        self._peak_bytes = max(self._peak_bytes, own + most_shared)

    def _cpu_so_far(self) -> float:
        total = 0.0
        for process in self._tree():
            try:
                times = process.cpu_times()
            except psutil.Error:
                continue
            # What ended children used is counted by their parent.
            total += times.user + times.system + times.children_user + times.children_system
        return total

    def _tree(self) -> list[psutil.Process]:
        try:
            return [self._process, *self._process.children(recursive=True)]
        except psutil.Error:
            return [self._process]


def available_cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Return the cores that this process may use: of a container's quota where there is one.

    Args:
        quota: Where the kernel says it: microseconds of all cores together in each period, and the period.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        allowed, period = quota.read_text(encoding="utf-8").split()
        share = math.inf if allowed == "max" else int(allowed) / int(period)
    except (OSError, ValueError):
        return cores
    return max(1, math.ceil(min(cores, share)))


def visible_gpus(devices: Path = Path("/dev")) -> int:
    """Return how many NVIDIA GPUs this process may use, without loading TensorFlow.

    Args:
        devices: Where the devices' files are.
    """
    present = sum(path.name.removeprefix("nvidia").isdigit() for path in devices.glob("nvidia*"))
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None:
        return present
    named = [name.strip() for name in allowed.split(",")]
    # As CUDA reads it: what follows the first wrong name is not visible.
    wrong = next((index for index, name in enumerate(named) if name in ("", "-1")), len(named))
    return min(present, wrong)


def price_per_hour(*, workers: bool = False) -> float | None:
    """Return what an hour of this kind of machine costs, or None where that is not known.

    Args:
        workers: Of the kind that this step's worker pods run on, where that is another.
    """
    text = os.environ.get(PRICES_VARIABLE)
    if not text:
        return None
    try:
        prices = {str(kind): float(price) for kind, price in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f'{PRICES_VARIABLE}: must be JSON such as {{"n1-standard-8": 0.38}}, a price an hour by kind of machine. '
            f"Received: {text[:100]!r}"
        ) from error
    machine = os.environ.get(MACHINE_VARIABLE, "")
    return prices.get(os.environ.get(WORKER_MACHINE_VARIABLE, machine) if workers else machine)
