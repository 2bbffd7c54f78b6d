"""trials.html: every trial as a line through its hyperparameters, the score against the epochs spent, the table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from assay.search.results import TrialRow, best_row, epochs_spent, table
from assay.training.callbacks import HIGHER_IS_BETTER

WIDTH, HEIGHT, MARGIN = 1000, 320, 50
BAND = 18  # pixels over which lines through the same choice are spread
WORST, BEST = (198, 219, 239), (8, 69, 148)  # light to dark blue, by score


@dataclass(frozen=True)
class Axis:
    """One vertical axis: its place, its name, and its labelled ticks (y in pixels, text)."""

    x: float
    name: str
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Line:
    """One trial through all axes: SVG points, colour, tooltip."""

    points: str
    color: str
    title: str
    kind: str


@dataclass(frozen=True)
class Dot:
    """One trial in the plot of scores against epochs spent."""

    x: float
    y: float
    radius: float
    title: str
    kind: str


def write_page(
    path: Path, rows: Sequence[TrialRow], objective: str, fields: Sequence[str], budget: int, remarks: Sequence[str]
) -> None:
    """Write the self-contained page of a search.

    Args:
        path: The file.
        rows: The trials in the order in which they ended.
        objective: Name of the score.
        fields: The hyperparameters, in order.
        budget: Epochs that the search could spend.
        remarks: What else is to be said, such as values taken out of the space; a line each.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    best = best_row(rows, objective)
    header, lines = table(rows, objective, fields)
    scores = [row.score for row in rows if row.completed and row.score is not None]
    order = sorted(range(len(rows)), key=lambda index: _rank(rows[index], objective))
    text = environment.get_template("trials.html.j2").render(
        objective=objective,
        count=len(rows),
        failed=sum(not row.completed for row in rows),
        spent=epochs_spent(rows),
        budget=budget,
        best=best,
        fields=fields,
        remarks=remarks,
        header=header,
        lines=[lines[index] for index in order],
        width=WIDTH,
        height=HEIGHT,
        axes=_axes(rows, objective, fields),
        trials=_lines(rows, objective, fields),
        dots=_dots(rows, objective),
        best_so_far=_best_so_far(rows, objective),
        low=min(scores, default=0.0),
        high=max(scores, default=0.0),
    )
    path.write_text(text, encoding="utf-8")


def _rank(row: TrialRow, objective: str) -> float:
    if not row.completed or row.score is None:
        return math.inf
    return -row.score if HIGHER_IS_BETTER[objective] else row.score


def _scale(value: float, low: float, high: float) -> float:
    """Return the height in pixels of a value between low (bottom) and high (top)."""
    share = 0.5 if high == low else (value - low) / (high - low)
    return round(HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN), 1)


def _scores(rows: Sequence[TrialRow]) -> tuple[float, float]:
    scores = [row.score for row in rows if row.completed and row.score is not None] or [0.0]
    return min(scores), max(scores)


def _heights(rows: Sequence[TrialRow], field: str) -> dict[Any, float]:
    """Return the height of each value of a hyperparameter: even steps for choices, a log scale for the rate."""
    values = sorted({row.values[field] for row in rows if field in row.values}, key=lambda v: (str(type(v)), v))
    if field == "learning_rate":
        low, high = math.log10(values[0]), math.log10(values[-1])
        return {value: _scale(math.log10(value), low, high) for value in values}
    return {value: _scale(step, 0, len(values) - 1) for step, value in enumerate(values)}


def _columns(fields: Sequence[str]) -> list[float]:
    step = (WIDTH - 2 * MARGIN) / max(1, len(fields))
    return [round(MARGIN + step * index, 1) for index in range(len(fields) + 1)]


def _axes(rows: Sequence[TrialRow], objective: str, fields: Sequence[str]) -> list[Axis]:
    columns = _columns(fields)
    axes = []
    for x, field in zip(columns, fields, strict=False):
        heights = _heights(rows, field) if rows else {}
        ticks = [(y, str(value)) for value, y in heights.items()]
        axes.append(Axis(x, field, tuple(ticks if field != "learning_rate" else ticks[:1] + ticks[-1:])))
    low, high = _scores(rows)
    axes.append(
        Axis(columns[-1], objective, ((_scale(low, low, high), f"{low:.3f}"), (_scale(high, low, high), f"{high:.3f}")))
    )
    return axes


def _lines(rows: Sequence[TrialRow], objective: str, fields: Sequence[str]) -> list[Line]:
    """Return a line for each configuration, that is for the last trial of each chain of promotions; best on top."""
    continued = {row.continues for row in rows}
    best = best_row(rows, objective)
    heights = {field: _heights(rows, field) for field in fields} if rows else {}
    columns = _columns(fields)
    low, high = _scores(rows)
    lines = []
    for number, row in enumerate(rows):
        is_best = best is not None and row.trial == best.trial
        if row.trial in continued and not is_best:
            continue
        # Lines through the same choice lie side by side.
        aside = (number / max(1, len(rows) - 1) - 0.5) * BAND
        points = [
            (x, round(heights[field][row.values[field]] + (0 if field == "learning_rate" else aside), 1))
            for x, field in zip(columns, fields, strict=False)
        ]
        kind = "best" if is_best else "failed"
        color = ""
        if row.completed and row.score is not None:
            points.append((columns[-1], _scale(row.score, low, high)))
            share = 0.5 if high == low else (row.score - low) / (high - low)
            share = share if HIGHER_IS_BETTER[objective] else 1 - share
            color = "rgb({}, {}, {})".format(*(round(a + (b - a) * share) for a, b in zip(WORST, BEST, strict=True)))
            kind = "best" if is_best else "done"
        lines.append(Line(" ".join(f"{x},{y}" for x, y in points), color, _title(row, objective), kind))
    return sorted(lines, key=lambda line: ("failed", "done", "best").index(line.kind))


def _title(row: TrialRow, objective: str) -> str:
    score = f"{objective} {row.score:.4f} after {row.total_epochs} epochs" if row.completed else f"failed: {row.note}"
    values = ", ".join(f"{name} {value}" for name, value in row.values.items())
    return f"trial {row.trial}: {score}; {values}"


def _dots(rows: Sequence[TrialRow], objective: str) -> list[Dot]:
    best = best_row(rows, objective)
    low, high = _scores(rows)
    total = max(1, epochs_spent(rows))
    dots, spent = [], 0
    for row in rows:
        spent += row.epochs
        if row.completed and row.score is not None:
            kind = "best" if best is not None and row.trial == best.trial else "done"
            radius = round(3 + math.sqrt(row.total_epochs), 1)
            x = round(MARGIN + spent / total * (WIDTH - 2 * MARGIN), 1)
            dots.append(Dot(x, _scale(row.score, low, high), radius, _title(row, objective), kind))
    return dots


def _best_so_far(rows: Sequence[TrialRow], objective: str) -> str:
    """Return the SVG points of the best score as epochs are spent: a line in steps."""
    low, high = _scores(rows)
    total = max(1, epochs_spent(rows))
    points: list[tuple[float, float]] = []
    spent = 0
    for end, row in enumerate(rows, start=1):
        spent += row.epochs
        best = best_row(rows[:end], objective)
        if best is None or best.score is None:
            continue
        x, y = round(MARGIN + spent / total * (WIDTH - 2 * MARGIN), 1), _scale(best.score, low, high)
        if points:
            points.append((x, points[-1][1]))
        points.append((x, y))
    return " ".join(f"{x},{y}" for x, y in points)
