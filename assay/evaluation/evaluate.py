"""The evaluate step: judge the candidates on the test split, once, with everything chosen on the validation split."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.config import EvaluateConfig, RuntimeConfig
from assay.data.dataset import Dataset, Split
from assay.errors import AssayError, InputError
from assay.evaluation.predictions import eight_views, misfit, predict_split, uncalibrated, validation_probabilities
from assay.evaluation.results import Candidate, CandidateComparison, Evaluation, GroupRow, Views
from assay.hashing import hash_json
from assay.measures.calibration import FittedCalibration, fit_calibration
from assay.measures.comparison import compare_samples, holm
from assay.measures.delong import delong
from assay.measures.intervals import Resampler, bootstrap_metrics, metric_intervals, wilson_interval
from assay.measures.metrics import Scored, decide, per_class_table, point_metrics
from assay.measures.offsets import ClassOffsets, choose_offsets
from assay.measures.ranking import Floats, roc_auc
from assay.measures.recalibration import claims, recalibration
from assay.measures.selection import own_noise, selection_optimism
from assay.measures.thresholds import Threshold, choose_threshold
from assay.models.artifact import load_model
from assay.models.info import ModelInfo, read_info
from assay.observability.progress import log
from assay.storage.files import new_folder

# Below this a group's score says nothing of the group.
FEWEST_IN_GROUP = 5
MOST_GROUPS = 500


@dataclass(frozen=True)
class EvaluationResult:
    """What was found, in short.

    Attributes:
        best: Name of the candidate with the highest validation AUC.
        leaderboard: One row a candidate, the best first: name, model, test_auc, test_auc_low, test_auc_high...
        metrics: Flat names of the best candidate's metrics, finite values.
    """

    best: str
    leaderboard: list[dict[str, Any]]
    metrics: dict[str, float]


def evaluate(
    evaluate: EvaluateConfig,
    dataset_dir: Path,
    candidates: Mapping[str, Path],
    out_dir: Path,
    seed: int,
    runtime: RuntimeConfig,
    looks: Sequence[str] = (),
) -> EvaluationResult:
    """Judge the candidates and write the report.

    Calibration, threshold and the choice of the best candidate come from the validation split. Each candidate sees
    the test split once.

    Args:
        evaluate: How to judge.
        dataset_dir: What preprocess wrote.
        candidates: Folder of each trained model, by name.
        out_dir: Absent or empty; it appears whole or not at all. Gets comparison.json, metrics.json, report.html,
            model_card.md, leaderboard.md, confusion.json, predictions.parquet, best/ and, where the test split holds
            both classes of two, roc.json.
        seed: Of the bootstrap's draws.
        runtime: Threads and GPU memory.
        looks: `ModelRegistry.looks`: what has been compared with a champion so far; the report says how often.

    Returns:
        The best candidate's name, the leaderboard and the best candidate's metrics.

    Raises:
        InputError: There is no candidate, or one was not trained for this dataset's classes or shape.
        AssayError: A candidate gives something other than probabilities.
    """
    from assay.evaluation import outputs
    from assay.runtime import apply_runtime

    dataset = open_for(dataset_dir, {name: [folder] for name, folder in candidates.items()})
    apply_runtime(runtime, seed)
    evaluation = judge_candidates(evaluate, dataset, candidates, seed)
    evaluation = replace(evaluation, looks=looks)
    best_dir = candidates[evaluation.best.name]
    with new_folder(out_dir) as stage:
        outputs.write_best(evaluation, best_dir, stage / "best")
        outputs.write_files(evaluation, [best_dir], stage)
    metrics = outputs.headline_metrics(evaluation)
    auc, interval = evaluation.best.test_metrics.values["auc"], evaluation.best.intervals["auc"]
    shown = f"{auc:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
    log(f"best on the validation split: {evaluation.best.name}; test AUC {shown}")
    return EvaluationResult(evaluation.best.name, outputs.leaderboard(evaluation), metrics)


def open_for(dataset_dir: Path, candidates: Mapping[str, Sequence[Path]]) -> Dataset:
    """Open a dataset to judge candidates on.

    Args:
        dataset_dir: What preprocess wrote.
        candidates: Folders of each one's models.

    Raises:
        InputError: There is no candidate, or a model was not trained for this dataset's classes or shape.
    """
    if not candidates:
        raise InputError(
            "there is nothing to evaluate: no candidate was handed in. Enable baseline, search or finetune."
        )
    dataset = Dataset.open(dataset_dir)
    for name, folders in candidates.items():
        for folder in folders:
            reason = misfit(read_info(folder), dataset)
            if reason:
                raise InputError(f"candidate {name} does not fit {dataset_dir}: {reason}. Train it on this dataset.")
    return dataset


def judge_candidates(config: EvaluateConfig, dataset: Dataset, candidates: Mapping[str, Path], seed: int) -> Evaluation:
    """Judge the candidates without writing anything; see `evaluate`."""
    test = dataset.open_test()
    if len(test) == 0 or len(dataset.valid) == 0:
        raise InputError(
            f"{dataset.root}: the validation or test split is empty. Run preprocess with larger fractions."
        )
    judged = [judge_candidate(config, dataset, test, name, folder) for name, folder in candidates.items()]
    found, samples = conclude(config, dataset, test, judged, seed, group_labels(dataset, dataset.valid))
    best = found.best
    views = _views(config, dataset, test, best, candidates[best.name], samples, found.resampler, found.groups)
    return replace(found, views=views)


def conclude(
    config: EvaluateConfig,
    dataset: Dataset,
    test: Split,
    judged: list[Candidate],
    seed: int,
    valid_groups: npt.NDArray[Any] | None,
) -> tuple[Evaluation, Mapping[str, Mapping[str, Floats]]]:
    """Return what candidates that have been judged come to: intervals, the best of them, comparisons.

    Args:
        config: How to judge.
        dataset: What the candidates were trained on.
        test: What they were judged on.
        judged: The candidates, without intervals.
        seed: Of the bootstrap's draws.
        valid_groups: Patient or slide of each validation case (N,); None where there are none.

    Returns:
        The evaluation, and the bootstrap's samples of each candidate's metrics.
    """
    groups = group_labels(dataset, test)
    resampler = Resampler(len(test), groups, config.resamples, seed)
    samples = bootstrap_metrics({candidate.name: candidate.test for candidate in judged}, resampler)
    judged = [
        replace(
            candidate,
            intervals=metric_intervals(
                candidate.test,
                candidate.test_metrics.values,
                samples[candidate.name],
                resampler,
                config.confidence,
            ),
            calibration=recalibration(
                *claims(candidate.test), groups if resampler.grouped else None, config.confidence, seed
            ),
        )
        for candidate in judged
    ]
    ranked, chosen_by = _rank(judged)
    found = Evaluation(
        dataset=dataset,
        config=config,
        seed=seed,
        candidates=ranked,
        chosen_by=chosen_by,
        comparisons=_compare(ranked, samples, resampler, groups, config.confidence),
        resampler=resampler,
        inputs=test.inputs,
        ids=_ids(test),
        test_fingerprint=_fingerprint(test),
        groups=groups,
        group_rows=_group_rows(ranked[0], groups, config.confidence),
        optimism=_optimism(ranked, valid_groups) if chosen_by == "val_auc" else math.nan,
    )
    return found, samples


def group_labels(dataset: Dataset, split: Split) -> npt.NDArray[Any] | None:
    """Return patient, slide or set of duplicates of each case (N,), or None where the dataset has no groups."""
    if dataset.group_column is None or dataset.group_column not in split.records:
        return None
    return split.records[dataset.group_column].astype(str).to_numpy()


def judge_candidate(config: EvaluateConfig, dataset: Dataset, test: Split, name: str, folder: Path) -> Candidate:
    """Return one model's answers, calibrated and decided by what the validation split says; it has no intervals yet."""
    import keras

    model = load_model(folder)
    raw_valid = validation_probabilities(folder, model, dataset.valid)
    raw_test = predict_split(model, test.inputs, task=f"predict test split, {name}")
    for split, raw in ((dataset.valid, raw_valid), (test, raw_test)):
        if not np.isfinite(raw).all():
            rows = int((~np.isfinite(raw)).any(axis=1).sum())
            raise AssayError(
                f"candidate {name}: {rows} of {len(raw)} answers on the {split.name} split are not numbers. "
                "Its training diverged: lower the learning rate and train again."
            )
    chosen = _choose(config, dataset, raw_valid, model.info)
    valid, scored = chosen.score(dataset.valid, raw_valid), chosen.score(test, raw_test)
    keras.backend.clear_session()
    return Candidate(
        name=name,
        info=uncalibrated(model).info,
        fitted=chosen.fitted,
        threshold=chosen.threshold,
        offsets=chosen.offsets,
        valid=valid,
        test=scored,
        raw_test=raw_test,
        valid_metrics=point_metrics(valid),
        test_metrics=point_metrics(scored),
        intervals={},
        per_class=per_class_table(scored, dataset.classes),
        training=_read_training(folder),
        history=_read_history(folder),
    )


