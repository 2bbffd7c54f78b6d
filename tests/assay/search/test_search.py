"""The search step: from a dataset to the best trial's model, whatever kills or fails on the way."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from assay.config import Policy, RuntimeConfig, SearchConfig
from assay.data.dataset import Dataset
from assay.data.shards import write_dataset
from assay.errors import AssayError
from assay.models.artifact import load_model
from assay.search.results import TrialRow
from assay.search.search import final_epochs, run_search
from assay.training.checkpoint import Checkpoint, TrainingState, release_checkpoints
from assay.training.result import TrainingResult

FILES = {
    "model.keras",
    "model.json",
    "history.csv",
    "metrics.json",
    "validation.npz",
    "checkpoints.json",
    "trials.csv",
    "trials.html",
    "best_hyperparameters.json",
}


def with_fields(search: SearchConfig, **changes: object) -> SearchConfig:
    return SearchConfig.model_validate({**search.model_dump(), **changes})


def search_in(
    folder: Path, search: SearchConfig, runtime: RuntimeConfig, dataset: Dataset, root: str = ""
) -> TrainingResult:
    root = root or str(folder / "store")
    return run_search(search, runtime, dataset.root, Policy(horizontal_flip=True), folder / "out", 3, root)


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "out" / "trials.csv").open(newline="", encoding="utf-8") as file:
        return [{key: value for key, value in line.items() if key != "seconds"} for line in csv.DictReader(file)]


@pytest.fixture(scope="module")
def halved(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingResult, Path]:
    """The outcome of a hyperband search."""
    folder = tmp_path_factory.mktemp("halved")
    space = {"width": [4, 8], "depth": [1, 2, 8], "kernel": [3], "dense": [0, 8], "batch_size": [40]}
    search = SearchConfig.model_validate({"tuner": "hyperband", "trials": 3, "epochs": 4, "space": space})
    return search_in(folder, search, RuntimeConfig(precision="float32", workers=1), dataset), folder


def test_everything_that_the_step_promises_is_there(halved: tuple[TrainingResult, Path]) -> None:
    result, folder = halved
    assert {path.name for path in result.model_dir.iterdir()} == FILES
    assert result.metrics["search_epochs"] <= result.metrics["search_budget_epochs"] == 12
    assert result.metrics["search_trials"] == len(table(folder))
    assert result.metrics["search_failed_trials"] == 0
    page = (folder / "out" / "trials.html").read_text()
    assert "search.space.depth: 8 removed" in page


def test_the_model_is_the_best_trials_at_its_best_epoch(halved: tuple[TrainingResult, Path], dataset: Dataset) -> None:
    result, folder = halved
    rows = table(folder)
    (best,) = [row for row in rows if row["best"]]
    assert float(best["val_auc"]) == max(float(row["val_auc"]) for row in rows)
    assert result.metrics["val_auc"] == pytest.approx(float(best["val_auc"]), abs=1e-6)
    assert result.metrics["best_epoch"] == int(best["best_epoch"])
    assert len(result.history) == int(best["total_epochs"])
    assert set(result.history["phase"]) == {"search"}
    loaded = load_model(result.model_dir)
    stored = np.load(result.model_dir / "validation.npz")["probabilities"]
    np.testing.assert_allclose(loaded.predict(dataset.valid.inputs), stored, atol=1e-5)
    values = json.loads((folder / "out" / "best_hyperparameters.json").read_text())
    assert {name: str(value) for name, value in values.items()} == {name: best[name] for name in values}
    assert loaded.info.name == "cnn"
    assert loaded.info.parameters == int(best["parameters"])


def test_a_search_killed_in_the_middle_of_a_trial_ends_as_if_it_had_not_been(
    small_search: SearchConfig,
    exact: RuntimeConfig,
    dataset: Dataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    search_in(whole, small_search, exact, dataset)
    code = f"""
