"""What an evaluation leaves for machines: comparison, metrics, predictions, confusion, ROC, the best model."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from assay.evaluation.results import Candidate, CandidateComparison, Evaluation, FoldScore, finite
from assay.hashing import code_version
from assay.measures.comparison import PairedDifference
from assay.measures.metrics import confusion_matrix
from assay.models.artifact import copy_model, update_info
from assay.pages.plots import roc_points

SCHEMA_VERSION = 1


def write_best(evaluation: Evaluation, model_dir: Path, out_dir: Path) -> None:
    """Copy the best candidate's artifact and set the threshold and calibration that validation gave."""
    best = evaluation.best
    copy_model(model_dir, out_dir)
    threshold = None if best.threshold is None else best.threshold.value
    update_info(out_dir, threshold=threshold, calibration=best.fitted.map, class_offsets=best.offsets.values)


def write_files(evaluation: Evaluation, model_dirs: Sequence[Path], out_dir: Path) -> None:
    """Write everything but ``best/``; see `assay.evaluation.evaluate.evaluate`.

    Args:
        evaluation: What was found.
        model_dirs: The best candidate's folder; of a cross-validation those of all folds, in order.
        out_dir: Gets the files.
    """
    from assay.evaluation.card import render_card, render_leaderboard
    from assay.evaluation.report import render_report

    best = evaluation.best
    _write_json(out_dir / "comparison.json", comparison(evaluation))
    _write_json(out_dir / "metrics.json", headline_metrics(evaluation))
    matrix = confusion_matrix(best.test.labels, best.test.predicted, len(evaluation.dataset.classes))
    _write_json(
        out_dir / "confusion.json",
        {"labels": list(evaluation.dataset.classes), "matrix": matrix.tolist(), "rows": "true", "columns": "decided"},
    )
    if evaluation.binary and not math.isnan(best.test_metrics.values["auc"]):
        fpr, tpr, thresholds = roc_points(best.test.rankings[0])
        _write_json(out_dir / "roc.json", {"fpr": fpr.tolist(), "tpr": tpr.tolist(), "thresholds": thresholds.tolist()})
    _write_predictions(evaluation, out_dir / "predictions.parquet")
    (out_dir / "leaderboard.md").write_text(render_leaderboard(evaluation), encoding="utf-8")
    (out_dir / "model_card.md").write_text(render_card(evaluation), encoding="utf-8")
    (out_dir / "report.html").write_text(render_report(evaluation, model_dirs), encoding="utf-8")


def headline_metrics(evaluation: Evaluation) -> dict[str, float]:
    """Return the best candidate's flat metrics, and every candidate's test AUC as ``test_auc_<name>``."""
    best = evaluation.best
    values = best.flat_metrics()
    values["test_images"] = float(len(evaluation.ids))
    for name in ("train_auc", "train_accuracy"):
        if name in best.training:
            values[name] = best.training[name]
    for candidate in evaluation.candidates:
        values[f"test_auc_{candidate.name}"] = candidate.test_metrics.values["auc"]
    if evaluation.folds:
        aucs = [fold.metrics[best.name]["test_auc"] for fold in evaluation.folds]
        values["folds"] = float(len(aucs))
        values["test_auc_fold_mean"], values["test_auc_fold_sd"] = float(np.mean(aucs)), float(np.std(aucs, ddof=1))
        values["test_auc_fold_lowest"], values["test_auc_fold_highest"] = min(aucs), max(aucs)
    if evaluation.views is not None:
        values["test_auc_views"] = evaluation.views.metrics.values["auc"]
        values["test_accuracy_views"] = evaluation.views.metrics.values["accuracy"]
    return {name: float(value) for name, value in values.items() if math.isfinite(value)}


