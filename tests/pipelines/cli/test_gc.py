"""``assay gc``: it lists, and removes only where it is told to."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from assay.storage.open import open_store
from pipelines.cli.main import app
from pipelines.local.kept import in_use


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an old checkpoint, an old step and an old cache, and a young checkpoint."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    old = (
        "runs/store/checkpoints/old/fit.npz",
        "runs/steps/assay-1/baseline/model/model.keras",
        "cache/features/a.npy",
    )
    for name in (*old, "runs/store/checkpoints/young/fit.npz"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x" * 2**20)
    for name in old:
        for path in (tmp_path / name, *(tmp_path / name).parents):
            if path == tmp_path:
                break
            os.utime(path, (time.time() - 50 * 86_400,) * 2)
    return tmp_path


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file() and path.suffix in (".npz", ".npy", ".keras")}


def test_it_lists_what_can_go_with_sizes_and_removes_nothing(folder: Path) -> None:
    before = files(folder)
    done = CliRunner().invoke(app, ["gc"])
    assert done.exit_code == 0, done.output
    assert "3 things of 3.0 MiB; nothing is removed without --delete" in done.output
    assert "checkpoints/old" in done.output
    assert "checkpoints/young" not in done.output
    assert files(folder) == before


def test_it_removes_what_it_has_listed_where_it_is_told_to(folder: Path) -> None:
    done = CliRunner().invoke(app, ["gc", "--delete"])
    assert done.exit_code == 0, done.output
    assert "removed 3 things of 3.0 MiB" in done.output
    assert files(folder) == {"fit.npz"}
    assert (folder / "runs/store/checkpoints/young/fit.npz").exists()
    assert "nothing is older" in CliRunner().invoke(app, ["gc"]).output


def test_steps_stay_while_a_run_is_in_flight(folder: Path) -> None:
    with in_use(folder / "runs"):
        done = CliRunner().invoke(app, ["gc", "--delete"])
    assert "a run is in flight here" in done.output
    assert (folder / "runs/steps/assay-1/baseline/model/model.keras").exists()


def test_what_a_run_in_flight_may_use_stays_whatever_age_is_asked_for(folder: Path, gcs_root: str) -> None:
    open_store(gcs_root).write_bytes("snapshots/f/snapshot.json", b"{}")
    done = CliRunner().invoke(app, ["gc", "--storage", gcs_root, "--older-than", "0", "--delete"])
    assert done.exit_code == 0, done.output
    assert f"{gcs_root}: a run may use what is younger than 1 days: it stays" in done.output
    assert open_store(gcs_root).list() == ["snapshots/f/snapshot.json"]
    with in_use(folder / "runs"):
        CliRunner().invoke(app, ["gc", "--older-than", "0", "--delete"])
    assert (folder / "runs/store/checkpoints/young/fit.npz").exists()
    done = CliRunner().invoke(app, ["gc", "--older-than", "0", "--delete"])
    assert not (folder / "runs/store/checkpoints/young/fit.npz").exists(), done.output
