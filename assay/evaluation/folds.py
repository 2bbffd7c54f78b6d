"""Evaluate with folds: every case is judged by the model that has seen nothing of its group, and all of them together.

The pooled figures are of all cases at once, each with the threshold and the calibration of its own fold. Scores of
different models need not be on one scale, which can lower (seldom raise) a pooled AUC (Forman and Scholz 2010, Apples-
to-Apples in Cross-Validation Studies): the mean over folds and its spread stand beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.config import EvaluateConfig, RuntimeConfig
from assay.data.dataset import Dataset, Split
from assay.data.folds import FoldRows, open_fold
from assay.evaluation.evaluate import EvaluationResult, conclude, group_labels, judge_candidate, open_for
from assay.evaluation.results import Candidate, Evaluation, FoldScore
from assay.measures.calibration import Calibration, FittedCalibration
from assay.measures.metrics import Scored, per_class_table, point_metrics
from assay.measures.offsets import ClassOffsets
from assay.measures.thresholds import Threshold
from assay.models.ensemble import write_ensemble
from assay.observability.progress import log
from assay.storage.files import new_folder

Array = npt.NDArray[Any]
OWN = "each fold's model has its own, within the model that is kept"
# Of what training reports: added up over folds, the worst of them, the middle one; the mean of all else.
SUMMED = ("seconds", "cost", "_trials", "search_epochs")
WORST = {"not_learning": max, "peak_memory_mb": max, "epochs_run": min}
MIDDLE = ("best_epoch",)


def evaluate_folds(
    evaluate: EvaluateConfig,
    dataset_dir: Path,
    candidates: Mapping[str, Sequence[Path]],
    out_dir: Path,
    seed: int,
    runtime: RuntimeConfig,
    looks: Sequence[str] = (),
) -> EvaluationResult:
    """Judge candidates that were trained fold by fold, write the report, and keep the best one's models as one.

    Args:
        evaluate: How to judge. Test-time augmentation is left out.
        dataset_dir: What preprocess wrote, with folds.
        candidates: Folders of each candidate's models, by number of the fold.
        out_dir: As for `assay.evaluation.evaluate.evaluate`; ``best/`` is the ensemble of the best candidate's models.
        seed: Of the bootstrap's draws.
        runtime: Threads and GPU memory.
        looks: `ModelRegistry.looks`: what has been compared with a champion so far; the report says how often.

    Raises:
        InputError: There is no candidate, or a model was not trained for this dataset's classes or shape.
        AssayError: A model gives something other than probabilities.
    """
    from assay.evaluation import outputs
    from assay.runtime import apply_runtime

    dataset = open_for(dataset_dir, candidates)
    apply_runtime(runtime, seed)
    if evaluate.test_time_augmentation:
        log("test-time augmentation: left out with folds")
    evaluation, calibrations = judge_folds(evaluate, dataset, candidates, seed)
    evaluation = replace(evaluation, looks=looks)
    best = evaluation.best
    folders = list(candidates[best.name])
    with new_folder(out_dir) as stage:
        threshold = None if best.threshold is None else best.threshold.value
        kept = write_ensemble(
            folders,
            calibrations[best.name],
            stage / "best",
            threshold=threshold,
            class_offsets=best.offsets.values,
            dataset=dataset.fingerprint,
        )
        others = [
            replace(candidate, info=kept) if candidate is best else candidate for candidate in evaluation.candidates
        ]
        evaluation = replace(evaluation, candidates=others)
        outputs.write_files(evaluation, folders, stage)
    auc, interval = best.test_metrics.values["auc"], best.intervals["auc"]
    aucs = [fold.metrics[best.name]["test_auc"] for fold in evaluation.folds]
    log(
        f"best on the folds' validation images: {best.name}; pooled AUC {auc:.3f} [{interval.low:.3f}, "
        f"{interval.high:.3f}], by fold {min(aucs):.3f} to {max(aucs):.3f}"
    )
    each = 1000 * kept.config["ensemble"]["seconds_per_input"]
    log(f"kept: the {len(folders)} models of its folds as one, {each:.1f} ms for each of {evaluation.unit} in a batch")
    return EvaluationResult(best.name, outputs.leaderboard(evaluation), outputs.headline_metrics(evaluation))


def judge_folds(
    config: EvaluateConfig, dataset: Dataset, candidates: Mapping[str, Sequence[Path]], seed: int
) -> tuple[Evaluation, dict[str, list[Calibration]]]:
    """Judge the candidates without writing anything; return what was found, and the calibration of each model.

    Args:
        config: How to judge.
        dataset: With folds.
        candidates: Folders of each candidate's models, by number of the fold.
        seed: Of the bootstrap's draws.
    """
    test = dataset.open_test()
    fold_of = np.zeros(len(test), np.int64)
    members: dict[str, list[Candidate]] = {name: [] for name in candidates}
    all_rows: list[FoldRows] = []
    valid_groups: list[Array] = []
    for number in range(dataset.folds):
        seen, tested, rows = open_fold(dataset, number)
        all_rows.append(rows)
        fold_of[rows.test] = number
        groups = group_labels(dataset, seen.valid)
        # A case validates in several folds: where there are no groups, it is one of its own.
        valid_groups.append(rows.valid.astype(str) if groups is None else groups)
        for name, folders in candidates.items():
            label = f"{name}, fold {number + 1} of {dataset.folds}"
            members[name].append(judge_candidate(config, seen, tested, label, folders[number]))
    judged = [_pooled(name, found, all_rows, test) for name, found in members.items()]
    evaluation, _ = conclude(config, dataset, test, judged, seed, np.concatenate(valid_groups))
    groups = group_labels(dataset, test)
    folds = [
        FoldScore(
            number=number,
            train=len(rows.train),
            valid=len(rows.valid),
            test=len(rows.test),
            groups=None if groups is None else len(np.unique(groups[rows.test])),
            metrics={name: _of_fold(found[number]) for name, found in members.items()},
        )
        for number, rows in enumerate(all_rows)
    ]
    calibrations = {name: [one.fitted.map for one in found] for name, found in members.items()}
    return replace(evaluation, folds=folds, fold_of=fold_of), calibrations


def _pooled(name: str, folds: Sequence[Candidate], rows: Sequence[FoldRows], test: Split) -> Candidate:
    """Return a candidate's models as one candidate that is judged on all cases."""
    first = folds[0]

    def joined(part: Callable[[Candidate], Array]) -> Array:
        whole = np.empty((len(test), *part(first).shape[1:]), part(first).dtype)
        for fold, of_fold in zip(folds, rows, strict=True):
            whole[of_fold.test] = part(fold)
        return whole

    positive = first.test.positive_index
    scored = Scored(
        test.labels,
        joined(lambda fold: fold.test.probabilities),
        joined(lambda fold: fold.test.predicted),
        positive,
    )
    valid = Scored(
        np.concatenate([fold.valid.labels for fold in folds]),
        np.concatenate([fold.valid.probabilities for fold in folds]),
        np.concatenate([fold.valid.predicted for fold in folds]),
        positive,
    )
    return replace(
        first,
        name=name,
        fitted=FittedCalibration(Calibration(), math.nan, math.nan, OWN, _bounds(folds)),
        threshold=_middle([fold.threshold for fold in folds if fold.threshold is not None]),
        offsets=_offsets([fold.offsets for fold in folds], len(first.info.classes)),
        valid=valid,
        test=scored,
        raw_test=joined(lambda fold: fold.raw_test),
        valid_metrics=point_metrics(valid),
        test_metrics=point_metrics(scored),
        per_class=per_class_table(scored, first.info.classes),
        training=_training([fold.training for fold in folds]),
        history=None,
    )


