"""Checkpoint files: exact, whole or absent, and honest about damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from assay.errors import AssayError
from assay.storage.open import open_store
from assay.training.checkpoint import (
    Checkpoint,
    TrainingState,
    checkpoint_location,
    note_place,
    place_of_training,
    release_checkpoints,
    remove_checkpoints,
)
from assay.training.lease import Lease, hold_lease


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


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text", "in the zip's tables"])
def test_a_damaged_checkpoint_is_named_set_aside_and_counts_as_none(
    location: str, state: TrainingState, damage: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    checkpoint = Checkpoint(location, "train")
    checkpoint.save(state)
    store = open_store(location)
    content = bytearray(store.read_bytes("train.npz"))
    if damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        position = content.index(state.arrays["model/dense/kernel"].tobytes()) + 11
        content[position] ^= 1
    elif damage == "in the zip's tables":
        content[content.rindex(b"PK\x01\x02") + 8] ^= 1  # a flag of the last member
    else:
        content = bytearray(b"" if damage == "empty" else b"not a checkpoint")
    store.write_bytes("train.npz", bytes(content))
    assert checkpoint.load() is None
    line = capsys.readouterr().out
    assert checkpoint.uri in line and "damaged" in line and "starts over" in line and line.count("\n") == 1
    assert store.read_bytes("train.npz.damaged") == bytes(content)
    checkpoint.save(state)
    assert checkpoint.load() is not None


def test_a_checkpoint_that_storage_does_not_give_is_no_damaged_one(tmp_path: Path, state: TrainingState) -> None:
    checkpoint = Checkpoint(str(tmp_path), "train")
    checkpoint.save(state)
    (tmp_path / "train.npz").rename(tmp_path / "kept")
    (tmp_path / "train.npz").mkdir()  # what is there cannot be read as a file
    with pytest.raises(AssayError, match="Is a directory"):
        checkpoint.load()


def test_a_run_whose_lease_was_taken_over_writes_no_more(tmp_path: Path, state: TrainingState) -> None:
    lease = Lease(str(tmp_path))
    checkpoint = Checkpoint(str(tmp_path), "train", lease)
    checkpoint.save(state)
    lease.lost.set()
    with pytest.raises(AssayError, match="taken over"):
        checkpoint.save(state)


def test_checkpoints_go_once_the_model_is_known_to_be_kept_unless_they_are_in_use(
    location: str, state: TrainingState, tmp_path: Path
) -> None:
    checkpoint, model = Checkpoint(location, "train"), tmp_path / "model"
    checkpoint.save(state)
    release_checkpoints(model)  # a model from elsewhere says nothing of checkpoints
    note_place(model, location)
    with hold_lease(location):
        release_checkpoints(model)
        assert checkpoint.load() is not None
    release_checkpoints(model)
    assert checkpoint.load() is None
    assert not open_store(location).list()
    release_checkpoints(model)


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
    assert all(Path(place).is_absolute() for place in places), "the step that removes them may run elsewhere"


def test_a_step_that_is_to_begin_anew_finds_no_checkpoint(
    location: str, state: TrainingState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_FORCE", "finetune")
    Checkpoint(location, "frozen").save(state)
    with place_of_training(location, "baseline"):
        assert Checkpoint(location, "frozen").load() is not None
    with place_of_training(location, "finetune") as lease:
        assert Checkpoint(location, "frozen").load() is None
        assert lease is not None
        lease.check()
