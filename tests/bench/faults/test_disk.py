"""A disk that fails in the middle of a run: one line, and the same call again ends right."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.faults.disk import FAULTS, can_mount, runs_on_a_failing_disk


def test_a_run_on_a_failing_disk_stops_with_one_line_and_goes_on(tmp_path: Path) -> None:
    if not can_mount(tmp_path / "probe"):
        pytest.skip("mounting a small file system needs root")
    outcome = runs_on_a_failing_disk(tmp_path, len(FAULTS))
    assert outcome.bugs == []
    assert outcome.right == len(FAULTS)
    assert set(outcome.faults) == set(FAULTS)