from pathlib import Path
from assay.augmentation.policy import Policy
from assay.config import RuntimeConfig, SearchConfig
from assay.search.search import run_search
search = SearchConfig.model_validate_json({small_search.model_dump_json()!r})
runtime = RuntimeConfig.model_validate_json({exact.model_dump_json()!r})
folder = Path({str(killed)!r})
policy = Policy(horizontal_flip=True)
run_search(search, runtime, Path({str(dataset.root)!r}), policy, folder / "out", 3, str(folder / "store"))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    # One trial has ended, and another has a checkpoint in its middle.
    while not (list(killed.glob("store/checkpoints/*/rows/0.json")) and list(killed.glob("*/*/*/trial-1.npz"))):
        assert process.poll() is None, "the search should not have ended yet"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (row,) = killed.glob("store/checkpoints/*/rows/0.json")
    first = row.read_bytes()
    (state,) = killed.glob("store/checkpoints/*")
    assert not (killed / "out").exists(), "nothing half-written"

    kept = tmp_path / "row"
    os.link(row, kept)
    search_in(killed, small_search, exact, dataset)
    assert kept.read_bytes() == first, "the finished trial is not run again"
    assert table(killed) == table(whole)

    # The outputs were lost on their way to storage: all is there again without an epoch of training.
    shutil.rmtree(killed / "out")
    capsys.readouterr()
    again = search_in(killed, small_search, exact, dataset)
    assert "train cnn" not in capsys.readouterr().out
    assert table(killed) == table(whole)
    release_checkpoints(again.model_dir)
    assert not state.exists()


def test_where_every_trial_fails_the_reason_is_told_and_the_next_try_begins_anew(
    small_search: SearchConfig, exact: RuntimeConfig, dataset: Dataset, tmp_path: Path
) -> None:
    inputs, labels = np.asarray(dataset.train.inputs), dataset.train.labels
    splits = dict.fromkeys(("train", "test"), (inputs[:80], labels[:80], None))
    one_class = np.zeros(80, dtype=np.int64)
    lopsided = write_dataset(tmp_path / "dataset", {**splits, "valid": (inputs[:80], one_class, None)}, ["a", "b"])
    with pytest.raises(
        AssayError, match=r"none of 3 trials has a score \(3 trials in a row have failed\).*val_auc was nan"
    ):
        search_in(tmp_path, with_fields(small_search, trials=5, epochs=1), exact, lopsided)
    assert not list((tmp_path / "store" / "checkpoints").iterdir())
    assert not (tmp_path / "out").exists()