@dataclass(frozen=True)
class _Chosen:
    """What the validation split gave: from the network's answers to reported probabilities and decisions."""

    fitted: FittedCalibration
    threshold: Threshold | None
    offsets: ClassOffsets
    positive_index: int

    def score(self, split: Split, raw: npt.NDArray[np.float32]) -> Scored:
        probabilities = self.fitted.map.apply(raw)
        threshold = None if self.threshold is None else self.threshold.value
        decided = decide(probabilities, threshold, self.positive_index, self.offsets.values)
        return Scored(split.labels, probabilities, decided, self.positive_index)


def _choose(config: EvaluateConfig, dataset: Dataset, raw_valid: npt.NDArray[np.float32], info: ModelInfo) -> _Chosen:
    labels = dataset.valid.labels
    fitted = fit_calibration(labels, raw_valid, config.calibration, info.calibration.prior_shift)
    probabilities, threshold, offsets = fitted.map.apply(raw_valid), None, ClassOffsets()
    if len(dataset.classes) == 2:
        positive = labels == dataset.positive_index
        groups = group_labels(dataset, dataset.valid)
        threshold = choose_threshold(positive, probabilities[:, dataset.positive_index], config, groups)
    elif config.decision != "most_probable":
        offsets = choose_offsets(labels, probabilities, config.decision)
    return _Chosen(fitted, threshold, offsets, dataset.positive_index)


