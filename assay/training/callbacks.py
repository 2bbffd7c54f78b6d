"""What watches a training run: the best epoch, when to stop, when to lower the rate, and whether it learns at all.

Each watcher keeps plain numbers and gives them as ``state``, so that a run continued from a checkpoint decides
as if it had never stopped; Keras's own callbacks forget theirs.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.config import CallbacksConfig

HIGHER_IS_BETTER = {"val_auc": True, "val_accuracy": True, "val_loss": False}
# Two standard errors: a run is only called stuck where the evidence for any learning is below that.
STANDARD_ERRORS = 2.0


def is_better(value: float, than: float, monitor: str) -> bool:
    """Return whether a value of a monitored metric beats another; nan never does, and anything beats nan."""
    if math.isnan(value):
        return False
    if math.isnan(than):
        return True
    return value > than if HIGHER_IS_BETTER[monitor] else value < than


@dataclass
class Best:
    """The best epoch so far.

    Attributes:
        monitor: The metric that decides.
        value: Its best value; nan before the first epoch.
        epoch: The epoch (from 1) that had it; 0: the weights that training began with.
    """

    monitor: str
    value: float = math.nan
    epoch: int = 0

    def update(self, epoch: int, metrics: dict[str, float]) -> bool:
        """Take in an epoch's metrics; return whether it is the best so far (the first of equals stays)."""
        if not is_better(metrics[self.monitor], self.value, self.monitor):
            return False
        self.value, self.epoch = metrics[self.monitor], epoch
        return True

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs."""
        return {"value": self.value, "epoch": self.epoch}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up the state of an interrupted run."""
        self.value, self.epoch = state["value"], state["epoch"]


@dataclass
class Patience:
    """Counts epochs without a better value: for early stopping and for lowering the rate on a plateau.

    Attributes:
        epochs: How many to bear; None: any number.
        waited: How many there have been.
    """

    epochs: int | None
    waited: int = 0

    def update(self, improved: bool) -> bool:
        """Count one epoch; return whether patience is at its end, and begin to count anew where it is."""
        self.waited = 0 if improved else self.waited + 1
        if self.epochs is None or self.waited < self.epochs:
            return False
        self.waited = 0
        return True

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs."""
        return {"waited": self.waited}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up the state of an interrupted run."""
        self.waited = state["waited"]


@dataclass
class NotLearning:
    """Notices a run that has learnt nothing for a number of steps.

    It is stuck when over its last ``steps`` steps all of this holds, each within two standard errors: the loss
    is not below what knowing the classes' frequencies alone gives, accuracy is not above that of always naming
    the most frequent class, and the loss does not fall. A converged run is flat too, but at a lower loss; a run
    on rare classes stays at the majority's accuracy for long, but its loss falls.

    Attributes:
        frequencies: Share of each class in the training split, float (K,).
        steps: Length of the window; None: never look.
        class_weights: Factor of each class in the loss, float (K,).
        label_smoothing: As in the loss.
    """

    frequencies: npt.NDArray[np.float64]
    steps: int | None
    class_weights: npt.NDArray[np.float64]
    label_smoothing: float = 0.0
    _losses: deque[float] = field(default_factory=deque)
    _correct: deque[float] = field(default_factory=deque)
    _images: deque[float] = field(default_factory=deque)

    @property
    def chance_loss(self) -> float:
        """The least loss that any constant prediction has."""
        weighted = self.frequencies * self.class_weights
        total = weighted.sum()
        shares = weighted / total
        shares = shares * (1 - self.label_smoothing) + self.label_smoothing / len(shares)
        shares = shares[shares > 0]
        return float(-total * (shares * np.log(shares)).sum())

    def update(self, loss: float, correct: float, images: float) -> str | None:
        """Take in one step.

        Args:
            loss: Mean loss of the step, without penalties on the weights.
            correct: Images decided rightly.
            images: Images in the step.

        Returns:
            Why the run does not learn, in words, or None.
        """
        if self.steps is None:
            return None
        for values, value in ((self._losses, loss), (self._correct, correct), (self._images, images)):
            values.append(value)
            if len(values) > self.steps:
                values.popleft()
        if len(self._losses) < self.steps:
            return None
        losses = np.asarray(self._losses)
        half = len(losses) // 2
        first, second = losses[:half], losses[half:]
        noise = STANDARD_ERRORS * math.sqrt(first.var() / len(first) + second.var() / len(second))
        falls = second.mean() < first.mean() - noise
        informed = losses.mean() < self.chance_loss - STANDARD_ERRORS * losses.std() / math.sqrt(len(losses))
        seen = sum(self._images)
        accuracy, majority = sum(self._correct) / seen, float(self.frequencies.max())
        skilled = accuracy > majority + STANDARD_ERRORS * math.sqrt(majority * (1 - majority) / seen)
        if falls or informed or skilled:
            return None
        return (
            f"over {self.steps} steps the loss stayed at {losses.mean():.3g} (chance: {self.chance_loss:.3g}) "
            f"and accuracy at {accuracy:.3f} (always the most frequent class: {majority:.3f})"
        )

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs."""
        return {"losses": list(self._losses), "correct": list(self._correct), "images": list(self._images)}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up the state of an interrupted run."""
        self._losses = deque(state["losses"])
        self._correct = deque(state["correct"])
        self._images = deque(state["images"])


@dataclass
class Watch:
    """All that watches one run, as its config asks.

    Attributes:
        config: Patience, factor and the metric that decides.
        best: The best epoch so far.
        learning: Notices a run that learns nothing.
        rate_factor: What plateaus have made of the learning rate, 1 at first.
    """

    config: CallbacksConfig
    best: Best
    learning: NotLearning
    rate_factor: float = 1.0

    def __post_init__(self) -> None:
        self._stopping = Patience(self.config.early_stopping_patience)
        self._plateau = Patience(self.config.reduce_on_plateau_patience)

    def end_epoch(self, epoch: int, metrics: dict[str, float]) -> EpochVerdict:
        """Take in an epoch (from 1) and say what follows from it."""
        improved = self.best.update(epoch, metrics)
        plateau = self._plateau.update(improved)
        if plateau:
            self.rate_factor *= self.config.reduce_on_plateau_factor
        return EpochVerdict(improved=improved, lower_rate=plateau, stop=self._stopping.update(improved))

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs; JSON."""
        return {
            "best": self.best.state(),
            "stopping": self._stopping.state(),
            "plateau": self._plateau.state(),
            "learning": self.learning.state(),
            "rate_factor": self.rate_factor,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up the state of an interrupted run."""
        self.best.restore(state["best"])
        self._stopping.restore(state["stopping"])
        self._plateau.restore(state["plateau"])
        self.learning.restore(state["learning"])
        self.rate_factor = state["rate_factor"]


@dataclass(frozen=True)
class EpochVerdict:
    """What follows from an epoch's metrics."""

    improved: bool
    lower_rate: bool
    stop: bool