def _middle(thresholds: Sequence[Threshold]) -> Threshold | None:
    """Return the threshold of the model that is kept: the median of the folds', each chosen on its validation cases."""
    if not thresholds:
        return None
    notes = dict.fromkeys(threshold.note for threshold in thresholds if threshold.note)
    return Threshold(
        value=float(np.median([threshold.value for threshold in thresholds])),
        rule=thresholds[0].rule,
        sensitivity=float(np.mean([threshold.sensitivity for threshold in thresholds])),
        specificity=float(np.mean([threshold.specificity for threshold in thresholds])),
        note="; ".join(notes),
    )


def _offsets(folds: Sequence[ClassOffsets], classes: int) -> ClassOffsets:
    """Return the offsets of the model that is kept: the mean of the folds', each chosen on its validation cases."""
    if not any(fold.values for fold in folds):
        return folds[0]
    values = np.mean([fold.values or (0.0,) * classes for fold in folds], axis=0)
    before, after = (float(np.mean([getattr(fold, when) for fold in folds])) for when in ("before", "after"))
    return replace(folds[0], values=tuple(values.tolist()), before=before, after=after)


def _bounds(folds: Sequence[Candidate]) -> tuple[str, ...]:
    return tuple(f"in fold {number + 1} {bound}" for number, fold in enumerate(folds) for bound in fold.fitted.at_bound)


def _training(folds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return what the trainings of all folds report, as of one training."""
    names = [name for name in folds[0] if all(name in fold for fold in folds)]
    found = {}
    for name in names:
        values = [fold[name] for fold in folds]
        if name in WORST:
            found[name] = float(WORST[name](values))
        elif name.endswith(MIDDLE):
            found[name] = float(np.median(values))
        else:
            found[name] = float(sum(values) if name.endswith(SUMMED) else np.mean(values))
    return found


def _of_fold(candidate: Candidate) -> dict[str, float]:
    """Return the figures of one fold's model."""
    values = {f"test_{name}": candidate.test_metrics.values[name] for name in ("auc", "accuracy", "log_loss")}
    values["val_auc"] = candidate.valid_metrics.values["auc"]
    if candidate.threshold is not None:
        values["threshold"] = candidate.threshold.value
    if "best_epoch" in candidate.training:
        values["best_epoch"] = candidate.training["best_epoch"]
    return values