def _rank(judged: list[Candidate]) -> tuple[list[Candidate], str]:
    """Order by validation AUC, or by validation log loss where the validation split holds one class."""

    def loss(candidate: Candidate) -> float:
        return candidate.valid_metrics.values["log_loss"]

    if any(math.isnan(candidate.valid_metrics.values["auc"]) for candidate in judged):
        return sorted(judged, key=loss), "val_log_loss"
    return sorted(judged, key=lambda candidate: (-candidate.valid_metrics.values["auc"], loss(candidate))), "val_auc"


def _optimism(ranked: list[Candidate], groups: npt.NDArray[Any] | None) -> float:
    """Return by how much the best validation AUC flatters because it is the best of the candidates'."""
    if len(ranked) < 2:
        return math.nan
    valid = [candidate.valid for candidate in ranked]
    of_classes = [valid[0].positive_index] if valid[0].binary else range(valid[0].probabilities.shape[1])
    covariances = [
        delong(
            valid[0].labels == index, np.stack([scored.probabilities[:, index] for scored in valid]), groups
        ).covariance
        for index in of_classes
    ]
    # The AUC of several classes is the mean over them; their errors count as independent.
    covariance = np.sum(covariances, axis=0) / len(covariances) ** 2
    return selection_optimism([candidate.valid_metrics.values["auc"] for candidate in ranked], own_noise(covariance))


