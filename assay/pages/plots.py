"""The report's charts: each takes plain values and gives an SVG with its legend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from assay.measures.calibration import ReliabilityBin
from assay.measures.intervals import Resampler
from assay.measures.ranking import Floats, SortedScores
from assay.pages.svg import Chart

if TYPE_CHECKING:
    import pandas as pd

MOST_POINTS = 200
BAND_RESAMPLES = 500


@dataclass(frozen=True)
class Figure:
    """A chart.

    Attributes:
        svg: The SVG element.
        legend: CSS class and words of each series.
    """

    svg: str
    legend: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Curve:
    """A line with its name.

    Attributes:
        name: For the legend.
        x: Ascending, float (P,).
        y: float (P,).
    """

    name: str
    x: Floats
    y: Floats


def series(index: int) -> str:
    """Return the CSS class of the n-th series; the first is the one that matters."""
    return f"s{index % 8 + 1}"


def roc_points(ranking: SortedScores, most: int = MOST_POINTS) -> tuple[Floats, Floats, Floats]:
    """Return the ROC curve, thinned evenly along its length.

    Args:
        ranking: The scores, of both classes.
        most: Points at most; the ends are always among them.

    Returns:
        False-positive rates, true-positive rates and thresholds (finite, descending; the first calls nothing
        positive), float64 (P,) each.
    """
    found, alarms = (np.append(0, counts) for counts in ranking.curve())
    tpr, fpr = found / max(int(found[-1]), 1), alarms / max(int(alarms[-1]), 1)
    above = max(1.0, float(np.nextafter(ranking.thresholds[0], np.inf)))
    thresholds = np.append(above, ranking.thresholds)
    # Points on a straight run say nothing.
    up, across = np.diff(found), np.diff(alarms)
    turns = across[1:] * up[:-1] != up[1:] * across[:-1]
    kept = np.flatnonzero(np.concatenate([[True], turns, [True]]))
    if len(kept) > most:
        along = (fpr + tpr)[kept]
        kept = kept[np.unique(np.searchsorted(along, np.linspace(along[0], along[-1], most)).clip(0, len(kept) - 1))]
        kept[0], kept[-1] = 0, len(fpr) - 1
    return fpr[kept], tpr[kept], thresholds[kept]


def roc_band(ranking: SortedScores, resampler: Resampler, confidence: float) -> tuple[Floats, Floats, Floats]:
    """Return a pointwise confidence band of the ROC curve.

    Args:
        ranking: The scores.
        resampler: What to draw; the first few hundred resamples are enough.
        confidence: Level, such as 0.95.

    Returns:
        False-positive rates, lower and upper true-positive rates, float64 (101,) each; nan where undefined.
    """
    grid = np.linspace(0.0, 1.0, 101)
    curves = []
    few = Resampler(resampler.count, resampler.members, min(BAND_RESAMPLES, resampler.resamples), resampler.seed)
    for block in few.blocks():
        for counts in block:
            found, alarms = ranking.curve(counts)
            if found[-1] and alarms[-1]:
                fpr, tpr = np.append(0.0, alarms / alarms[-1]), np.append(0.0, found / found[-1])
                curves.append(tpr[np.searchsorted(fpr, grid, side="right") - 1])
    if len(curves) < 20:
        nothing = np.full(len(grid), np.nan)
        return grid, nothing, nothing
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.array(curves), [tail, 1 - tail], axis=0)
    return grid, low, high


def roc_figure(
    curves: Sequence[Curve],
    band: tuple[Floats, Floats, Floats] | None = None,
    chosen: tuple[float, float, str] | None = None,
) -> Figure:
    """Draw ROC curves.

    Args:
        curves: The one that matters first.
        band: Its rates with lower and upper ends.
        chosen: False- and true-positive rate of the decisions, and what to write beside the dot.
    """
    chart = Chart(
        "ROC: " + "; ".join(curve.name for curve in curves), x_title="false-positive rate", y_title="true-positive rate"
    )
    chart.segment((0, 0), (1, 1), "diagonal")
    if band is not None and np.isfinite(band[1]).all():
        chart.band(band[0].tolist(), band[1].tolist(), band[2].tolist(), "s1")
    for index, curve in reversed(list(enumerate(curves))):
        points = zip(curve.x.tolist(), curve.y.tolist(), strict=True)
        chart.line(points, series(index) + (" main" if index == 0 else ""), curve.name)
    if chosen is not None and math.isfinite(chosen[0]) and math.isfinite(chosen[1]):
        chart.dot(chosen[0], chosen[1], "s1 ring", chosen[2], radius=5)
        right = chosen[0] < 0.6
        chart.text(chosen[0], chosen[1], chosen[2], "note", "start" if right else "end", (10 if right else -10, 16))
    return Figure(chart.svg(), [(series(index), curve.name) for index, curve in enumerate(curves)])


def precision_recall_figure(curves: Sequence[Curve], prevalence: float) -> Figure:
    """Draw precision against recall, with the share of positives as the line of guessing."""
    chart = Chart("Precision and recall", x_title="recall (sensitivity)", y_title="precision")
    chart.segment((0, prevalence), (1, prevalence), "diagonal")
    chart.text(0, prevalence, "guessing", "note", shift=(4, -5))
    for index, curve in reversed(list(enumerate(curves))):
        points = zip(curve.x.tolist(), curve.y.tolist(), strict=True)
        chart.line(points, series(index) + (" main" if index == 0 else ""), curve.name)
    return Figure(chart.svg(), [(series(index), curve.name) for index, curve in enumerate(curves)])


def precision_recall_points(ranking: SortedScores) -> tuple[Floats, Floats]:
    """Return recall and precision, thinned, float64 (P,) each."""
    found, alarms = ranking.curve()
    recall = found / max(int(found[-1]), 1)
    precision = found / np.maximum(found + alarms, 1)
    wanted = np.linspace(0, 1, MOST_POINTS)
    # Once all positives are found, precision only falls: the curve ends there.
    kept = np.unique(np.searchsorted(recall, wanted).clip(0, len(recall) - 1))
    return recall[kept], precision[kept]


def calibration_figure(before: Sequence[ReliabilityBin], after: Sequence[ReliabilityBin], claim: str) -> Figure:
    """Draw how often it came true against what was claimed.

    Args:
        before: Of the network's own probabilities; empty: not shown.
        after: Of those reported.
        claim: What the probability is of.
    """
    chart = Chart("Calibration: frequency against probability", x_title=f"probability of {claim}", y_title="how often")
    chart.segment((0, 0), (1, 1), "diagonal")
    legend = [("s1", "as reported, with the interval of each frequency")]
    if before:
        chart.line([(point.claimed, point.observed) for point in before], "s5 dashed", "the network's own")
        legend.append(("s5 dashed", "the network's own"))
    for point in after:
        chart.segment((point.claimed, point.low), (point.claimed, point.high), "whisker s1")
    chart.line([(point.claimed, point.observed) for point in after], "s1 main", "as reported")
    for point in after:
        chart.dot(
            point.claimed,
            point.observed,
            "s1",
            f"claimed {point.claimed:.2f}, true {point.observed:.2f} of {point.count} images",
        )
    return Figure(chart.svg(), legend)


def histogram_figure(
    positive: npt.NDArray[Any], negative: npt.NDArray[Any], names: tuple[str, str], threshold: float | None
) -> Figure:
    """Draw the scores of both classes, one above and one below the line, with the threshold.

    Args:
        positive: Probabilities of the positive cases, float (P,).
        negative: Those of the negative ones, float (N,).
        names: What positive and negative cases are called.
        threshold: Where the decision changes; None: not drawn.
    """
    edges = np.linspace(0, 1, 31)
    up, down = np.histogram(positive, edges)[0], np.histogram(negative, edges)[0]
    most = max(1, int(up.max(initial=0)), int(down.max(initial=0)))
    chart = Chart(
        f"Scores of {names[0]} and {names[1]}",
        y=(-1.08 * most, 1.08 * most),
        x_title=f"probability of {names[0]}",
        y_title="images",
        y_ticks=[],
        height=300,
    )
    for low, high, above, below in zip(edges[:-1], edges[1:], up, down, strict=True):
        inner = (float(low) + 0.002, float(high) - 0.002)
        if above:
            chart.bar(inner, (0, float(above)), "s1", f"{above} {names[0]} at {low:.2f} to {high:.2f}")
        if below:
            chart.bar(inner, (0, -float(below)), "s2", f"{below} {names[1]} at {low:.2f} to {high:.2f}")
    chart.segment((0, 0), (1, 0), "axis")
    for value in (most, -most):
        chart.text(0, value, f"{most:,}", "tick", "end", (-6, 4))
    if threshold is not None:
        chart.segment((threshold, -1.08 * most), (threshold, 1.08 * most), "threshold")
        left = threshold > 0.6
        chart.text(
            threshold,
            1.08 * most,
            f"threshold {threshold:.2f}",
            "note",
            "end" if left else "start",
            (-5 if left else 5, 10),
        )
    return Figure(chart.svg(), [("s1 filled", f"{names[0]} (above)"), ("s2 filled", f"{names[1]} (below)")])


def learning_figures(history: pd.DataFrame) -> list[Figure]:
    """Draw loss and validation AUC by epoch, phases side by side, with the epoch kept marked.

    Args:
        history: Columns as in history.csv: phase, loss, val_loss, val_auc and, if known, kept; one row an epoch.

    Returns:
        The charts for which the columns exist.
    """
    if not len(history):
        return []
    epochs = np.arange(1, len(history) + 1)
    figures = []
    panels = [
        ("loss", [("loss", "s2", "training"), ("val_loss", "s1 main", "validation")]),
        ("AUC, validation", [("val_auc", "s1 main", "validation")]),
    ]
    for title, lines in panels:
        shown = [(column, style, name) for column, style, name in lines if column in history]
        values = np.concatenate([history[column].to_numpy(np.float64) for column, _, _ in shown] or [np.zeros(0)])
        if not np.isfinite(values).any():
            continue
        low, high = with_margin(values)
        chart = Chart(
            f"Learning curve: {title}",
            x=(0.5, len(history) + 0.5),
            y=(low, high),
            x_title="epoch",
            y_title=title,
            height=290,
            x_ticks=_whole(len(history)),
            top=24,
        )
        _mark_phases(chart, history, high)
        for column, style, name in shown:
            points = list(zip(epochs.tolist(), history[column].to_numpy(np.float64).tolist(), strict=True))
            chart.line(points, style, name)
            if len(points) <= 40:
                for x, y in points:
                    if math.isfinite(y):
                        chart.dot(x, y, style, f"epoch {x}: {y:.4f}", radius=2.5)
        if "kept" in history:
            for row in np.flatnonzero(history["kept"].to_numpy(bool)):
                column = shown[-1][0]
                y = float(history[column].iloc[row])
                if math.isfinite(y):
                    chart.dot(float(epochs[row]), y, "ring s1", f"kept: epoch {epochs[row]}, {y:.4f}", radius=6)
        legend = [(style, name) for _, style, name in shown]
        figures.append(Figure(chart.svg(), [*legend, ("ring s1", "epoch kept")] if "kept" in history else legend))
    return figures


def curves_over_runs(title: str, curves: Sequence[Curve], highest: float = math.inf) -> Figure:
    """Draw one measure by epoch, a line a run.

    Args:
        title: The measure.
        curves: One a run, with epochs as x; none is empty.
        highest: What the measure cannot exceed.
    """
    epochs = max(int(curve.x[-1]) for curve in curves)
    low, high = with_margin(np.concatenate([curve.y for curve in curves]))
    chart = Chart(
        f"{title} by epoch: " + "; ".join(curve.name for curve in curves),
        x=(0.5, epochs + 0.5),
        y=(low, min(high, highest)),
        x_title="epoch",
        y_title=title,
        height=290,
        x_ticks=_whole(epochs),
    )
    legend: list[tuple[str, str]] = []
    # Beyond the colours that there are, lines are dashed.
    for index, curve in reversed(list(enumerate(curves))):
        style = series(index) + (" dashed" if index % 16 >= 8 else "")
        points = list(zip(curve.x.tolist(), curve.y.tolist(), strict=True))
        chart.line(points, style, curve.name)
        if len(points) <= 40:
            for x, y in points:
                if math.isfinite(y):
                    chart.dot(x, y, style, f"{curve.name}, epoch {x:g}: {y:.4f}", radius=2.5)
        legend.insert(0, (style, curve.name))
    return Figure(chart.svg(), legend)


def with_margin(values: Floats | Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis for measures that are never negative."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = 0.06 * (high - low) or 0.05
    return max(0.0, low - margin), high + margin


def _whole(count: int) -> list[float]:
    step = max(1, math.ceil(count / 8))
    return (
        [float(value) for value in range(step, count + 1, step)]
        if step > 1
        else [float(v) for v in range(1, count + 1)]
    )


def _mark_phases(chart: Chart, history: pd.DataFrame, high: float) -> None:
    phases = history["phase"].astype(str).tolist() if "phase" in history else []
    starts = [index for index in range(len(phases)) if index == 0 or phases[index] != phases[index - 1]]
    if len(starts) < 2:
        return
    for start in starts:
        if start:
            chart.segment((start + 0.5, chart.y[0]), (start + 0.5, chart.y[1]), "divider")
        chart.text(start + 0.5, high, phases[start], "note", shift=(2, -8))
