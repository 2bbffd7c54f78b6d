"""trials.html: every trial as a line through its hyperparameters, the score against the epochs spent, the table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from assay.pages.plots import with_margin
from assay.pages.svg import Chart
from assay.pages.template import page_template
from assay.search.results import TrialRow, best_row, epochs_spent, table
from assay.training.callbacks import HIGHER_IS_BETTER

WIDTH, HEIGHT = 1000, 330
# Lines through the same choice are spread over this share of the height.
BAND = 0.07
# With more values than these, an axis is a scale and not a choice.
MOST_CHOICES = 8
# Room right of the last axis for its labels, in axes.
ROOM = 0.45
# From the worst score to the best; the best quarter has the whole colour.
FAINTNESS = (" faint1", " faint2", " faint3", " faint4", "")
WORDS = ("trial", "status", "continues", "note")


@dataclass(frozen=True)
class TrialAxis:
    """Where one hyperparameter's values lie on its axis, from 0 to 1; labels stand at some of them.

    Attributes:
        name: Of the hyperparameter.
        places: Of each value that was tried.
        labels: Place and text.
        scale: Whether the axis is a scale; if not, lines through one choice are spread.
    """

    name: str
    places: dict[Any, float]
    labels: tuple[tuple[float, str], ...]
    scale: bool


def write_page(
    path: Path,
    rows: Sequence[TrialRow],
    objective: str,
    fields: Sequence[str],
    budget: int,
    remarks: Sequence[str],
    optimism: float | None = None,
) -> None:
    """Write the self-contained page of a search.

    Args:
        path: The file.
        rows: The trials in the order in which they ended.
        objective: Name of the score.
        fields: The hyperparameters, in order.
        budget: Epochs that the search could spend.
        remarks: What else is to be said, such as values taken out of the space; a line each.
        optimism: By how much the best score flatters; None: not known.
    """
    shown = [replace(row, values={name: short(value) for name, value in row.values.items()}) for row in rows]
    header, lines = table(shown, objective, fields)
    kept = [index for index, name in enumerate(header) if name != "best"]
    order = sorted(range(len(rows)), key=lambda index: _rank(rows[index], objective))
    best = best_row(shown, objective)
    text = page_template("trials.html.j2", Path(__file__).parent).render(
        objective=objective,
        count=len(rows),
        failed=sum(not row.completed for row in rows),
        spent=epochs_spent(rows),
        budget=budget,
        best=best,
        fields=fields,
        remarks=remarks,
        optimism=optimism,
        header=[(header[index], header[index] not in WORDS) for index in kept],
        lines=[
            (
                "best" if best is not None and rows[index].trial == best.trial else rows[index].status,
                [lines[index][column] for column in kept],
            )
            for index in order
        ],
        parallel=parallel_chart(rows, objective, fields),
        progress=progress_chart(rows, objective),
    )
    path.write_text(text, encoding="utf-8")


def short(value: Any) -> str:
    """Return a value as text, a float to three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def parallel_chart(rows: Sequence[TrialRow], objective: str, fields: Sequence[str]) -> str:
    """Draw each configuration as a line through its hyperparameters to its score, as an SVG element.

    A trial that another one continues is not drawn: its configuration is that of the last of them.
    """
    axes = [_axis(rows, field) for field in fields] if rows else []
    low, high = _scores(rows)
    chart = Chart(
        "All trials: hyperparameters and score",
        x=(0.0, len(axes) + ROOM),
        y=(-BAND / 2, 1 + BAND / 2),
        width=WIDTH,
        height=HEIGHT,
        x_ticks=[],
        y_ticks=[],
        top=44,
    )
    for place in range(len(axes) + 1):
        chart.segment((place, 0), (place, 1), "axis")
    for line in _lines(rows, axes, objective, low, high):
        chart.line(*line)
    scores = ((0.0, f"{low:.3f}"), (1.0, f"{high:.3f}")) if high > low else ((0.5, f"{low:.3f}"),)
    for place, axis in enumerate([*axes, TrialAxis(objective, {}, scores, True)]):
        chart.text(place, 1, axis.name, "name", "middle", (0, -18))
        for up, label in axis.labels:
            chart.text(place, up, label, "note", shift=(6, 4))
    return chart.svg()


