"""The history of a run: one row an epoch, what ended it, and its table."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from assay.training.callbacks import beats

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


class Ending(enum.StrEnum):
    """What ended a phase."""

    NO_EPOCHS = "no epochs"
    ALL_EPOCHS = "all epochs"
    BY_CALLER = "by its caller"
    NO_IMPROVEMENT = "no improvement"
    NOT_LEARNING = "not learning"
    DIVERGED = "diverged"


# Of runs that nothing went wrong with.
UNREMARKABLE = (Ending.ALL_EPOCHS, Ending.BY_CALLER)


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
        best_loss: The validation loss there; it breaks ties.
        ended: What ended it; None: it has not ended.
        message: That in words.
        seconds: Time spent in steps and validation, also before an interruption.
        step_seconds: Of that, in steps.
        feature_seconds: Before that, in computing the features of frozen layers.
        images: Training images seen.
        prior_shift: What the objective adds to the log odds of each class; see `assay.training.metrics.prior_shift`.
    """

    phase: str
    monitor: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_value: float = math.nan
    best_loss: float = math.nan
    ended: Ending | None = None
    message: str = ""
    seconds: float = 0.0
    step_seconds: float = 0.0
    feature_seconds: float = 0.0
    images: int = 0
    prior_shift: tuple[float, ...] = ()

    def end(self, ending: Ending, message: str) -> None:
        """Note what ended the phase, and that in words."""
        self.ended, self.message = ending, message

    def to_json(self) -> dict[str, Any]:
        """Return everything as a JSON object; see `restore`."""
        return asdict(self)

    def restore(self, content: dict[str, Any]) -> None:
        """Take over the content of `to_json`."""
        for name, value in content.items():
            setattr(self, name, value)
        self.ended = None if content["ended"] is None else Ending(content["ended"])

    @property
    def not_learning(self) -> bool:
        """Whether the phase was stopped because it learnt nothing."""
        return self.ended is Ending.NOT_LEARNING

    @property
    def best(self) -> dict[str, Any]:
        """The row of the phase's own best epoch, kept or not; empty where there is none."""
        best: dict[str, Any] = {}
        for row in self.rows:
            if not best or beats(_score(row, self.monitor), _score(best, self.monitor), self.monitor):
                best = row
        return best


def _score(row: Mapping[str, Any], monitor: str) -> tuple[float, float]:
    return row[monitor], row["val_loss"]


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
