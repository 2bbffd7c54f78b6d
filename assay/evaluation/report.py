"""report.html: one page with everything an evaluation found, that needs no network and no other file."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from assay.evaluation import words
from assay.evaluation.pictures import gallery, worst_mistakes
from assay.evaluation.results import Candidate, Evaluation
from assay.hashing import code_version
from assay.measures.calibration import reliability_curve
from assay.measures.interval import Interval
from assay.measures.metrics import METRICS, confusion_matrix
from assay.measures.recalibration import claims
from assay.pages import numbers, plots
from assay.pages.svg import interval_bar
from assay.pages.template import page_template

TEMPLATES = Path(__file__).parent / "templates"
MOST_CLASSES_DRAWN = 8
MOST_CONFUSION_CLASSES = 24
MOST_GROUPS_SHOWN = 30
# Of the probabilities: less than this is not worth a second curve.
SMALL_CHANGE = 0.01
# By (truly positive, decided positive).
OUTCOMES = {
    (True, True): "found",
    (True, False): "missed",
    (False, True): "false alarms",
    (False, False): "left alone",
}
KEY_METRICS = ("auc", "sensitivity", "specificity", "accuracy")


def render_report(evaluation: Evaluation, model_dirs: Sequence[Path]) -> str:
    """Return the page.

    Args:
        evaluation: What was found.
        model_dirs: The best candidate's folder, for Grad-CAM; of a cross-validation those of all folds, in order.
    """
    best = evaluation.best
    return page_template("report.html.j2", TEMPLATES).render(
        e=evaluation,
        best=best,
        verdict=words.report_verdict(evaluation),
        key_figures=_key_figures(evaluation),
        rows=_leaderboard_rows(evaluation),
        comparisons=_comparison_rows(evaluation),
        views=_views_row(evaluation),
        how_intervals=words.how_intervals(evaluation),
        tested=words.tested(evaluation),
        folds=_folds(evaluation),
        optimism=words.optimism_in_words(evaluation),
        level=words.level(evaluation),
        rule=words.rule_in_words(evaluation),
        separation=_separation(evaluation),
        metrics=_metric_rows(evaluation),
        confusion=_confusion(evaluation),
        histogram=_histogram(evaluation),
        confused_pairs=_confused_pairs(evaluation),
        calibration=_calibration(evaluation),
        gallery=gallery(evaluation, model_dirs),
        mistakes=worst_mistakes(evaluation),
        learning=[
            (candidate, plots.learning_figures(candidate.history))
            for candidate in evaluation.candidates
            if candidate.history is not None
        ],
        gap=words.gap(evaluation),
        groups=_groups(evaluation),
        data=_data(evaluation),
        augmentation=words.augmentation_of(best.info),
        settings=_settings(best),
        provenance=_provenance(evaluation),
        limitations=words.limitations(evaluation),
        created=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


@dataclass(frozen=True)
class KeyFigure:
    """One of the large numbers at the top."""

    title: str
    value: str
    interval: str
    meaning: str


def _key_figures(evaluation: Evaluation) -> list[KeyFigure]:
    best = evaluation.best
    names = KEY_METRICS if evaluation.binary else ("auc", "accuracy", "balanced_accuracy", "f1")
    figures = []
    for name in names:
        metric = METRICS[name]
        form = numbers.score if name in ("auc", "f1") else numbers.percent
        meaning = metric.meaning if evaluation.binary else metric.meaning_of_many or metric.meaning
        meaning = meaning.replace("images", evaluation.unit).replace("image", evaluation.unit[:-1])
        undefined = best.test_metrics.undefined.get(name)
        figures.append(
            KeyFigure(
                metric.title,
                form(best.test_metrics.values[name]),
                undefined or numbers.interval_of(best.intervals[name], form),
                meaning,
            )
        )
    return figures


def _scale(intervals: Sequence[Interval], values: Sequence[float]) -> tuple[float, float]:
    ends = [end for interval in intervals if interval.defined for end in (interval.low, interval.high)]
    ends += [value for value in values if math.isfinite(value)]
    if not ends:
        return 0.0, 1.0
    margin = max(0.01, 0.05 * (max(ends) - min(ends)))
    return max(0.0, min(ends) - margin), min(1.0, max(ends) + margin)


def _leaderboard_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    best, baseline = evaluation.best, evaluation.baseline
    aucs = [candidate.test_metrics.values["auc"] for candidate in evaluation.candidates]
    scale = _scale([candidate.intervals["auc"] for candidate in evaluation.candidates], aucs)
    rows = []
    for candidate in evaluation.candidates:
        interval, value = candidate.intervals["auc"], candidate.test_metrics.values["auc"]
        against = None if baseline is None else evaluation.comparison(candidate.name, baseline.name)
        rows.append(
            {
                "candidate": candidate,
                "best": candidate is best,
                "bar": interval_bar(
                    interval.low,
                    value,
                    interval.high,
                    scale,
                    style="s1" if candidate is best else "s5",
                    reference=best.test_metrics.values["auc"],
                    label=f"{candidate.name}: test AUC {numbers.score(value)}, {numbers.interval_of(interval)}",
                ),
                "cells": [
                    (
                        METRICS[name].title,
                        form(candidate.test_metrics.values[name]),
                        numbers.interval_of(candidate.intervals[name], form),
                    )
                    for name, form in (
                        ("auc", numbers.score),
                        ("sensitivity", numbers.percent),
                        ("specificity", numbers.percent),
                        ("accuracy", numbers.percent),
                    )
                ],
                "gain": None if against is None else against.auc,
                "gain_p": "" if against is None else numbers.p_value(against.auc_p_holm),
            }
        )
    return [{**row, "scale": scale} for row in rows]


def _comparison_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    rows = []
    seen = set()
    for comparison in evaluation.comparisons:
        pair = (comparison.candidate, comparison.against)
        if pair in seen:
            continue
        seen.add(pair)
        rows.append(
            {
                "first": comparison.candidate,
                "second": comparison.against,
                "parts": [
                    ("AUC", comparison.auc, numbers.p_value(comparison.auc_p_holm)),
                    ("accuracy", comparison.accuracy, numbers.p_value(comparison.accuracy_p_holm)),
                ],
            }
        )
    return rows


def _views_row(evaluation: Evaluation) -> dict[str, Any] | None:
    views = evaluation.views
    if views is None:
        return None
    return {
        "views": views.views,
        "auc": numbers.score(views.metrics.values["auc"]),
        "interval": numbers.interval_of(views.intervals["auc"]),
        "accuracy": numbers.percent(views.metrics.values["accuracy"]),
        "gain": numbers.signed(views.gain.difference),
        "gain_interval": f"{numbers.signed(views.gain.interval.low)} to {numbers.signed(views.gain.interval.high)}",
        "p": numbers.p_value(views.gain.p_value),
    }


def _folds(evaluation: Evaluation) -> dict[str, Any] | None:
    """Return the table of a cross-validation's folds: for each candidate AUC and accuracy, the best one's first."""
    if not evaluation.folds:
        return None
    names = [candidate.name for candidate in evaluation.candidates]
    rows = [
        (
            str(fold.number + 1),
            fold.train,
            fold.test,
            fold.groups,
            [
                (numbers.score(fold.metrics[name]["test_auc"]), numbers.percent(fold.metrics[name]["test_accuracy"]))
                for name in names
            ],
        )
        for fold in evaluation.folds
    ]
    pooled = [
        (
            numbers.score(candidate.test_metrics.values["auc"]),
            numbers.percent(candidate.test_metrics.values["accuracy"]),
        )
        for candidate in evaluation.candidates
    ]
    return {"names": names, "rows": rows, "pooled": pooled, "said": words.folds_in_words(evaluation)}


def _separation(evaluation: Evaluation) -> list[tuple[str, plots.Figure]]:
    best = evaluation.best
    if evaluation.binary:
        if math.isnan(best.test_metrics.values["auc"]):
            return []
        return _binary_separation(evaluation)
    rankings = [
        (name, ranking, ranking.auc(ranking.ones))
        for name, ranking in zip(evaluation.class_names, best.test.rankings, strict=True)
    ]
    defined = [(name, ranking, auc) for name, ranking, auc in rankings if not math.isnan(auc)]
    shown = sorted(defined, key=lambda of_class: of_class[2])[:MOST_CLASSES_DRAWN]
    if not shown:
        return []
    roc = [plots.Curve(f"{name} {numbers.score(auc)}", *plots.roc_points(ranking)[:2]) for name, ranking, auc in shown]
    recall = [plots.Curve(name, *plots.precision_recall_points(ranking)) for name, ranking, _ in shown]
    title = "ROC of each class against the rest"
    if len(rankings) > len(shown):
        title += f", the {len(shown)} hardest of {len(rankings)}"
    return [
        (title, plots.roc_figure(roc)),
        ("Precision and recall of each class", plots.precision_recall_figure(recall, 1 / len(rankings))),
    ]


def _binary_separation(evaluation: Evaluation) -> list[tuple[str, plots.Figure]]:
    best, positive = evaluation.best, evaluation.best.test.labels == evaluation.dataset.positive_index
    values, shown = best.test_metrics.values, evaluation.candidates[:MOST_CLASSES_DRAWN]
    curves = [
        plots.Curve(
            f"{candidate.name} {numbers.score(candidate.test_metrics.values['auc'])}",
            *plots.roc_points(candidate.test.rankings[0])[:2],
        )
        for candidate in shown
    ]
    recall = [
        plots.Curve(
            f"{candidate.name} {numbers.score(candidate.test_metrics.values['pr_auc'])}",
            *plots.precision_recall_points(candidate.test.rankings[0]),
        )
        for candidate in shown
    ]
    threshold = None if best.threshold is None else best.threshold.value
    chosen = None
    if threshold is not None:
        chosen = (1 - values["specificity"], values["sensitivity"], f"threshold {threshold:.2f}")
    band = plots.roc_band(best.test.rankings[0], evaluation.resampler, evaluation.config.confidence)
    return [
        ("ROC", plots.roc_figure(curves, band, chosen)),
        ("Precision and recall", plots.precision_recall_figure(recall, float(positive.mean()))),
    ]


def _histogram(evaluation: Evaluation) -> plots.Figure | None:
    if not evaluation.binary:
        return None
    best, index = evaluation.best, evaluation.dataset.positive_index
    scores, positive = best.test.probabilities[:, index], best.test.labels == index
    threshold = None if best.threshold is None else best.threshold.value
    names = (evaluation.positive_class, evaluation.negative_class)
    return plots.histogram_figure(scores[positive], scores[~positive], names, threshold)


def _metric_rows(evaluation: Evaluation) -> list[dict[str, str]]:
    best = evaluation.best
    rows = []
    for name, metric in METRICS.items():
        if name == "recall":
            continue
        meaning = metric.meaning if evaluation.binary else metric.meaning_of_many or metric.meaning
        rows.append(
            {
                "title": metric.title,
                "value": numbers.score(best.test_metrics.values[name]),
                "interval": numbers.interval_of(best.intervals[name]),
                "method": best.intervals[name].method,
                "meaning": meaning.replace("images", evaluation.unit).replace("image", evaluation.unit[:-1]),
                "undefined": best.test_metrics.undefined.get(name, ""),
            }
        )
    if best.calibration is not None:
        rows.append(
            {
                "title": "Calibration error",
                "value": numbers.score(best.calibration.error),
                "interval": "",
                "method": best.calibration.test,
                "meaning": "typical gap between probability and frequency, the part that chance gives taken off",
                "undefined": "",
            }
        )
    return rows


def _confusion(evaluation: Evaluation) -> dict[str, Any] | None:
    classes = evaluation.dataset.classes
    if len(classes) > MOST_CONFUSION_CLASSES:
        return None
    best = evaluation.best
    matrix = confusion_matrix(best.test.labels, best.test.predicted, len(classes))
    totals = matrix.sum(axis=1)
    order = list(range(len(classes)))
    if evaluation.binary:
        # The class to detect comes first, as in every textbook.
        order.sort(key=lambda index: index != evaluation.dataset.positive_index)
    rows = []
    for truth in order:
        cells = []
        for decided in order:
            share = float(matrix[truth, decided] / totals[truth]) if totals[truth] else math.nan
            outcome = OUTCOMES[truth == evaluation.dataset.positive_index, decided == evaluation.dataset.positive_index]
            cells.append(
                {
                    "count": int(matrix[truth, decided]),
                    "share": 0.0 if math.isnan(share) else share,
                    "percent": numbers.percent(share),
                    "right": truth == decided,
                    "outcome": outcome if evaluation.binary else "",
                }
            )
        rows.append({"name": classes[truth], "total": int(totals[truth]), "cells": cells})
    return {"names": [classes[index] for index in order], "rows": rows}


def _confused_pairs(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return the classes most often taken for others, where there are more than a matrix shows well."""
    classes = evaluation.dataset.classes
    if len(classes) <= 6:
        return []
    best = evaluation.best
    matrix = confusion_matrix(best.test.labels, best.test.predicted, len(classes))
    totals = matrix.sum(axis=1)
    np.fill_diagonal(matrix, 0)
    pairs = np.argwhere(matrix > 0)
    pairs = pairs[np.argsort(-matrix[pairs[:, 0], pairs[:, 1]], kind="stable")][:10]
    return [
        {
            "truth": classes[truth],
            "decided": classes[decided],
            "count": int(matrix[truth, decided]),
            "percent": numbers.percent(float(matrix[truth, decided] / totals[truth])),
        }
        for truth, decided in pairs.tolist()
    ]


