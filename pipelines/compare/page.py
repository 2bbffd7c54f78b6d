"""compare.html: runs side by side as a self-contained page in the report's look, with learning curves over runs."""

from __future__ import annotations

import datetime
import json
import math
from pathlib import Path

import numpy as np

from assay.config import CANDIDATES
from assay.pages.plots import Curve, Figure, curves_over_runs
from assay.pages.svg import interval_bar
from assay.pages.template import page_template
from pipelines.compare.runs import Comparison, Run
from pipelines.compare.table import SHOWN, cautions, remarks, short_id, training, value, when

MEASURES = (("val_auc", "validation AUC", 1.0), ("val_loss", "validation loss", math.inf))
MOST_CURVES = 16


def to_page(comparison: Comparison) -> str:
    """Return the page."""
    scale = _scale(comparison)
    return page_template("compare.html.j2", Path(__file__).parent).render(
        comparison=comparison,
        champions=[run for run in comparison.runs if comparison.is_champion(run)],
        rows=[
            {
                "run": run,
                "id": short_id(run.run_id),
                "when": when(run),
                "changes": comparison.changes(run),
                "bar": _bar(comparison, run, scale),
                "cells": [value(run.best.metrics, f"test_{name}") for name in SHOWN] if run.best else [],
                "training": training(run),
                "standing": comparison.standing(run),
                "split": comparison.split(run),
            }
            for run in comparison.runs
        ],
        shown=SHOWN,
        scale=scale,
        cautions=cautions(comparison),
        said=remarks(comparison),
        learning=[(name, _curves(comparison, name)) for name in CANDIDATES],
        most=MOST_CURVES,
        value=value,
        created=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _scale(comparison: Comparison) -> tuple[float, float]:
    metrics = [run.best.metrics for run in comparison.runs if run.best]
    names = ("test_auc_low", "test_auc", "test_auc_high")
    ends = [values[name] for values in metrics for name in names if name in values]
    return (math.floor(min(ends) * 20) / 20, math.ceil(max(ends) * 20) / 20) if ends else (0.0, 1.0)


def _bar(comparison: Comparison, run: Run, scale: tuple[float, float]) -> str:
    """Return the run's AUC with its interval, and the champion's where it was reached on the same images."""
    if run.best is None:
        return ""
    metrics, split = run.best.metrics, comparison.split(run)
    rivals = (run for run in comparison.runs if comparison.is_champion(run) and comparison.split(run) == split)
    champion = next(rivals, None)
    auc, low, high = (metrics.get(f"test_auc{end}", math.nan) for end in ("", "_low", "_high"))
    return interval_bar(
        low,
        auc,
        high,
        scale,
        style="s1" if comparison.is_champion(run) else "s5" if split in ("", "A") else "s2",
        reference=champion.best.metrics.get("test_auc") if champion and champion.best else None,
        label=f"{run.run_id}: test AUC {' '.join(value(metrics, 'test_auc'))}",
    )


def _curves(comparison: Comparison, candidate: str) -> list[Figure]:
    """Return the learning curves of one candidate, a line a run."""
    names: dict[str, list[str]] = {}
    histories = {}
    for run in comparison.runs:
        if run.record and candidate in run.record.candidates:
            history = run.record.candidates[candidate].history
            # Runs that took this candidate from the cache share its line.
            key = json.dumps(history)
            histories[key] = history
            names.setdefault(key, []).append(short_id(run.run_id))
    figures = []
    for column, title, highest in MEASURES:
        curves = []
        for key, history in list(histories.items())[:MOST_CURVES]:
            values = np.array([row.get(column) for row in history], dtype=np.float64)
            if np.isfinite(values).any():
                curves.append(Curve(", ".join(names[key]), np.arange(1.0, len(values) + 1), values))
        if curves:
            figures.append(curves_over_runs(title, curves, highest))
    return figures
