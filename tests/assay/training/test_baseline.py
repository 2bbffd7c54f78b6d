"""The baseline step: from a dataset to a model with its history and metrics."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from assay.config import BaselineConfig, Policy, RuntimeConfig
from assay.data.dataset import Dataset
from assay.measures.ranking import SortedScores
from assay.models.artifact import load_model
from assay.training.baseline import train_baseline
from assay.training.checkpoint import release_checkpoints

CONFIG = BaselineConfig.model_validate(
    {"model": {"name": "cnn3"}, "epochs": 4, "optimizer": {"learning_rate": 1e-3}, "batch_size": 20}
)


@pytest.fixture(scope="module")
def outcome(spots: Dataset, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("baseline")
    policy = Policy(horizontal_flip=True, vertical_flip=True, quarter_turns=True)
    runtime = RuntimeConfig(precision="float32", workers=2)
    result = train_baseline(CONFIG, runtime, spots.root, policy, folder / "out", 7, str(folder / "store"))
    return result, folder


def test_it_learns_what_is_there_to_learn(outcome) -> None:  # type: ignore[no-untyped-def]
    result, _ = outcome
    assert result.metrics["val_auc"] > 0.9
    assert result.metrics["not_learning"] == 0


def test_everything_that_the_step_promises_is_there(outcome) -> None:  # type: ignore[no-untyped-def]
    result, _ = outcome
    names = {path.name for path in result.model_dir.iterdir()}
    assert names == {
        "model.keras",
        "model.json",
        "history.csv",
        "metrics.json",
        "validation.npz",
        "checkpoints.json",
    }
    assert json.loads((result.model_dir / "metrics.json").read_text()) == result.metrics
    wanted = {"val_auc", "val_accuracy", "train_auc", "train_seconds", "images_per_second", "peak_memory_mb"}
    wanted |= {"epochs_run", "best_epoch", "parameters", "trainable_parameters"}
    assert wanted <= result.metrics.keys()


def test_the_model_written_is_that_of_the_best_epoch(outcome, spots: Dataset) -> None:  # type: ignore[no-untyped-def]
    result, _ = outcome
    table = pd.read_csv(result.model_dir / "history.csv")
    kept = table[table["kept"]]
    assert len(table) == result.metrics["epochs_run"] == 4
    assert kept["epoch"].tolist() == [result.metrics["best_epoch"]]
    assert kept["val_auc"].iloc[0] == table["val_auc"].max() == pytest.approx(result.metrics["val_auc"])
    stored = np.load(result.model_dir / "validation.npz")
    again = load_model(result.model_dir).predict(spots.valid.inputs)
    np.testing.assert_allclose(again, stored["probabilities"], atol=1e-5)
    ranking = SortedScores(stored["labels"] == 1, stored["probabilities"][:, 1])
    assert ranking.auc(ranking.ones) == pytest.approx(result.metrics["val_auc"], abs=1e-12)


def test_the_model_loads_in_a_process_that_built_none(outcome) -> None:  # type: ignore[no-untyped-def]
    result, _ = outcome
    program = "from assay.observability.quiet import silence_tensorflow; silence_tensorflow(); import sys; "
    program += "from pathlib import Path; from assay.models.artifact import load_model; "
    program += "load_model(Path(sys.argv[1]))"
    command = [sys.executable, "-c", program, str(result.model_dir)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_description_says_how_the_model_came_about(outcome, spots: Dataset) -> None:  # type: ignore[no-untyped-def]
    result, _ = outcome
    info = load_model(result.model_dir).info
    assert (info.name, info.classes, info.dataset_fingerprint) == ("cnn3", spots.classes, spots.fingerprint)
    assert info.config["section"]["epochs"] == 4
    assert info.config["policy"]["quarter_turns"] is True
    assert (info.config["seed"], info.config["precision"], info.preprocessing) == (7, "float32", "rescale")


def test_outputs_lost_after_the_training_are_made_again_without_training(
    spots: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = CONFIG.model_copy(update={"epochs": 2, "class_weights": "balanced"})
    runtime, root = RuntimeConfig(precision="float32", workers=2), str(tmp_path / "store")
    first = train_baseline(config, runtime, spots.root, Policy(), tmp_path / "lost", 7, root)
    capsys.readouterr()
    again = train_baseline(config, runtime, spots.root, Policy(), tmp_path / "out", 7, root)
    assert "train cnn3" not in capsys.readouterr().out, "not an epoch"
    pd.testing.assert_frame_equal(again.history, first.history)
    for weight, other in zip(*(load_model(run.model_dir).model.weights for run in (first, again)), strict=True):
        np.testing.assert_array_equal(np.asarray(weight), np.asarray(other))
    counts = np.bincount(spots.train.labels)
    for run in (first, again):
        shift = load_model(run.model_dir).info.calibration.prior_shift
        assert shift == pytest.approx(np.log(counts.sum() / (2 * counts))), (
            "what the weights did is known to all that follow"
        )
    release_checkpoints(again.model_dir)
    assert not list((tmp_path / "store" / "checkpoints").iterdir()), "the step that comes after removes them"
