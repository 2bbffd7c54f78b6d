"""Checkpoint files: exact, whole or absent, and honest about damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from assay.training.checkpoint import Checkpoint, TrainingState, checkpoint_location, remove_checkpoints


@pytest.fixture
def state() -> TrainingState:
    random = np.random.default_rng(0)
    return TrainingState(
        arrays={
            "model/dense/kernel": random.normal(size=(7, 5)).astype(np.float32),
            "model/dropout/seed": np.array([5, 2**32 - 1], dtype=np.uint32),
            "optimizer/iteration": np.asarray(41),
        },
        values={"epoch": 3, "history": [{"loss": 0.1 + 0.2, "val_auc": float("nan")}]},
    )


@pytest.fixture(params=["local", "gcs"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place for checkpoints in a directory, and in a bucket of a real server."""
    root = str(tmp_path / "store") if request.param == "local" else request.getfixturevalue("gcs_root")
    return checkpoint_location(root, "baseline", seed=0)


def test_what_is_loaded_is_what_was_saved_to_the_last_bit(location: str, state: TrainingState) -> None:
    checkpoint = Checkpoint(location, "frozen")
    assert checkpoint.load() is None
    checkpoint.save(TrainingState(values={"epoch": 1}))
    checkpoint.save(state)
    loaded = checkpoint.load()
    assert loaded is not None
    assert loaded.values["history"][0]["loss"] == 0.1 + 0.2
    assert loaded.arrays.keys() == state.arrays.keys()
    for name, value in state.arrays.items():
        assert loaded.arrays[name].dtype == value.dtype
        np.testing.assert_array_equal(loaded.arrays[name], value)
    remove_checkpoints(location)
    assert checkpoint.load() is None


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text"])
def test_a_damaged_checkpoint_is_named_and_counts_as_none(
    tmp_path: Path, state: TrainingState, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = Checkpoint(str(tmp_path), "train")
    checkpoint.save(state)
    path = Path(checkpoint.uri)
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        position = content.index(state.arrays["model/dense/kernel"].tobytes()) + 11
        content[position] ^= 1
    else:
        content = bytearray(b"" if damage == "empty" else b"not a checkpoint")
    path.write_bytes(content)
    assert checkpoint.load() is None
    line = capsys.readouterr().out
    assert str(path) in line and "damaged" in line and "starts over" in line and line.count("\n") == 1


def test_removing_leaves_nothing_behind(tmp_path: Path, state: TrainingState) -> None:
    location = tmp_path / "checkpoints" / "key"
    for phase in ("frozen", "unfrozen"):
        Checkpoint(str(location), phase).save(state)
    (location / ".frozen.npz-half").write_bytes(b"what a killed process left")
    remove_checkpoints(str(location))
    remove_checkpoints(str(location))
    assert not location.exists()


def test_everything_that_changes_the_training_changes_the_place() -> None:
    depends = {"dataset": "d1", "config": "c1", "policy": {"views": 0}, "seed": 0}
    places = {checkpoint_location("store", "baseline", **depends)}
    places |= {checkpoint_location("store", "baseline", **{**depends, key: "other"}) for key in depends}
    places |= {checkpoint_location("store", "finetune", **depends)}
    assert len(places) == 6
    assert checkpoint_location("store/", "baseline", **depends) in places


def test_a_step_that_is_to_begin_anew_finds_no_checkpoint(tmp_path, monkeypatch):
    def location(step: str) -> Path:
        return Path(checkpoint_location(str(tmp_path), step, seed=1))

    for step in ("baseline", "finetune"):
        location(step).mkdir(parents=True)
        (location(step) / "fit.npz").write_bytes(b"half a training")
    monkeypatch.setenv("ASSAY_FORCE", "finetune")
    assert not location("finetune").exists()
    assert (location("baseline") / "fit.npz").exists()