def progress_chart(rows: Sequence[TrialRow], objective: str) -> str:
    """Draw each trial's score at the epochs spent when it ended, and the best so far, as an SVG element."""
    low, high = with_margin([row.score for row in rows if row.completed and row.score is not None] or [0.0])
    chart = Chart(
        "Score against epochs spent",
        x=(0.0, float(max(1, epochs_spent(rows)))),
        y=(low, high),
        x_title="epochs spent by all trials",
        y_title=objective,
        width=WIDTH,
        height=HEIGHT,
    )
    best = best_row(rows, objective)
    so_far: list[tuple[float, float]] = []
    dots, spent = [], 0
    for end, row in enumerate(rows, start=1):
        spent += row.epochs
        leader = best_row(rows[:end], objective)
        if leader is not None and leader.score is not None:
            # A step, not a slope: nothing is known between two trials.
            so_far += [(spent, so_far[-1][1])] if so_far else []
            so_far.append((spent, leader.score))
        if row.completed and row.score is not None:
            style = "s2" if best is not None and row.trial == best.trial else "s1 faint4"
            dots.append((float(spent), row.score, style, _title(row, objective), 3 + math.sqrt(row.total_epochs)))
    chart.line(so_far, "s2", "best so far")
    for dot in dots:
        chart.dot(*dot)
    return chart.svg()


def _rank(row: TrialRow, objective: str) -> float:
    if not row.completed or row.score is None:
        return math.inf
    return -row.score if HIGHER_IS_BETTER[objective] else row.score


def _scores(rows: Sequence[TrialRow]) -> tuple[float, float]:
    scores = [row.score for row in rows if row.completed and row.score is not None] or [0.0]
    return min(scores), max(scores)


def _share(value: float, low: float, high: float) -> float:
    return 0.5 if high == low else (value - low) / (high - low)


def _axis(rows: Sequence[TrialRow], field: str) -> TrialAxis:
    """Return the axis of a hyperparameter: even steps for choices, a scale for many numbers, of rates by logarithm."""
    values = sorted({row.values[field] for row in rows if field in row.values}, key=lambda v: (str(type(v)), v))
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    rates = field == "learning_rate"
    if numbers and (rates or len(values) > MOST_CHOICES):
        at = {value: math.log10(value) if rates else float(value) for value in values}
        places = {value: _share(at[value], at[values[0]], at[values[-1]]) for value in values}
        ends = dict.fromkeys((values[0], values[-1]))
        return TrialAxis(field, places, tuple((places[value], short(value)) for value in ends), True)
    places = {value: _share(step, 0, len(values) - 1) for step, value in enumerate(values)}
    return TrialAxis(field, places, tuple((place, short(value)) for value, place in places.items()), False)


def _lines(
    rows: Sequence[TrialRow], axes: Sequence[TrialAxis], objective: str, low: float, high: float
) -> list[tuple[list[tuple[float, float]], str, str]]:
    """Return points, style and title of each configuration's line, the best on top."""
    continued = {row.continues for row in rows}
    best = best_row(rows, objective)
    lines = []
    for number, row in enumerate(rows):
        is_best = best is not None and row.trial == best.trial
        if row.trial in continued and not is_best:
            continue
        aside = (number / max(1, len(rows) - 1) - 0.5) * BAND
        points = [
            (float(place), axis.places[row.values[axis.name]] + (0 if axis.scale else aside))
            for place, axis in enumerate(axes)
        ]
        layer, style = 0, "s5 dashed"
        if row.completed and row.score is not None:
            share = _share(row.score, low, high)
            points.append((float(len(axes)), share))
            goodness = share if HIGHER_IS_BETTER[objective] else 1 - share
            layer = 2 if is_best else 1
            style = "s2 main" if is_best else "s1" + FAINTNESS[min(int(goodness * len(FAINTNESS)), len(FAINTNESS) - 1)]
        lines.append((layer, points, style, _title(row, objective)))
    return [line for _, *line in sorted(lines, key=lambda line: line[0])]  # type: ignore[misc]


def _title(row: TrialRow, objective: str) -> str:
    score = f"{objective} {row.score:.4f} after {row.total_epochs} epochs" if row.completed else f"failed: {row.note}"
    values = ", ".join(f"{name} {short(value)}" for name, value in row.values.items())
    return f"trial {row.trial}: {score}; {values}"