def leaderboard(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return candidate row a candidate, the best first; what is undefined is None."""
    return [finite(_row(evaluation, candidate)) for candidate in evaluation.candidates]


def _row(evaluation: Evaluation, candidate: Candidate) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": candidate.name,
        "model": candidate.info.name,
        "parameters": candidate.info.parameters,
        "best": candidate is evaluation.best,
        **candidate.flat_metrics(),
    }
    baseline = evaluation.baseline
    against = None if baseline is None else evaluation.comparison(candidate.name, baseline.name)
    if against is not None:
        row["auc_gain_over_baseline"] = against.auc.difference
        row["auc_gain_over_baseline_low"] = against.auc.interval.low
        row["auc_gain_over_baseline_high"] = against.auc.interval.high
        row["auc_gain_over_baseline_p"] = against.auc_p_holm
    behind = evaluation.comparison(evaluation.best.name, candidate.name)
    if behind is not None:
        row["auc_behind_best"] = behind.auc.difference
        row["auc_behind_best_low"], row["auc_behind_best_high"] = behind.auc.interval.low, behind.auc.interval.high
        row["auc_behind_best_p"] = behind.auc_p_holm
    return row


def comparison(evaluation: Evaluation) -> dict[str, Any]:
    """Return comparison.json: all candidates, all comparisons, and how they were made."""
    dataset, config, resampler = evaluation.dataset, evaluation.config, evaluation.resampler
    content = {
        "schema": SCHEMA_VERSION,
        "best": evaluation.best.name,
        "chosen_by": evaluation.chosen_by,
        "classes": list(dataset.classes),
        "positive_class": dataset.classes[dataset.positive_index] if evaluation.binary else None,
        "dataset_fingerprint": dataset.fingerprint,
        "code_version": code_version(),
        "test": {
            "images": len(evaluation.ids),
            "fingerprint": evaluation.test_fingerprint,
            "counts": evaluation.test_counts,
            "groups": resampler.units if resampler.grouped else None,
        },
        "config": config.model_dump(mode="json"),
        "policy": evaluation.best.info.config.get("policy") or {},
        "intervals": {
            "confidence": config.confidence,
            "method": resampler.method,
            "resamples": resampler.resamples,
            "seed": evaluation.seed,
        },
        "leaderboard": leaderboard(evaluation),
        "candidates": {candidate.name: _candidate(candidate) for candidate in evaluation.candidates},
        "comparisons": [_comparison(pair) for pair in evaluation.comparisons],
        "views": _views(evaluation),
        "folds": [_fold(fold) for fold in evaluation.folds],
    }
    cleaned: dict[str, Any] = finite(content)
    return cleaned


def _candidate(candidate: Candidate) -> dict[str, Any]:
    threshold, test = candidate.threshold, candidate.test
    return {
        "model": candidate.info.name,
        "parameters": candidate.info.parameters,
        "created": candidate.info.created,
        "config": candidate.info.config.get("section", {}),
        "metrics": candidate.flat_metrics(),
        "training": dict(candidate.training),
        "history": [] if candidate.history is None else candidate.history.to_dict("records"),
        "methods": {name: interval.method for name, interval in candidate.intervals.items()},
        "undefined": dict(candidate.test_metrics.undefined),
        "threshold": None
        if threshold is None
        else {
            "value": threshold.value,
            "rule": threshold.rule,
            "valid_sensitivity": threshold.sensitivity,
            "valid_specificity": threshold.specificity,
            "valid_bound": threshold.bound,
            "chance": threshold.chance,
            "note": threshold.note,
        },
        "decision": None
        if threshold is not None
        else {
            "metric": candidate.offsets.metric,
            "offsets": list(candidate.offsets.values),
            "valid_before": candidate.offsets.before,
            "valid_after": candidate.offsets.after,
        },
        "calibration": {
            **candidate.fitted.map.model_dump(mode="json"),
            "valid_log_loss_before": candidate.fitted.loss_before,
            "valid_log_loss_after": candidate.fitted.loss_after,
            "at_bound": list(candidate.fitted.at_bound),
            "note": candidate.fitted.note,
        },
        "per_class": [dict(row) for row in candidate.per_class],
        "confusion": confusion_matrix(test.labels, test.predicted, len(candidate.info.classes)).tolist(),
    }


def _comparison(pair: CandidateComparison) -> dict[str, Any]:
    return {
        "candidate": pair.candidate,
        "against": pair.against,
        "role": pair.role,
        "auc": _difference(pair.auc, pair.auc_p_holm),
        "accuracy": _difference(pair.accuracy, pair.accuracy_p_holm),
    }


def _difference(found: PairedDifference, p_holm: float) -> dict[str, Any]:
    return {
        "difference": found.difference,
        "low": found.interval.low,
        "high": found.interval.high,
        "p_value": found.p_value,
        "p_holm": p_holm,
        "test": found.test,
    }


def _fold(fold: FoldScore) -> dict[str, Any]:
    counts = {name: getattr(fold, name) for name in ("train", "valid", "test", "groups")}
    return {"fold": fold.number + 1, **counts, "candidates": {name: dict(one) for name, one in fold.metrics.items()}}


def _views(evaluation: Evaluation) -> dict[str, Any] | None:
    views = evaluation.views
    if views is None:
        return None
    interval = views.intervals["auc"]
    return {
        "views": views.views,
        "test_auc": views.metrics.values["auc"],
        "test_auc_low": interval.low,
        "test_auc_high": interval.high,
        "test_accuracy": views.metrics.values["accuracy"],
        "auc_gain": _difference(views.gain, views.gain.p_value),
    }


def _write_predictions(evaluation: Evaluation, path: Path) -> None:
    """Write one row a test case: id, group, label, and of each candidate the decision and every class's probability."""
    import pandas as pd

    names = np.array(evaluation.dataset.classes)
    columns: dict[str, Any] = {"id": evaluation.ids}
    if evaluation.groups is not None:
        columns["group"] = evaluation.groups
    if evaluation.fold_of is not None:
        columns["fold"] = evaluation.fold_of + 1
    columns["label"] = names[evaluation.best.test.labels]
    for candidate in evaluation.candidates:
        columns[f"{candidate.name}:decided"] = names[candidate.test.predicted]
        for index, name in enumerate(evaluation.dataset.classes):
            columns[f"{candidate.name}:{name}"] = candidate.test.probabilities[:, index]
    pd.DataFrame(columns).to_parquet(path, index=False)


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