def _calibration(evaluation: Evaluation) -> dict[str, Any]:
    best = evaluation.best
    happened, claimed = claims(best.test)
    raw = claims(replace(best.test, probabilities=best.raw_test))
    claim = evaluation.positive_class if evaluation.binary else "the class decided"
    confidence = evaluation.config.confidence
    changed = bool(np.abs(best.test.probabilities - best.raw_test).max() > SMALL_CHANGE)
    before = reliability_curve(*raw, confidence=confidence) if changed else []
    figure = plots.calibration_figure(before, reliability_curve(happened, claimed, confidence=confidence), claim)
    return {
        "figure": figure,
        "found": words.calibration_in_words(evaluation),
        "fitted": words.fitted_in_words(evaluation),
    }


def _groups(evaluation: Evaluation) -> dict[str, Any] | None:
    rows = evaluation.group_rows
    if not rows:
        return None
    shown = list(rows[:MOST_GROUPS_SHOWN])
    scale = _scale([row.interval for row in shown], [row.accuracy for row in shown])
    accuracies = np.array([row.accuracy for row in rows])
    return {
        "rows": [
            (
                row,
                interval_bar(
                    row.interval.low,
                    row.accuracy,
                    row.interval.high,
                    scale,
                    style="s1",
                    reference=evaluation.best.test_metrics.values["accuracy"],
                    label=f"{row.name}: accuracy {numbers.percent(row.accuracy)}",
                ),
            )
            for row in shown
        ],
        "count": len(rows),
        "worst": shown[0],
        "median": numbers.percent(float(np.median(accuracies))),
        "low": numbers.percent(float(np.quantile(accuracies, 0.1))),
        "high": numbers.percent(float(np.quantile(accuracies, 0.9))),
        "scale": scale,
    }


