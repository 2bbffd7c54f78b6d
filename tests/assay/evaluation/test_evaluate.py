"""The evaluate step judges honestly, writes everything or nothing, and survives awkward splits."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

from assay.config import EvaluateConfig
from assay.data.dataset import Dataset
from assay.data.shards import write_dataset, write_description
from assay.errors import AssayError, InputError
from assay.evaluation.evaluate import evaluate, group_labels
from assay.models.artifact import load_model, save_model


def _read(out, name):
    return json.loads((out / name).read_text(encoding="utf-8"), parse_constant=lambda text: pytest.fail(text))


def test_everything_is_written_and_agrees(evaluated, grouped):
    result, out = evaluated
    assert {path.name for path in out.iterdir()} == {
        "best", "comparison.json", "confusion.json", "leaderboard.md", "metrics.json", "model_card.md",
        "predictions.parquet", "report.html", "roc.json",
    }  # fmt: skip
    comparison, metrics = _read(out, "comparison.json"), _read(out, "metrics.json")
    assert metrics == result.metrics
    assert comparison["best"] == result.best == "search"
    assert comparison["leaderboard"] == result.leaderboard
    assert [row["name"] for row in result.leaderboard] == ["search", "baseline"]
    for row in result.leaderboard:
        assert row["test_auc_low"] <= row["test_auc"] <= row["test_auc_high"]
        assert {
            f"test_{name}"
            for name in ("accuracy", "sensitivity", "specificity", "precision", "brier", "calibration_error")
        } <= set(row)
    frame = pd.read_parquet(out / "predictions.parquet")
    assert frame["id"].tolist() == grouped.open_test().records["id"].tolist()
    truth = frame["label"] == "tumor"
    assert metrics["test_auc"] == pytest.approx(roc_auc_score(truth, frame["search:tumor"]), abs=1e-12)
    assert metrics["test_accuracy"] == pytest.approx(accuracy_score(frame["label"], frame["search:decided"]))
    assert metrics["test_auc_baseline"] == pytest.approx(roc_auc_score(truth, frame["baseline:tumor"]), abs=1e-12)
    assert ((frame["search:tumor"] >= np.float32(metrics["threshold"])) == (frame["search:decided"] == "tumor")).all()
    matrix = np.array(_read(out, "confusion.json")["matrix"])
    assert matrix.sum() == len(frame)
    assert matrix.trace() / matrix.sum() == pytest.approx(metrics["test_accuracy"])


def test_the_roc_file_has_few_finite_points_and_the_area_of_the_curve(evaluated):
    _, out = evaluated
    roc = _read(out, "roc.json")
    assert 2 <= len(roc["fpr"]) == len(roc["tpr"]) == len(roc["thresholds"]) <= 200
    assert (roc["fpr"][0], roc["tpr"][0], roc["fpr"][-1], roc["tpr"][-1]) == (0, 0, 1, 1)
    assert np.isfinite(roc["thresholds"]).all()
    assert np.trapezoid(roc["tpr"], roc["fpr"]) == pytest.approx(_read(out, "metrics.json")["test_auc"], abs=5e-3)


def test_the_best_model_serves_what_was_judged(evaluated, grouped, candidates):
    _, out = evaluated
    metrics, frame = _read(out, "metrics.json"), pd.read_parquet(out / "predictions.parquet")
    model = load_model(out / "best")
    assert model.info.threshold == pytest.approx(metrics["threshold"])
    assert model.info.calibration.slopes == pytest.approx([metrics["fitted_slope"]] * 2)
    assert model.info.calibration.intercepts == pytest.approx([0.0, metrics["fitted_intercept"]])
    probabilities = model.predict(grouped.open_test().inputs)
    assert probabilities[:, 1] == pytest.approx(frame["search:tumor"].to_numpy(), abs=1e-5)
    assert load_model(candidates["search"]).info.threshold == 0.5, "the candidate itself is left as it is"


def test_slides_are_drawn_whole_and_shown(evaluated):
    _, out = evaluated
    comparison = _read(out, "comparison.json")
    assert comparison["test"]["groups"] == 12
    assert comparison["intervals"]["method"] == "group bootstrap"
    assert "By patient or slide" in (out / "report.html").read_text(encoding="utf-8")


def test_the_better_model_is_said_to_be_better(evaluated):
    _, out = evaluated
    comparisons = _read(out, "comparison.json")["comparisons"]
    over_baseline = next(one for one in comparisons if one["role"] == "baseline")
    assert (over_baseline["candidate"], over_baseline["against"]) == ("search", "baseline")
    assert 0 < over_baseline["auc"]["low"] < over_baseline["auc"]["difference"] < over_baseline["auc"]["high"]
    assert over_baseline["auc"]["p_holm"] < 0.05
    assert over_baseline["auc"]["test"] == "DeLong by groups"


def test_the_same_seed_writes_the_same_comparison(evaluated, grouped, candidates, tmp_path, quick, runtime):
    _, out = evaluated
    evaluate(EvaluateConfig(**quick), grouped.root, candidates, tmp_path / "again", 0, runtime)
    assert _read(tmp_path / "again", "comparison.json") == _read(out, "comparison.json")


def test_the_test_split_decides_nothing(evaluated, grouped, candidates, tmp_path, quick, runtime):
    """With other labels in the test split, best model, threshold and calibration stay."""
    turned = tmp_path / "dataset"
    shutil.copytree(grouped.root, turned)
    for file in (turned / "test").glob("labels-*.npy"):
        np.save(file, 1 - np.load(file))
    write_description(turned, grouped.description)
    config = EvaluateConfig(**(quick | {"gradcam_images": 0}))
    result = evaluate(config, turned, candidates, tmp_path / "out", 0, runtime)
    honest, _ = evaluated
    assert result.best == honest.best
    for name in ("threshold", "fitted_slope", "fitted_intercept", "val_auc"):
        assert result.metrics[name] == honest.metrics[name]
    assert result.metrics["test_auc"] == pytest.approx(1 - honest.metrics["test_auc"])


def test_a_test_split_of_one_class_is_judged_as_far_as_it_can_be(
    grouped, candidates, tmp_path, quick, runtime, make_dataset
):
    dataset = make_dataset(tmp_path / "dataset", only={"test": 1})
    result = evaluate(EvaluateConfig(**quick), dataset.root, candidates, tmp_path / "out", 0, runtime)
    assert "test_auc" not in result.metrics and "test_sensitivity" in result.metrics
    assert not (tmp_path / "out" / "roc.json").exists()
    candidate = _read(tmp_path / "out", "comparison.json")["candidates"]["search"]
    assert candidate["undefined"]["auc"] == "the split holds no negative case"
    assert "the split holds no negative case" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_many_classes_without_groups(tmp_path, quick, runtime, make_dataset, train_model):
    dataset = make_dataset(tmp_path / "dataset", ("none", "red", "green & <blue>"), groups=None)
    model = train_model(dataset, tmp_path / "model", epochs=4)
    result = evaluate(EvaluateConfig(**quick), dataset.root, {"finetune": model}, tmp_path / "out", 0, runtime)
    assert result.best == "finetune"
    assert "threshold" not in result.metrics
    assert 0 < result.metrics["test_auc_low"] <= result.metrics["test_auc"] <= 1
    assert not (tmp_path / "out" / "roc.json").exists()
    assert np.array(_read(tmp_path / "out", "confusion.json")["matrix"]).shape == (3, 3)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "green &amp; &lt;blue&gt;" in page and "<blue>" not in page


def test_sensor_windows_are_judged_and_explained(tmp_path, quick, runtime, train_model):
    generator = np.random.default_rng(0)
    splits = {}
    for name, count in (("train", 120), ("valid", 60), ("test", 60)):
        labels = np.arange(count) % 2
        windows = generator.normal(size=(count, 80, 2)).astype(np.float32)
        windows[:, 10:20, 0] += labels[:, None] * 2.0
        splits[name] = windows, labels, None
    dataset = write_dataset(tmp_path / "dataset", splits, ("rest", "move"))
    model = train_model(dataset, tmp_path / "model", epochs=1, name="conv1d")
    config = EvaluateConfig(**(quick | {"test_time_augmentation": True}))
    result = evaluate(config, dataset.root, {"baseline": model}, tmp_path / "out", 0, runtime)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "test_auc_views" not in result.metrics
    assert 'class="window"' in page and "Grad-CAM on" in page and "test windows" in page


def test_views_are_an_extra_line_and_change_nothing_else(evaluated, grouped, candidates, tmp_path, quick, runtime):
    plain, _ = evaluated
    config = EvaluateConfig(**(quick | {"gradcam_images": 0, "test_time_augmentation": True}))
    result = evaluate(config, grouped.root, candidates, tmp_path / "out", 0, runtime)
    assert result.metrics["test_auc"] == plain.metrics["test_auc"]
    assert 0.5 < result.metrics["test_auc_views"] <= 1
    assert _read(tmp_path / "out", "comparison.json")["views"]["views"] == 8


def test_calibration_may_be_off_and_the_threshold_fixed(grouped, candidates, tmp_path, quick, runtime):
    config = EvaluateConfig(**(quick | {"calibration": "none", "threshold": "fixed", "threshold_value": 0.3}))
    result = evaluate(config, grouped.root, {"search": candidates["search"]}, tmp_path / "out", 0, runtime)
    assert (result.metrics["fitted_slope"], result.metrics["threshold"]) == (1.0, 0.3)
    info = load_model(tmp_path / "out" / "best").info
    assert (info.calibration.is_identity, info.threshold) == (True, 0.3)


def test_nothing_to_evaluate_is_said(grouped, tmp_path, runtime):
    with pytest.raises(InputError, match="no candidate"):
        evaluate(EvaluateConfig(), grouped.root, {}, tmp_path / "out", 0, runtime)


def test_a_model_of_other_classes_is_refused_and_nothing_is_left(candidates, tmp_path, quick, runtime, make_dataset):
    dataset = make_dataset(tmp_path / "dataset", ("cat", "dog"))
    with pytest.raises(
        InputError, match=r"baseline does not fit .*: its classes are normal, tumor, not cat, dog\. Train"
    ):
        evaluate(EvaluateConfig(**quick), dataset.root, candidates, tmp_path / "out", 0, runtime)
    assert [path.name for path in tmp_path.iterdir()] == ["dataset"]


def test_an_interrupted_evaluation_leaves_nothing(grouped, candidates, tmp_path, quick, runtime):
    """A candidate whose files vanish half-way: one line, and no folder."""
    broken = tmp_path / "broken"
    shutil.copytree(candidates["search"], broken)
    changed = json.loads((broken / "model.json").read_text())
    (broken / "model.json").write_text(json.dumps({**changed, "served_sha256": "of a folder that is gone"}))
    with pytest.raises(Exception, match="cannot write the model"):
        evaluate(EvaluateConfig(**quick), grouped.root, {"search": broken}, tmp_path / "out", 0, runtime)
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]


def test_a_folder_with_something_in_it_is_not_overwritten(grouped, candidates, tmp_path, quick, runtime):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        evaluate(EvaluateConfig(**quick), grouped.root, candidates, tmp_path, 0, runtime)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_groups_are_those_of_the_dataset(grouped, tmp_path, make_dataset):
    assert len(set(group_labels(grouped, grouped.valid))) == 12
    free = make_dataset(tmp_path / "free", groups=None)
    assert group_labels(free, Dataset.open(free.root).valid) is None


def test_a_validation_split_of_one_class_leaves_the_choice_to_the_log_loss(
    candidates, tmp_path, quick, runtime, make_dataset
):
    dataset = make_dataset(tmp_path / "dataset", only={"valid": 0})
    result = evaluate(EvaluateConfig(**quick), dataset.root, candidates, tmp_path / "out", 0, runtime)
    comparison = _read(tmp_path / "out", "comparison.json")
    assert comparison["chosen_by"] == "val_log_loss"
    losses = [row["val_log_loss"] for row in comparison["leaderboard"]]
    assert losses == sorted(losses)
    assert result.metrics["threshold"] == 0.5
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "In order of validation log loss" in page and "holds one class only" in page


def test_a_diverged_model_is_one_line_and_nothing_is_left(grouped, candidates, tmp_path, quick, runtime):
    model = load_model(candidates["search"])
    model.model.set_weights([np.full_like(one, np.nan) for one in model.model.get_weights()])
    save_model(model.model, tmp_path / "diverged", model.info)
    with pytest.raises(AssayError, match=r"candidate finetune: 120 of 120 answers .* lower the learning rate"):
        evaluate(
            EvaluateConfig(**quick), grouped.root, {"finetune": tmp_path / "diverged"}, tmp_path / "out", 0, runtime
        )
    assert [path.name for path in tmp_path.iterdir()] == ["diverged"]


def test_the_level_asked_for_is_the_level_said(evaluated, grouped, candidates, tmp_path, quick, runtime):
    _, out = evaluated
    config = EvaluateConfig(**(quick | {"confidence": 0.8, "gradcam_images": 0}))
    narrow = evaluate(config, grouped.root, {"search": candidates["search"]}, tmp_path / "out", 0, runtime).metrics
    usual = _read(out, "metrics.json")
    assert narrow["test_auc_high"] - narrow["test_auc_low"] < usual["test_auc_high"] - usual["test_auc_low"]
    assert "80% interval" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
