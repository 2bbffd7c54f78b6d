"""Cross-validation judged: each case by a model that has not seen its group, one report, the folds' models as one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from assay.config import EvaluateConfig
from assay.data.dataset import Dataset
from assay.data.folds import fold_rows, write_fold
from assay.data.shards import write_dataset
from assay.evaluation.evaluate import EvaluationResult
from assay.evaluation.folds import evaluate_folds, judge_folds
from assay.models.artifact import load_model, save_model
from assay.models.info import ModelInfo, read_info
from tests.assay.evaluation.conftest import records, squares

FOLDS = 3
CLASSES = ("normal", "tumor")


def with_folds(folder: Path, poisoned: int | None = None) -> Dataset:
    """90 squares from 18 slides in three folds; what one of them tests may be turned upside down, labels too."""
    images, labels = squares(90, 5)
    frame = records("all", labels, CLASSES, 18)
    # Slides 0 to 17 take turns: neighbours, so that every fold and split has both classes.
    frame["fold"] = np.arange(90) % 18 // 2 % FOLDS
    if poisoned is not None:
        bad = (frame["fold"] == poisoned).to_numpy()
        images[bad], labels[bad] = 255 - images[bad], 1 - labels[bad]
    edges = {"train": (0, 60), "valid": (60, 75), "test": (75, 90)}
    splits = {name: (images[low:high], labels[low:high], frame.iloc[low:high]) for name, (low, high) in edges.items()}
    return write_dataset(folder, splits, CLASSES, group_column="group", folds=FOLDS)


def models_of_folds(folder: Path, strength: float) -> list[Path]:
    """A network for each fold, of another spread each, that sees the squares of class 1 the better the stronger."""
    import keras

    folders = []
    for number in range(FOLDS):
        inputs = keras.Input((32, 32, 3))
        seen = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(3, 1, name="look")(inputs))
        model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(seen))
        noise = np.random.default_rng(number).normal(size=(3, 2))
        green = np.array([[0, 0], [-strength, strength], [0, 0]]) * (1 + 0.2 * number)
        look = [np.eye(3).reshape(1, 1, 3, 3), np.full(3, -60.0)]
        model.set_weights([*look, 0.02 * noise + green, np.zeros(2)])
        info = ModelInfo(name="linear", classes=CLASSES, input_shape=(32, 32, 3), positive_index=1)
        save_model(model, folder / str(number), info)
        folders.append(folder / str(number))
    return folders


@pytest.fixture(scope="module")
def crossed(tmp_path_factory, runtime) -> tuple[EvaluationResult, Path, Dataset, dict[str, list[Path]]]:
    """A cross-validation of two candidates: what came of it, where, of what."""
    folder = tmp_path_factory.mktemp("folds")
    dataset = with_folds(folder / "dataset")
    candidates = {
        "baseline": models_of_folds(folder / "baseline", 0.0),
        "search": models_of_folds(folder / "search", 0.1),
    }
    config = EvaluateConfig(resamples=200, gradcam_images=4)
    return (
        evaluate_folds(config, dataset.root, candidates, folder / "out", 0, runtime),
        folder / "out",
        dataset,
        candidates,
    )


def test_every_case_is_judged_once_by_the_model_of_its_fold(crossed) -> None:
    result, out, dataset, candidates = crossed
    frame = pd.read_parquet(out / "predictions.parquet")
    everything = dataset.open_all()
    assert frame["id"].tolist() == everything.records["id"].tolist()
    assert frame["fold"].tolist() == (everything.records["fold"] + 1).tolist()
    folds = json.loads((out / "comparison.json").read_text(encoding="utf-8"))["folds"]
    for number, folder in enumerate(candidates["search"]):
        rows = fold_rows(dataset, number).test
        answers = load_model(folder).predict(everything.inputs[rows])[:, 1]
        shown = frame["search:tumor"].to_numpy()[rows]
        # A fold's calibration changes no order.
        assert (np.argsort(answers, kind="stable") == np.argsort(shown, kind="stable")).mean() > 0.9
        of_fold = folds[number]["candidates"]["search"]
        assert of_fold["test_auc"] == pytest.approx(roc_auc_score(everything.labels[rows], shown), abs=1e-6)
        assert (
            (shown >= np.float32(of_fold["threshold"])) == (frame["search:decided"].to_numpy()[rows] == "tumor")
        ).all()
    truth = everything.labels == 1
    assert result.metrics["test_auc"] == pytest.approx(roc_auc_score(truth, frame["search:tumor"]), abs=1e-6)
    assert result.metrics["test_images"] == 90
    assert result.metrics["test_auc_fold_lowest"] <= result.metrics["test_auc_fold_mean"]
    assert result.metrics["test_auc_low"] < result.metrics["test_auc"] < result.metrics["test_auc_high"]


def test_the_report_has_the_folds_beside_the_pooled_figures(crossed) -> None:
    result, out, _, _ = crossed
    page = (out / "report.html").read_text(encoding="utf-8")
    assert result.best == "search"
    assert "Fold by fold" in page
    assert "all 90 images, each tested by the model of the fold that has not seen it" in page
    assert "Kept is the mean of the 3 models" in page
    assert "test split" not in page
    card = (out / "model_card.md").read_text(encoding="utf-8")
    assert "| fold 3 |" in card
    comparison = json.loads((out / "comparison.json").read_text(encoding="utf-8"))
    assert comparison["test"]["images"] == sum(fold["test"] for fold in comparison["folds"]) == 90
    assert comparison["test"]["groups"] == 18
    (pair,) = [pair for pair in comparison["comparisons"] if pair["role"] == "baseline"]
    assert pair["auc"]["low"] < pair["auc"]["difference"] < pair["auc"]["high"]


def test_the_model_kept_is_the_mean_of_the_folds_calibrated_probabilities(crossed) -> None:
    _, out, dataset, candidates = crossed
    inputs = dataset.open_all().inputs[:8]
    evaluation, calibrations = judge_folds(EvaluateConfig(resamples=100), dataset, candidates, 0)
    kept = load_model(out / "best")
    assert not any(one.is_identity for one in calibrations["search"])
    each = [
        calibration.apply(load_model(folder).predict(inputs))
        for folder, calibration in zip(candidates["search"], calibrations["search"], strict=True)
    ]
    assert kept.predict(inputs) == pytest.approx(np.mean(each, axis=0), abs=1e-5)
    assert kept.info.threshold == pytest.approx(
        np.median([fold.metrics["search"]["threshold"] for fold in evaluation.folds])
    )
    assert kept.info.dataset_fingerprint == dataset.fingerprint
    assert kept.info.config["ensemble"]["members"] == FOLDS
    assert kept.info.config["ensemble"]["seconds_per_input"] > 0
    assert kept.info.parameters == sum(read_info(folder).parameters for folder in candidates["search"])
    import tensorflow as tf

    served = tf.saved_model.load(str(out / "best" / "saved_model")).signatures["pixels"]
    assert served(pixels=tf.constant(inputs))["probabilities"].numpy() == pytest.approx(kept.predict(inputs), abs=1e-5)


def test_what_a_fold_tests_changes_no_weight_no_threshold_and_no_calibration(tmp_path: Path, train_model) -> None:
    config = EvaluateConfig(resamples=100, gradcam_images=0)
    chosen = []
    for name, poisoned in (("clean", None), ("poisoned", 1)):
        folder = tmp_path / name
        dataset = with_folds(folder / "dataset", poisoned)
        model = train_model(write_fold(dataset, 1, folder / "data"), folder / "model", epochs=1)
        # The other folds' models do not matter here.
        candidates = {"baseline": [model] * FOLDS}
        evaluation, calibrations = judge_folds(config, dataset, candidates, 0)
        weights = load_model(model).model.get_weights()
        fold = evaluation.folds[1].metrics["baseline"]
        chosen.append((weights, calibrations["baseline"][1], fold))
        shutil.rmtree(folder / "dataset")
    (first, one_map, clean), (second, other_map, poisoned_fold) = chosen
    assert all(np.array_equal(one, two) for one, two in zip(first, second, strict=True))
    assert one_map == other_map
    for kept in ("threshold", "val_auc", "best_epoch"):
        assert clean[kept] == poisoned_fold[kept]
    assert clean["test_auc"] != poisoned_fold["test_auc"]
