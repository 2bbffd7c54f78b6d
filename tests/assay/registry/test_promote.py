"""Promotion: the better model becomes champion, with numbers; everything else keeps the champion and says why."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from assay.config import EvaluateConfig, PromoteConfig, RuntimeConfig
from assay.data.dataset import Dataset
from assay.data.shards import write_dataset
from assay.errors import AssayError, InputError
from assay.evaluation.evaluate import evaluate
from assay.measures.metrics import Scored
from assay.models.artifact import load_model, save_model
from assay.models.info import ModelInfo
from assay.registry.promote import PromotionResult, promote
from assay.registry.verdict import judge_against_champion
from assay.registry.versions import ModelRegistry
from assay.storage.open import open_store

SHAPE = (4, 4, 3)
CLASSES = ("normal", "tumor")
RUNTIME = RuntimeConfig(precision="float32")
GOOD, FAIR, POOR = 8.0, 1.2, 0.75


def images(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """Noise, with the label in the first pixel."""
    random = np.random.default_rng(seed)
    labels = np.arange(rows) % 2
    pixels = random.integers(0, 256, (rows, *SHAPE), dtype=np.uint8)
    pixels[:, 0, 0, 0] = np.clip(random.normal(110 + 36 * labels, 24), 0, 255)
    hashes = [hashlib.sha256(image.tobytes()).hexdigest() for image in pixels]
    slides = [f"slide {seed}-{row // 4}" for row in range(rows)]
    ids = [f"{seed}/{row}" for row in range(rows)]
    records = pd.DataFrame({"id": ids, "sha256": hashes, "group": slides, "label": [CLASSES[one] for one in labels]})
    return pixels, labels, records


def make_dataset(folder: Path, seeds: tuple[int, int, int] = (1, 2, 3), **options: Any) -> Path:
    parts = {name: images(rows, seed) for name, rows, seed in zip(("train", "valid", "test"), (60, 40, 160), seeds)}  # noqa: B905
    write_dataset(folder, parts, options.pop("classes", list(CLASSES)), **options)
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("data") / "dataset")


def model_of(signal: float, shape: tuple[int, ...] = SHAPE) -> keras.Model:
    """A model that sees the label the better the more ``signal`` it takes along with noise."""
    inputs = keras.Input(shape)
    dense = keras.layers.Dense(1, activation="sigmoid")
    model = keras.Model(inputs, dense(keras.layers.Flatten()(inputs)))
    weights = np.zeros((int(np.prod(shape)), 1))
    weights[0], weights[5] = signal, 1.0
    weights /= 40 * np.hypot(signal, 1.0)
    dense.set_weights([weights, -weights.sum(axis=0) * 128])
    return model


def write_evaluation(folder: Path, dataset_dir: Path, signal: float, **info: Any) -> Path:
    """What promote reads of an evaluation."""
    dataset = Dataset.open(dataset_dir)
    values = {
        "name": "linear",
        "classes": dataset.classes,
        "input_shape": dataset.input_shape,
        "dataset_fingerprint": dataset.fingerprint,
        "config": {"signal": signal},
    }
    save_model(model_of(signal, dataset.input_shape), folder / "best", ModelInfo.model_validate(values | info))
    test = dataset.open_test()
    probabilities = load_model(folder / "best").predict(test.inputs)
    table = pd.DataFrame({f"finetune:{name}": probabilities[:, index] for index, name in enumerate(dataset.classes)})
    decided = ModelInfo.model_validate(values | info).decide(probabilities)
    table["finetune:decided"] = np.asarray(dataset.classes)[decided]
    table["label"] = np.asarray(dataset.classes)[test.labels]
    table.to_parquet(folder / "predictions.parquet")
    (folder / "comparison.json").write_text('{"best": "finetune"}')
    (folder / "metrics.json").write_text('{"test_auc": 0.5}')
    (folder / "model_card.md").write_text("# card")
    return folder


class Bench:
    """A store, a dataset, and promotions one after another."""

    def __init__(self, folder: Path, dataset: Path) -> None:
        self.folder, self.dataset, self.root = folder, dataset, str(folder / "store")
        self.registry = ModelRegistry(open_store(self.root), "tissue")
        self.count = 0

    def run(self, signal: float, dataset: Path | None = None, info: dict[str, Any] | None = None, **config: Any) -> Any:
        self.count += 1
        data = dataset or self.dataset
        evaluation = write_evaluation(self.folder / f"evaluation{self.count}", data, signal, **(info or {}))
        return self.promote(evaluation, data, **config)

    def promote(self, evaluation: Path, dataset: Path | None = None, **config: Any) -> PromotionResult:
        self.out = self.folder / f"out{self.count}"
        return promote(
            PromoteConfig(**config),
            "tissue",
            self.root,
            evaluation,
            dataset or self.dataset,
            self.out,
            0,
            RUNTIME,
        )

    def decision(self) -> dict[str, Any]:
        return json.loads((self.out / "decision.json").read_text())


@pytest.fixture
def bench(tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    return Bench(tmp_path, dataset)


def test_the_first_model_becomes_champion(bench: Bench) -> None:
    result = bench.run(FAIR)
    assert (result.promoted, result.version, result.champion) == (True, "v1", "v1")
    assert "v1 (finetune) is the new champion of tissue and its first: test AUC 0." in result.reason
    assert bench.registry.resolve() == "v1"
    stored = bench.registry.version("v1")
    assert stored.metadata["metrics"] == {"test_auc": 0.5}
    assert stored.metadata["dataset_fingerprint"] == Dataset.open(bench.dataset).fingerprint
    assert bench.registry.read_report("v1", "model_card.md") == b"# card"
    assert bench.decision()["reason"] == result.reason
    assert result.reason in (bench.out / "decision.md").read_text()


def test_below_the_floor_there_is_no_champion_but_a_version(bench: Bench) -> None:
    result = bench.run(POOR, min_value=0.95)
    assert (result.promoted, result.version, result.champion) == (False, "v1", "")
    assert "tissue still has no champion" in result.reason
    assert "is below min_value 0.95" in result.reason
    assert bench.registry.versions() == ["v1"]
    assert bench.registry.champion() is None


def test_a_better_model_takes_over_with_numbers_that_are_right(bench: Bench) -> None:
    bench.run(POOR)
    result = bench.run(GOOD)
    assert (result.promoted, result.version, result.champion) == (True, "v2", "v2")
    test = Dataset.open(bench.dataset).open_test()
    scores = [np.asarray(model_of(signal)(np.asarray(test.inputs)))[:, 0] for signal in (GOOD, POOR)]
    good, poor = (roc_auc_score(test.labels, score) for score in scores)
    assert result.metrics["test_auc"] == pytest.approx(good, abs=1e-6)
    assert result.metrics["champion_test_auc"] == pytest.approx(poor, abs=1e-6)
    assert result.metrics["gain"] == pytest.approx(good - poor, abs=1e-6)
    assert 0 < result.metrics["gain_low"] < result.metrics["gain"] < result.metrics["gain_high"]
    assert result.metrics["gain_p_value"] <= 0.05
    assert result.metrics["promoted"] == 1
    assert f"test AUC {good:.3f} [" in result.reason
    assert f"against {poor:.3f} [" in result.reason
    assert "one-sided p = " in result.reason
    assert [change.version for change in bench.registry.history()] == ["v1", "v2"]
    assert bench.registry.history()[1].reason == result.reason
    text = (bench.out / "decision.md").read_text()
    assert f"| challenger v2 (finetune) | {good:.4f} [" in text
    assert f"| champion v1 | {poor:.4f} [" in text


@pytest.mark.parametrize("signal", [POOR, GOOD * 1.1])
def test_a_model_that_is_worse_or_hardly_better_does_not(bench: Bench, signal: float) -> None:
    bench.run(GOOD)
    result = bench.run(signal)
    assert (result.promoted, result.version, result.champion) == (False, "v2", "v1")
    assert result.reason.startswith("v1 stays champion of tissue, v2 (finetune) is not promoted: test AUC")
    assert bench.registry.versions() == ["v1", "v2"]
    assert bench.registry.resolve() == "v1"
    assert [decision["promoted"] for decision in bench.registry.decisions("v2")] == [False]


def test_a_gain_must_exceed_the_least_gain(bench: Bench) -> None:
    bench.run(POOR)
    assert not bench.run(GOOD, min_gain=0.4).promoted
    assert "one-sided p over 0.4 = " in bench.decision()["reason"]
    assert bench.run(GOOD, info={"config": {"again": 1}}, min_gain=0.01).promoted


def test_smaller_is_better_for_the_brier_score(bench: Bench) -> None:
    bench.run(POOR, metric="brier", min_value=0.9)
    result = bench.run(GOOD, metric="brier")
    assert result.promoted
    assert result.metrics["test_brier"] < result.metrics["champion_test_brier"]
    assert result.metrics["gain"] > 0
    assert not bench.run(FAIR, metric="brier").promoted
    assert (
        "is above min_value 0.01" in bench.run(GOOD, info={"config": {"x": 1}}, metric="brier", min_value=0.01).reason
    )


def test_the_same_model_again_changes_nothing(bench: Bench) -> None:
    bench.run(FAIR)
    result = bench.promote(bench.folder / "evaluation1")
    assert (result.promoted, result.version, result.champion) == (False, "v1", "v1")
    assert result.reason == "v1 stays champion of tissue, unchanged: the same data, config and code trained it"
    assert bench.registry.versions() == ["v1"]
    assert len(bench.registry.history()) == 1


def test_a_decision_for_which_no_model_answers_does_not_wait_for_tensorflow(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.run(FAIR)
    # Whoever imports it now fails.
    monkeypatch.setitem(sys.modules, "assay.runtime", None)
    assert "unchanged" in bench.promote(bench.folder / "evaluation1").reason
    with pytest.raises(ImportError):
        bench.run(GOOD)


def test_a_repeat_of_the_same_training_is_no_rival(bench: Bench) -> None:
    bench.run(FAIR)
    lucky = bench.run(GOOD, info={"config": {"signal": FAIR}})
    assert not lucky.promoted
    assert "unchanged" in lucky.reason
    assert bench.registry.versions() == ["v1"]


def test_the_very_model_without_a_known_origin_is_recognised(bench: Bench) -> None:
    bench.run(FAIR, info={"dataset_fingerprint": ""})
    assert "it is this very model" in bench.promote(bench.folder / "evaluation1").reason
    assert bench.registry.versions() == ["v1"]


def test_a_version_that_was_rolled_back_does_not_return_by_itself(bench: Bench) -> None:
    bench.run(POOR)
    bench.run(GOOD)
    bench.registry.rollback(reason="fails on scanner B")
    result = bench.promote(bench.folder / "evaluation2")
    assert (result.promoted, result.version, result.champion) == (False, "v2", "v1")
    assert "was rolled back on" in result.reason
    assert "fails on scanner B" in result.reason


def test_a_champion_of_other_classes_or_inputs_cannot_be_compared(bench: Bench, tmp_path: Path) -> None:
    bench.run(GOOD)
    other = make_dataset(tmp_path / "other", classes=["benign", "malignant"])
    result = bench.run(GOOD, other)
    assert (result.promoted, result.version, result.champion) == (False, "v2", "v1")
    assert "v1 cannot be compared: its classes are normal, tumor, not benign, malignant" in result.reason
    assert "assay registry rollback tissue --to v2" in (bench.out / "decision.md").read_text()
    pixels = {name: images(20, seed) for seed, name in enumerate(("train", "valid", "test"))}
    narrow = {name: (inputs[:, :, :2], labels, records) for name, (inputs, labels, records) in pixels.items()}
    write_dataset(tmp_path / "narrow", narrow, list(CLASSES))
    assert "its inputs are 4 x 4 x 3, not 4 x 2 x 3" in bench.run(GOOD, tmp_path / "narrow").reason
    assert bench.registry.versions() == ["v1", "v2", "v3"]


def test_a_champion_with_the_classes_in_another_order_is_compared_rightly(bench: Bench, tmp_path: Path) -> None:
    parts = {name: images(rows, 10 + rows) for name, rows in (("train", 20), ("valid", 20), ("test", 160))}
    swapped = {name: (inputs, 1 - labels, records) for name, (inputs, labels, records) in parts.items()}
    write_dataset(tmp_path / "plain", parts, list(CLASSES))
    write_dataset(tmp_path / "swapped", swapped, list(CLASSES[::-1]), positive_class="tumor")
    bench.run(GOOD, tmp_path / "plain", info={"threshold": 0.4})
    first = bench.run(POOR, tmp_path / "plain")
    again = bench.run(-POOR, tmp_path / "swapped", info={"positive_index": 0})
    assert first.metrics["champion_test_auc"] == pytest.approx(again.metrics["champion_test_auc"])
    accuracy = [bench.run(POOR, tmp_path / "plain", metric="accuracy", info={"config": {"a": 1}})]
    accuracy += [
        bench.run(-POOR, tmp_path / "swapped", metric="accuracy", info={"positive_index": 0, "config": {"b": 1}})
    ]
    assert accuracy[0].metrics["champion_test_accuracy"] == accuracy[1].metrics["champion_test_accuracy"]


def test_images_that_the_champion_was_trained_on_are_left_out(bench: Bench, tmp_path: Path) -> None:
    bench.run(GOOD)
    old, new = images(60, 1), images(100, 9)
    both = tuple(np.concatenate(pair) for pair in zip(old[:2], new[:2], strict=True))
    parts = {"train": images(60, 7), "valid": images(40, 8), "test": (*both, pd.concat([old[2], new[2]]))}
    write_dataset(tmp_path / "grown", parts, list(CLASSES))
    result = bench.run(POOR, tmp_path / "grown")
    notes = bench.decision()["notes"]
    assert notes == [
        "left out of the comparison: 60 of 160 test images (or others of their group), on which v1 was trained"
    ]
    expected = roc_auc_score(new[1], np.asarray(model_of(GOOD)(new[0]))[:, 0])
    assert result.metrics["champion_test_auc"] == pytest.approx(expected, abs=1e-6)


def test_a_champion_that_has_seen_nearly_all_is_compared_with_a_warning(bench: Bench, tmp_path: Path) -> None:
    bench.run(GOOD)
    parts = {"train": images(60, 7), "valid": images(40, 8), "test": images(60, 1)}
    write_dataset(tmp_path / "seen", parts, list(CLASSES))
    bench.run(POOR, tmp_path / "seen")
    assert "too many to leave out, and they flatter it" in bench.decision()["notes"][0]


def folds_of(folder: Path, seeds: tuple[int, ...]) -> Path:
    """A dataset of three folds; each seed gives 80 images from slides of its own."""
    parts = [images(80, seed) for seed in seeds]
    for _, _, records in parts:
        records["fold"] = np.arange(80) // 4 % 3
    splits = {}
    for name, some in zip(("train", "valid", "test"), np.array_split(np.arange(len(parts)), 3), strict=True):
        pixels, labels = (np.concatenate([parts[one][side] for one in some]) for side in (0, 1))
        splits[name] = (pixels, labels, pd.concat([parts[one][2] for one in some], ignore_index=True))
    write_dataset(folder, splits, list(CLASSES), group_column="group", folds=3)
    return folder


def test_a_cross_validated_champion_is_judged_by_its_folds_and_never_on_what_it_has_seen(
    bench: Bench, tmp_path: Path
) -> None:
    dataset = folds_of(tmp_path / "folds", (1, 2, 3))
    bench.count += 1
    first = write_evaluation(tmp_path / "first", dataset, GOOD)
    # What its folds said differs from what the model that is kept says of what it has seen.
    other = write_evaluation(tmp_path / "other", dataset, POOR)
    shutil.copyfile(other / "predictions.parquet", first / "predictions.parquet")
    assert bench.promote(first, dataset).promoted
    everything = Dataset.open(dataset).open_test()
    by_folds = roc_auc_score(
        everything.labels, np.asarray(model_of(POOR)(everything.inputs[:].astype("float32")))[:, 0]
    )

    same = bench.run(FAIR, dataset)
    assert same.metrics["champion_test_auc"] == pytest.approx(by_folds, abs=1e-6)
    assert "judged on 240 images by its folds" in bench.decision()["notes"][0]

    grown = folds_of(tmp_path / "grown", (1, 2, 3, 9))
    bench.run(FAIR, grown)
    assert (
        "240 images by its folds, each on what it had not seen, and on 80 new ones by itself"
        in (bench.decision()["notes"][0])
    )


def test_a_champion_of_a_single_split_is_judged_on_its_test_images_alone_where_folds_challenge_it(
    bench: Bench, tmp_path: Path
) -> None:
    bench.run(GOOD)
    # Of its data these are the training and validation images, and 80 others.
    parts = [images(60, 1), images(40, 2), images(80, 9)]
    for pixels, _, records in parts:
        records["fold"] = np.arange(len(pixels)) // 4 % 3
    splits = dict(zip(("train", "valid", "test"), parts, strict=True))
    write_dataset(tmp_path / "folds", splits, list(CLASSES), group_column="group", folds=3)
    result = bench.run(POOR, tmp_path / "folds")
    expected = roc_auc_score(parts[2][1], np.asarray(model_of(GOOD)(parts[2][0].astype("float32")))[:, 0])
    assert result.metrics["champion_test_auc"] == pytest.approx(expected, abs=1e-6)
    few = tuple(side[:8] for side in parts[2])
    write_dataset(tmp_path / "seen", {**splits, "test": few}, list(CLASSES), group_column="group", folds=3)
    result = bench.run(POOR, tmp_path / "seen")
    assert not result.promoted
    assert "cannot be compared (only 2 groups with images of one class are left" in result.reason


def test_disabled_it_only_says_what_it_would_do(bench: Bench) -> None:
    result = bench.run(FAIR, enabled=False)
    assert (result.promoted, result.version, result.champion) == (False, "", "")
    assert "the challenger (finetune) would become champion of tissue (promote.enabled is false)" in result.reason
    assert open_store(bench.root).list() == []


def test_a_champion_that_changes_meanwhile_is_compared_with_anew(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.run(POOR)
    bench.run(GOOD, min_value=1.0)
    real, calls = ModelRegistry.set_champion, []

    def slow(self: ModelRegistry, version: str, expected: Any, *, reason: str) -> Any:
        if not calls:
            calls.append(real(ModelRegistry(self.store, self.name), "v2", expected, reason="someone else was faster"))
        return real(self, version, expected, reason=reason)

    monkeypatch.setattr(ModelRegistry, "set_champion", slow)
    result = bench.run(FAIR)
    assert (result.promoted, result.version, result.champion) == (False, "v3", "v2")
    assert result.reason.startswith("v2 stays champion of tissue, v3 (finetune) is not promoted")
    assert [change.version for change in bench.registry.history()] == ["v1", "v2"]
    assert bench.registry.versions() == ["v1", "v2", "v3"]


PROMOTE = """
import sys
from pathlib import Path
from assay.config import PromoteConfig, RuntimeConfig
from assay.registry.promote import promote
root, evaluation, dataset, out = sys.argv[1:]
result = promote(PromoteConfig(), "tissue", root, Path(evaluation), Path(dataset), Path(out), 0, RuntimeConfig())
print("RESULT", result.version, result.promoted, flush=True)
"""


def test_two_promotions_at_once_end_with_the_better_model(
    gcs_root: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    signals = (POOR, FAIR, GOOD)
    poor, *others = [write_evaluation(tmp_path / f"{signal}", dataset, signal) for signal in signals]
    promote(PromoteConfig(), "tissue", gcs_root, poor, dataset, tmp_path / "out", 0, RUNTIME)
    commands = [
        [sys.executable, "-c", PROMOTE, gcs_root, str(folder), str(dataset), str(folder / "out")] for folder in others
    ]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    assert all(racer.communicate() and racer.returncode == 0 for racer in racers)
    registry = ModelRegistry(open_store(gcs_root), "tissue")
    assert registry.versions() == ["v1", "v2", "v3"]
    assert registry.version(registry.resolve()).info.config == {"signal": GOOD}
    history = registry.history()
    assert [change.previous for change in history] == [None, *(change.version for change in history[:-1])]


def test_what_evaluate_writes_is_what_promote_reads(bench: Bench, tmp_path: Path) -> None:
    fingerprint = Dataset.open(bench.dataset).fingerprint
    for name, signal in (("baseline", POOR), ("finetune", GOOD)):
        info = ModelInfo(name=name, classes=CLASSES, input_shape=SHAPE, dataset_fingerprint=fingerprint)
        save_model(model_of(signal), tmp_path / name, info)
    candidates = {name: tmp_path / name for name in ("baseline", "finetune")}
    config = EvaluateConfig(resamples=200, gradcam_images=0)
    found = evaluate(config, bench.dataset, candidates, tmp_path / "evaluation", 0, RUNTIME)
    result = bench.promote(tmp_path / "evaluation")
    assert found.best == "finetune"
    assert result.promoted
    assert result.metrics["test_auc"] == pytest.approx(found.metrics["test_auc"])
    assert bench.registry.version("v1").metadata["metrics"] == pytest.approx(found.metrics)
    assert bench.registry.version("v1").info.threshold != 0.5
    assert bench.registry.read_report("v1", "report.html")


def wrong_inputs() -> Sequence[Any]:
    def no_comparison(folder: Path) -> None:
        (folder / "comparison.json").unlink()

    def broken_comparison(folder: Path) -> None:
        (folder / "comparison.json").write_text("[]")

    def no_predictions(folder: Path) -> None:
        (folder / "predictions.parquet").unlink()

    def predictions_of_others(folder: Path) -> None:
        table = pd.read_parquet(folder / "predictions.parquet")
        table["label"] = table["label"].to_numpy()[::-1]
        table.to_parquet(folder / "predictions.parquet")

    def no_model(folder: Path) -> None:
        (folder / "best" / "model.json").unlink()

    return [
        pytest.param(no_comparison, "Run evaluate first", id="no comparison"),
        pytest.param(broken_comparison, "Run evaluate again", id="broken comparison"),
        pytest.param(no_predictions, "the predictions of finetune: cannot be read", id="no predictions"),
        pytest.param(predictions_of_others, "not of the test split", id="predictions of others"),
        pytest.param(no_model, "no model here", id="no model"),
    ]


@pytest.mark.parametrize(("damage", "message"), wrong_inputs())
def test_an_evaluation_that_is_not_whole_is_one_line(bench: Bench, damage: Any, message: str) -> None:
    evaluation = write_evaluation(bench.folder / "evaluation", bench.dataset, FAIR)
    damage(evaluation)
    with pytest.raises(InputError, match=message) as caught:
        bench.promote(evaluation)
    assert "\n" not in str(caught.value)
    assert bench.registry.store.list() == []
    assert not bench.out.exists()


def test_a_champion_that_is_damaged_stops_the_promotion(bench: Bench) -> None:
    bench.run(POOR)
    bench.registry.store.write_bytes("models/tissue/versions/v1/model/model.keras", b"damaged")
    with pytest.raises(AssayError, match="is not the file that was published as tissue v1"):
        bench.run(GOOD)
    assert bench.registry.resolve() == "v1"
    assert bench.registry.versions() == ["v1", "v2"]


def compared(evaluation: Path, low: float, high: float, epochs: int = 5) -> Path:
    """Say in an evaluation how its best candidate stands to the baseline, and how long it was trained."""
    pair = {"candidate": "finetune", "against": "baseline", "role": "baseline"}
    pair["auc"] = {"difference": (low + high) / 2, "low": low, "high": high, "test": "DeLong"}
    content = {
        "best": "finetune",
        "comparisons": [pair],
        "candidates": {"finetune": {"training": {"epochs_run": epochs}}},
    }
    (evaluation / "comparison.json").write_text(json.dumps(content))
    return evaluation


@pytest.mark.parametrize("metric", ["auc", "sensitivity", "brier"])
def test_a_model_that_guesses_does_not_become_the_first_champion(bench: Bench, metric: str) -> None:
    result = bench.run(0.0, metric=metric)
    assert not result.promoted
    assert "not shown to be better than guessing" in result.reason
    assert bench.registry.champion() is None


def test_a_ranking_upside_down_asks_whether_the_labels_are_inverted(bench: Bench) -> None:
    result = bench.run(-GOOD)
    assert not result.promoted
    assert "are the labels or the positive class inverted?" in result.reason


def test_the_first_champion_is_better_than_the_baseline_by_the_lower_end(bench: Bench, dataset: Path) -> None:
    equal = compared(write_evaluation(bench.folder / "equal", dataset, GOOD), -0.01, 0.05)
    result = bench.promote(equal)
    assert not result.promoted
    assert "not shown to be better than the baseline: AUC [-0.010, +0.050]" in result.reason
    assert bench.promote(equal, beat_baseline=False).promoted


def test_a_network_that_was_not_trained_is_never_champion(bench: Bench, dataset: Path) -> None:
    untrained = compared(write_evaluation(bench.folder / "untrained", dataset, GOOD), 0.1, 0.2, epochs=0)
    result = bench.promote(untrained)
    assert not result.promoted
    assert "it was not trained" in result.reason


def test_sensitivity_bought_with_specificity_does_not_win(bench: Bench, dataset: Path) -> None:
    assert bench.run(FAIR, metric="sensitivity").promoted
    # The same model with another threshold finds more and alarms more.
    result = bench.run(FAIR, info={"threshold": 0.42, "code_version": "2"}, metric="sensitivity")
    assert not result.promoted
    assert "specificity changes by -" in result.reason
    assert bench.run(
        FAIR, info={"threshold": 0.42, "code_version": "3"}, metric="sensitivity", counterpart_margin=0.99
    ).promoted


def test_a_few_groups_of_a_class_decide_nothing() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(60) % 2
    answers = [np.clip(labels * gap + random.random(60) * 0.5, 0, 1) for gap in (0.5, 0.1)]
    scored = [Scored(labels, np.stack([1 - p, p], axis=1), (p >= 0.5).astype(np.int64)) for p in answers]
    few = judge_against_champion(PromoteConfig(), *scored, np.arange(60) // 10, seed=0)
    assert not few.promote
    assert "only 6 groups with images of one class are left to compare on; 10 are needed" in few.why
    assert judge_against_champion(PromoteConfig(), *scored, np.arange(60) // 4, seed=0).promote