def test_a_damaged_state_is_set_aside_and_what_has_ended_is_not_run_again(
    small_search: SearchConfig,
    exact: RuntimeConfig,
    dataset: Dataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    search_in(tmp_path, small_search, exact, dataset)
    first = table(tmp_path)
    (state,) = tmp_path.glob("store/checkpoints/*/search")
    (state / "oracle.json").write_bytes((state / "oracle.json").read_bytes()[:-9])
    capsys.readouterr()
    search_in(tmp_path, small_search, exact, dataset)
    said = capsys.readouterr().out
    assert f"its state at {state} is damaged" in said
    assert "train cnn" not in said, "not an epoch is trained again"
    assert table(tmp_path) == first
    assert (state.parent / "search.damaged").is_dir()


def test_a_full_disk_ends_the_step_and_the_next_try_ends_as_if_there_had_been_room(
    small_search: SearchConfig,
    exact: RuntimeConfig,
    dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, full = tmp_path / "whole", tmp_path / "full"
    search_in(whole, small_search, exact, dataset)
    save = Checkpoint.save

    def fill_up(checkpoint: Checkpoint, state: TrainingState) -> None:
        if (checkpoint.phase, state.values["at"]["epoch"]) == ("trial-1", 2):
            raise OSError(28, "No space left on device")
        save(checkpoint, state)

    monkeypatch.setattr(Checkpoint, "save", fill_up)
    with pytest.raises(OSError, match="No space left on device"):
        search_in(full, small_search, exact, dataset)
    assert not (full / "out").exists()
    monkeypatch.setattr(Checkpoint, "save", save)
    result = search_in(full, small_search, exact, dataset)
    assert result.metrics["search_failed_trials"] == 0
    assert table(full) == table(whole)


def test_the_deadline_ends_a_search_with_what_it_has(
    small_search: SearchConfig, exact: RuntimeConfig, dataset: Dataset, tmp_path: Path
) -> None:
    result = search_in(tmp_path, with_fields(small_search, deadline_minutes=1e-6), exact, dataset)
    # The deadline had passed before the first trial, which a search has at least.
    assert result.metrics["search_trials"] == result.metrics["search_epochs"] == 1
    assert "the deadline has passed" in (tmp_path / "out" / "trials.html").read_text()


def test_the_best_trial_is_trained_on_where_that_is_asked_for_and_it_was_cut() -> None:
    cut = TrialRow("0", {}, "completed", score=0.9, total_epochs=2)
    stopped = replace(cut, note="no better val_auc in 3 epochs")
    asked, not_asked = SearchConfig(epochs=6, finish_best=True), SearchConfig(epochs=6)
    assert [final_epochs(asked, cut), final_epochs(asked, stopped), final_epochs(not_asked, cut)] == [6, 2, 2]


def test_no_configuration_beyond_the_limit_on_weights_is_tried(
    small_search: SearchConfig, exact: RuntimeConfig, dataset: Dataset, tmp_path: Path
) -> None:
    search = with_fields(small_search, max_parameters=500, epochs=1)
    search_in(tmp_path, search, exact, dataset)
    assert all(int(row["parameters"]) <= 500 for row in table(tmp_path))


def test_a_search_kept_in_object_storage_is_taken_up_from_there(
    small_search: SearchConfig, exact: RuntimeConfig, dataset: Dataset, tmp_path: Path, gcs_root: str
) -> None:
    from assay.storage.open import open_store

    code = f"""
import os, signal
from pathlib import Path
from assay.augmentation.policy import Policy
from assay.config import RuntimeConfig, SearchConfig
from assay.search import trials
from assay.search.search import run_search
runner, write = trials.TrialRunner, trials.TrialRecords.write_row
def write_and_die(records, row):
    write(records, row)
    if row.trial == "1":
        os.kill(os.getpid(), signal.SIGKILL)
trials.TrialRecords.write_row = write_and_die
search = SearchConfig.model_validate_json({small_search.model_dump_json()!r})
runtime = RuntimeConfig.model_validate_json({exact.model_dump_json()!r})
folder = Path({str(tmp_path)!r})
policy = Policy(horizontal_flip=True)
run_search(search, runtime, Path({str(dataset.root)!r}), policy, folder / "out", 3, {gcs_root!r})
"""
    died = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    store = open_store(gcs_root)
    assert len([name for name in store.list() if "/rows/" in name]) == 2
    result = search_in(tmp_path, small_search, exact, dataset, gcs_root)
    assert result.metrics["search_trials"] == 3
    release_checkpoints(result.model_dir)
    assert not store.list(), "the search's state outlives its use"


def test_windows_of_sensors_are_searched_with_conv1d(
    small_search: SearchConfig, exact: RuntimeConfig, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    splits = {}
    for name, count in {"train": 80, "valid": 40, "test": 4}.items():
        labels = (np.arange(count) % 3).astype(np.int64)
        windows = random.normal(size=(count, 30, 2)).astype(np.float32) + labels[:, None, None]
        splits[name] = (windows, labels, None)
    windows = write_dataset(tmp_path / "dataset", splits, ["low", "middle", "high"])
    search = with_fields(small_search, trials=1, epochs=1)
    result = run_search(search, exact, windows.root, Policy(), tmp_path / "out", 3, str(tmp_path / "store"))
    assert load_model(result.model_dir).info.name == "conv1d"
    assert set(table(tmp_path)[0]) >= {"width", "kernel"} and "depth" not in table(tmp_path)[0]
