"""Runs through a storage that fails now and then: each ends right, or stops with one line and goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.faults.transfers import Wrong, check, runs_behind_faults


@pytest.fixture
def bucket(gcs_root: str) -> str:
    return gcs_root.removesuffix("/some/prefix")


def test_runs_behind_faults_leave_what_a_run_without_them_leaves(gcs_server: str, bucket: str, tmp_path: Path) -> None:
    patient = runs_behind_faults(gcs_server, bucket, tmp_path, 1, 0.2, patience_seconds=30.0)
    assert (patient.right, patient.stops, patient.first) == (1, 0, "")
    assert sum(patient.faults.values()) > 5


def test_a_run_that_gives_up_goes_on_when_it_is_called_again(gcs_server: str, bucket: str, tmp_path: Path) -> None:
    hasty = runs_behind_faults(gcs_server, bucket, tmp_path, 1, 0.0, patience_seconds=0.0, away=20)
    assert (hasty.right, hasty.first) == (1, "")
    assert hasty.stops > 0


def test_what_should_not_be_there_is_found(gcs_server: str, bucket: str, tmp_path: Path) -> None:
    from assay.storage.open import open_store

    runs_behind_faults(gcs_server, bucket, tmp_path, 1, 0.0, patience_seconds=1.0)
    check(f"{bucket}/run0")
    open_store(f"{bucket}/run0").write_bytes("snapshots/other/snapshot.json", b"{}")
    with pytest.raises(Wrong, match="left behind"):
        check(f"{bucket}/run0")