def _data(evaluation: Evaluation) -> dict[str, Any]:
    dataset = evaluation.dataset
    description = dataset.description
    snapshot = description.get("snapshot") or {}
    return {
        "source": str(snapshot.get("source", "")),
        "splits": evaluation.splits,
        "notes": [str(note) for note in description.get("notes") or []],
        "found": snapshot.get("report") or {},
    }


def _settings(best: Candidate) -> list[tuple[str, str]]:
    """Return the candidate's config as dotted keys with values."""
    return _dotted(best.info.config.get("section") or {})


def _dotted(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            rows += _dotted(value, f"{prefix}{key}.")
        else:
            rows.append((prefix + key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))
    return rows


def _provenance(evaluation: Evaluation) -> list[tuple[str, str]]:
    import keras
    import tensorflow as tf

    best, description = evaluation.best, evaluation.dataset.description
    snapshot = description.get("snapshot") or {}
    rows = [
        ("dataset fingerprint", evaluation.dataset.fingerprint),
        ("snapshot fingerprint", str(snapshot.get("fingerprint", ""))),
        ("source", str(snapshot.get("source", ""))),
        ("model file, SHA-256", best.info.sha256),
        ("pretrained weights, SHA-256", best.info.weights_hash),
        ("trained", best.info.created),
        ("seed of the training", str(best.info.config.get("seed", ""))),
        ("seed of the data's split", str(description.get("seed", ""))),
        ("seed of the intervals", str(evaluation.seed)),
        ("code that trained", best.info.code_version),
        ("code that evaluated", code_version()),
        ("number format", str(best.info.config.get("precision", ""))),
        ("libraries", f"Keras {keras.__version__}, TensorFlow {tf.__version__}, NumPy {np.__version__}"),
    ]
    return [(name, value) for name, value in rows if value]
