"""The meter counts what the step and its children used, and what that costs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from assay.errors import InputError
from assay.observability.resources import ResourceMeter, available_cores, visible_gpus

MEGABYTES = 200


def test_memory_of_this_process_is_seen() -> None:
    with ResourceMeter() as before:
        pass
    with ResourceMeter(sample_seconds=0.01) as meter:
        block = np.ones(MEGABYTES * 2**20, dtype=np.uint8)
        # The meter looks once more at the end, while the block is still there.
        assert block[-1]
    assert meter.metrics()["peak_memory_mb"] > before.metrics()["peak_memory_mb"] + 0.9 * MEGABYTES


def test_memory_and_processor_time_of_ended_children_are_seen() -> None:
    code = (
        f"import time; block = b'x' * ({MEGABYTES} << 20); start = time.process_time()\n"
        "while time.process_time() < start + 0.3: pass"
    )
    with ResourceMeter() as before:
        pass
    with ResourceMeter(sample_seconds=0.01) as meter:
        subprocess.run([sys.executable, "-c", code], check=True)
    metrics = meter.metrics()
    assert metrics["peak_memory_mb"] > before.metrics()["peak_memory_mb"] + 0.9 * MEGABYTES
    assert metrics["cpu_seconds"] >= 0.3


def test_an_error_in_the_body_passes_through_and_ends_the_measurement() -> None:
    with pytest.raises(ZeroDivisionError), ResourceMeter() as meter:
        raise ZeroDivisionError
    assert meter.metrics()["step_seconds"] > 0


def test_the_cost_is_price_times_time_where_the_price_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_PRICES", '{"big": 3600, "small": 1}')
    monkeypatch.setenv("ASSAY_MACHINE", "big")
    with ResourceMeter() as meter:
        pass
    assert meter.metrics()["cost"] == pytest.approx(meter.metrics()["step_seconds"])
    monkeypatch.setenv("ASSAY_MACHINE", "unknown")
    with ResourceMeter() as meter:
        pass
    assert "cost" not in meter.metrics()


@pytest.mark.parametrize("prices", ["{", "[1]", '{"a": "much"}', '{"a": null}'])
def test_wrong_prices_are_named(monkeypatch: pytest.MonkeyPatch, prices: str) -> None:
    monkeypatch.setenv("ASSAY_PRICES", prices)
    with pytest.raises(InputError, match="ASSAY_PRICES: must be JSON"):
        ResourceMeter().__enter__()


@pytest.mark.parametrize(("allowed", "count"), [(None, 2), ("0", 1), ("0,1", 2), ("", 0), ("-1", 0), ("1,-1,0", 1)])
def test_gpus_are_counted_as_cuda_shows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: str | None, count: int
) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if allowed is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    assert visible_gpus(tmp_path) == count


@pytest.mark.parametrize(
    ("quota", "cores"), [("150000 100000", 2), ("20000 100000", 1), ("900000 100000", 4), ("max 100000", 4), ("", 4)]
)
def test_a_containers_quota_bounds_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(4)))
    (tmp_path / "cpu.max").write_text(quota)
    assert available_cores(tmp_path / "cpu.max") == cores
    assert available_cores(tmp_path / "absent") == 4