def _compare(
    ranked: list[Candidate],
    samples: Mapping[str, Mapping[str, Floats]],
    resampler: Resampler,
    groups: npt.NDArray[Any] | None,
    confidence: float,
) -> list[CandidateComparison]:
    best = ranked[0]
    baseline = next((candidate for candidate in ranked if candidate.name == "baseline"), None)
    pairs = [(best, other, "other") for other in ranked[1:]]
    if baseline is not None:
        pairs += [(candidate, baseline, "baseline") for candidate in ranked if candidate is not baseline]
    comparisons = []
    for first, second, role in pairs:
        auc, accuracy = (
            compare_samples(
                first.test,
                second.test,
                metric,
                samples[first.name][metric],
                samples[second.name][metric],
                resampler,
                groups,
                confidence,
            )
            for metric in ("auc", "accuracy")
        )
        comparisons.append(CandidateComparison(first.name, second.name, role, auc, accuracy))
    adjusted = []
    for role in ("other", "baseline"):
        family = [comparison for comparison in comparisons if comparison.role == role]
        auc_p = holm([comparison.auc.p_value for comparison in family])
        accuracy_p = holm([comparison.accuracy.p_value for comparison in family])
        adjusted += [
            replace(comparison, auc_p_holm=of_auc, accuracy_p_holm=of_accuracy)
            for comparison, of_auc, of_accuracy in zip(family, auc_p, accuracy_p, strict=True)
        ]
    return adjusted


def _group_rows(best: Candidate, groups: npt.NDArray[Any] | None, confidence: float) -> list[GroupRow]:
    """Return the best candidate's score on each group, the worst first; empty where groups are too small to tell."""
    if groups is None:
        return []
    names, members, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if np.median(sizes) < FEWEST_IN_GROUP or not 1 < len(names) <= MOST_GROUPS:
        return []
    scored = best.test
    positive = scored.labels == scored.positive_index
    rows = []
    for index, name in enumerate(names):
        mine = members == index
        right = scored.labels[mine] == scored.predicted[mine]
        auc = roc_auc(positive[mine], scored.probabilities[mine, scored.positive_index]) if scored.binary else math.nan
        interval = wilson_interval(int(right.sum()), int(mine.sum()), confidence)
        rows.append(GroupRow(str(name), int(mine.sum()), int(positive[mine].sum()), auc, float(right.mean()), interval))
    return sorted(rows, key=lambda row: (row.accuracy, -row.images, row.name))


def _views(
    config: EvaluateConfig,
    dataset: Dataset,
    test: Split,
    best: Candidate,
    folder: Path,
    samples: Mapping[str, Mapping[str, Floats]],
    resampler: Resampler,
    groups: npt.NDArray[Any] | None,
) -> Views | None:
    """Judge the best candidate once more with its answers averaged over views, threshold and calibration anew."""
    if not config.test_time_augmentation:
        return None
    count = len(eight_views(test.inputs[:1]))
    if count == 1:
        log("test-time augmentation: sensor windows have no flips and turns; left out")
        return None
    model = load_model(folder)
    raw_valid = predict_split(model, dataset.valid.inputs, task=f"validation split, {count} views", views=True)
    raw_test = predict_split(model, test.inputs, task=f"test split, {count} views", views=True)
    scored = _choose(config, dataset, raw_valid, model.info).score(test, raw_test)
    drawn = bootstrap_metrics({"views": scored}, resampler)["views"]
    metrics = point_metrics(scored)
    intervals = metric_intervals(scored, metrics.values, drawn, resampler, config.confidence)
    gain = compare_samples(
        scored, best.test, "auc", drawn["auc"], samples[best.name]["auc"], resampler, groups, config.confidence
    )
    return Views(count, metrics, intervals, gain)


def _ids(split: Split) -> list[str]:
    if "id" in split.records:
        return [str(name) for name in split.records["id"]]
    return [str(row) for row in range(len(split))]


def _fingerprint(split: Split) -> str:
    cases = split.records["sha256"].astype(str).tolist() if "sha256" in split.records else _ids(split)
    return hash_json(sorted(zip(cases, split.labels.tolist(), strict=True)))


def _read_training(folder: Path) -> dict[str, float]:
    try:
        values = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(values, dict):
        return {}
    return {str(name): float(value) for name, value in values.items() if isinstance(value, int | float)}


def _read_history(folder: Path) -> Any:
    import pandas as pd

    path = folder / "history.csv"
    try:
        return pd.read_csv(path) if path.is_file() else None
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        log(f"{path}: the history cannot be read ({reason}); the report goes without it")
        return None
