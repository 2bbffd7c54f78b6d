"""The table of trials: one row each, the best marked, as trials.csv, and what is said of a search in one line."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assay.training.callbacks import beats

TRIALS_FILE = "trials.csv"
BEST_FILE = "best_hyperparameters.json"


@dataclass(frozen=True)
class TrialRow:
    """What is known of one trial.

    Attributes:
        trial: Its id.
        values: The hyperparameters, by name.
        status: completed or failed.
        score: The objective at its best epoch; None where the trial failed.
        best_epoch: That epoch, from 1, counted from the first epoch of the trial it continues.
        epochs: Epochs trained in this trial alone.
        total_epochs: Epochs trained in all, with those of the trials it continues.
        seconds: Time spent on this trial alone.
        total_seconds: Likewise with those of the trials it continues.
        parameters: Weights of the model.
        continues: Id of the trial that it was promoted from; empty for a fresh one.
        note: Why it failed or ended early, in one line.
        metrics: Metrics of the best epoch, by name.
        worker: Id of the worker that ran it; empty: the search's own process.
        node: The machine of that worker's pod; empty: this one.
        gpus: GPUs that the worker held.
        precision: The number format that it was trained in.
    """

    trial: str
    values: dict[str, Any]
    status: str
    score: float | None = None
    best_epoch: int = 0
    epochs: int = 0
    total_epochs: int = 0
    seconds: float = 0.0
    total_seconds: float = 0.0
    parameters: int = 0
    continues: str = ""
    note: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    worker: str = ""
    node: str = ""
    gpus: int = 0
    precision: str = ""

    @property
    def completed(self) -> bool:
        """Whether the trial has a score."""
        return self.status == "completed" and self.score is not None

    def to_json(self) -> dict[str, Any]:
        """Return the row as a JSON object; see `from_json`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> TrialRow:
        """Return the row of a JSON object from `to_json`."""
        return cls(**content)


def best_row(rows: Sequence[TrialRow], objective: str) -> TrialRow | None:
    """Return the completed trial with the best score, of equals that with the lowest validation loss, or None."""
    best: TrialRow | None = None
    for row in rows:
        if not row.completed:
            continue
        if best is None or beats(_score(row), _score(best), objective):
            best = row
    return best


def _score(row: TrialRow) -> tuple[float, float]:
    return row.score or 0.0, row.metrics.get("val_loss", math.nan)


def epochs_spent(rows: Sequence[TrialRow]) -> int:
    """Return the epochs trained by all trials together."""
    return sum(row.epochs for row in rows)


def progress_note(rows: Sequence[TrialRow], objective: str) -> str:
    """Return the best score so far in words, for the progress line."""
    best = best_row(rows, objective)
    failed = sum(not row.completed for row in rows)
    said = f"best {objective} {best.score:.4f} (trial {best.trial})" if best else "no score yet"
    return said + (f", {failed} failed" if failed else "")


def told(row: TrialRow, objective: str) -> str:
    """Return what came of a trial that a worker ran, in one line."""
    where = f"{row.worker} on {row.node}" if row.node else row.worker
    score = f"{objective} {row.score:.4f}" if row.completed else "failed"
    note = f"; {row.note}" if row.note else ""
    return f"trial {row.trial}: {where}, {row.seconds:.0f} s, {score}{note}"


def table(rows: Sequence[TrialRow], objective: str, fields: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Return the table's header and rows as text, in the order of the trials.

    Args:
        rows: The trials.
        objective: Name of the score's column.
        fields: The hyperparameters, in the order of their columns.
    """
    best = best_row(rows, objective)
    workers = any(row.worker for row in rows)
    header = ["trial", "best", "status", objective, "best_epoch", "epochs", "total_epochs", "seconds", "parameters"]
    lines = []
    for row in rows:
        score = "" if row.score is None or math.isnan(row.score) else f"{row.score:.6f}"
        line = [row.trial, "*" if best is not None and row.trial == best.trial else "", row.status, score]
        line += [str(row.best_epoch or ""), str(row.epochs), str(row.total_epochs)]
        line += [f"{row.seconds:.1f}", str(row.parameters or "")]
        line += [str(row.values.get(name, "")) for name in fields]
        line += [" on ".join(filter(None, (row.worker, row.node)))] if workers else []
        lines.append([*line, row.continues, row.note])
    return [*header, *fields, *(["worker"] if workers else []), "continues", "note"], lines


def write_csv(path: Path, rows: Sequence[TrialRow], objective: str, fields: Sequence[str]) -> None:
    """Write trials.csv; see `table`."""
    header, lines = table(rows, objective, fields)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(lines)
