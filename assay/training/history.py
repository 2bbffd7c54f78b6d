"""The history of a run: one row an epoch, what ended it, its table and its picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.training.callbacks import is_better

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "phase",
    "epoch",
    "step",
    "loss",
    "accuracy",
    "val_loss",
    "val_accuracy",
    "val_auc",
    "learning_rate",
    "seconds",
)


@dataclass
class History:
    """What happened in one phase of a run.

    Attributes:
        phase: Its name.
        monitor: The metric that decides which epoch is best.
        rows: One mapping for each epoch, with the keys of ``COLUMNS``; epochs count from 1, ``step`` is the
            number of steps done by then, ``learning_rate`` that of the last one.
        best_epoch: The epoch whose weights were kept; 0: the weights that the phase began with.
        best_value: The monitored metric's value there; nan where nothing was measured.
        not_learning: Whether the run was stopped because it learnt nothing.
        ended: What ended it, in words.
        seconds: Time spent in steps and validation, also before an interruption.
        step_seconds: Of that, in steps.
        feature_seconds: Before that, in computing the features of frozen layers.
        images: Training images seen.
    """

    phase: str
    monitor: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_value: float = math.nan
    not_learning: bool = False
    ended: str = ""
    seconds: float = 0.0
    step_seconds: float = 0.0
    feature_seconds: float = 0.0
    images: int = 0

    @property
    def best(self) -> dict[str, Any]:
        """The row of the phase's own best epoch, kept or not; empty where there is none."""
        best: dict[str, Any] = {}
        for row in self.rows:
            if not best or is_better(row[self.monitor], best[self.monitor], self.monitor):
                best = row
        return best


def history_table(histories: Sequence[History]) -> pd.DataFrame:
    """Return all epochs of all phases as a table with ``COLUMNS`` and ``kept``, true for the epoch kept.

    Args:
        histories: The phases in order; the epoch kept is that of the last phase that improved.
    """
    import pandas as pd

    table = pd.DataFrame([row for history in histories for row in history.rows], columns=list(COLUMNS))
    kept = kept_phase(histories)
    table["kept"] = False
    if kept is not None:
        table["kept"] = (table["phase"] == kept.phase) & (table["epoch"] == kept.best_epoch)
    return table


def kept_phase(histories: Sequence[History]) -> History | None:
    """Return the phase that holds the epoch whose weights were kept, or None where no epoch was measured."""
    return next((history for history in reversed(histories) if history.best_epoch > 0), None)


def write_curves(histories: Sequence[History], path: Path) -> None:
    """Draw loss and validation metric by epoch, with the phases and the epoch kept marked.

    Args:
        histories: The phases in order.
        path: The PNG to write; it appears whole.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from assay.storage.files import new_file

    table = history_table(histories)
    monitor = histories[0].monitor if histories else "val_auc"
    shown = monitor if monitor != "val_loss" else "val_auc"
    epochs = range(1, len(table) + 1)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    losses, scores = figure.subplots(1, 2)
    losses.plot(epochs, table["loss"], marker=".", label="training")
    losses.plot(epochs, table["val_loss"], marker=".", label="validation")
    losses.set_title("loss")
    losses.legend(frameon=False)
    scores.plot(epochs, table[shown], marker=".", color="tab:green")
    kept = table.index[table["kept"]]
    scores.set_title(shown + "".join(f" (kept: {table.loc[row, shown]:.4f})" for row in kept))
    for axes in (losses, scores):
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.margins(y=0.12)
        _mark_phases(axes, histories)
        for row in kept:
            axes.axvline(row + 1, color="tab:green", linestyle=":", linewidth=1.5)
    for row in kept:
        scores.plot([row + 1], [table.loc[row, shown]], marker="*", markersize=13, color="tab:green")
    with new_file(path) as stage:
        figure.savefig(stage, format="png", dpi=120)


def _mark_phases(axes: Any, histories: Sequence[History]) -> None:
    if len(histories) < 2:
        return
    start = 0.5
    for number, history in enumerate(histories):
        end = start + len(history.rows)
        if number % 2 == 0:
            axes.axvspan(start, end, color="tab:gray", alpha=0.12, linewidth=0)
        if history.rows:
            axes.text(
                (start + end) / 2, 1.0, history.phase, transform=axes.get_xaxis_transform(), ha="center", va="top"
            )
        start = end
