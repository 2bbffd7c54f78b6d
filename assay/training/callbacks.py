"""What watches a training run: the best epoch, when to stop, when to lower the rate, and whether it learns at all.

Each watcher keeps plain numbers and gives them as ``state``, so that a run continued from a checkpoint decides
as if it had never stopped; Keras's own callbacks forget theirs.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.config import CallbacksConfig

HIGHER_IS_BETTER = {"val_auc": True, "val_accuracy": True, "val_loss": False}
# Two standard errors: a run is only called stuck where the evidence for any learning is below that.
STANDARD_ERRORS = 2.0
# What a ranking by chance may look like, see `NotLearning.chance_auc`: at first so much above a half; with each epoch
# whose steps show nothing so many standard errors more; never more than so many.
NEAR_CHANCE, ERRORS_AN_EPOCH, MOST_ERRORS = 0.03, 0.4, 3.1
# The loss of a run on shuffled labels falls below chance, too, by what it learns by heart: so many standard errors.
BY_HEART = 1.0
SILENT_EPOCHS = 2
# A validation AUC that a run worth its name reaches, see `NotLearning.verdict`.
WORTH_LEARNING, WORTH_ERRORS = 0.7, 3.0


def is_better(value: float, than: float, monitor: str) -> bool:
    """Return whether a value of a monitored metric beats another; nan never does, and anything beats nan."""
    if math.isnan(value):
        return False
    if math.isnan(than):
        return True
    return value > than if HIGHER_IS_BETTER[monitor] else value < than


def beats(scored: tuple[float, float], than: tuple[float, float], monitor: str) -> bool:
    """Return whether a monitored value with its validation loss beats another; the loss breaks ties."""
    (value, loss), (other, other_loss) = scored, than
    return is_better(value, other, monitor) or (value == other and loss < other_loss)


@dataclass
class Best:
    """The best epoch so far.

    Of epochs with equal values the one with the lower validation loss is the better: an AUC stays at 1 from early on,
    while the probabilities still become surer.

    Attributes:
        monitor: The metric that decides.
        value: Its best value; nan before the first epoch.
        loss: The validation loss of that epoch; nan where it is not known.
        epoch: The epoch (from 1) that had it; 0: the weights that training began with.
    """

    monitor: str
    value: float = math.nan
    loss: float = math.nan
    epoch: int = 0

    def update(self, epoch: int, metrics: Mapping[str, Any]) -> bool:
        """Take in an epoch's metrics; return whether it is the best so far."""
        value, loss = metrics[self.monitor], metrics.get("val_loss", math.nan)
        if not beats((value, loss), (self.value, self.loss), self.monitor):
            return False
        self.value, self.loss, self.epoch = value, loss, epoch
        return True

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs."""
        return {"value": self.value, "loss": self.loss, "epoch": self.epoch}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up the state of an interrupted run."""
        self.value, self.loss, self.epoch = state["value"], state["loss"], state["epoch"]


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

    It is stuck when over its last ``steps`` steps all of this holds: the loss does not fall and accuracy is not above
    that of always naming the most frequent class, both within two standard errors; and what the loss (below what
    knowing the classes' frequencies alone gives) and the ranking of the validation images (above a half) show
    together is no more than chance makes, for the last `SILENT_EPOCHS` epochs. A converged run is flat too, but at a
    lower loss. A run on rare classes stays at the majority's accuracy for long, and its loss falls by less than it
    varies; what it has learnt shows in the ranking. Neither decides alone: with ten positive images shuffled labels
    are ranked well by luck, or learnt by heart a little, but hardly both.

    Attributes:
        frequencies: Share of each class in the training split, float (K,).
        steps: Length of the window; None: never look.
        class_weights: Factor of each class in the loss, float (K,).
        valid_counts: Images of each class in the validation split (K,).
        label_smoothing: As in the loss.
    """

    frequencies: npt.NDArray[np.float64]
    steps: int | None
    class_weights: npt.NDArray[np.float64]
    valid_counts: npt.NDArray[np.int64]
    label_smoothing: float = 0.0
    _aucs: list[float] = field(default_factory=list)
    _stuck_epochs: int = 0
    _silent_epochs: int = 0
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

    @property
    def chance_auc(self) -> float:
        """The validation AUC up to which a ranking counts as chance where the loss shows nothing.

        It is lenient at first and stricter the longer the steps show nothing, up to `MOST_ERRORS` standard errors of
        the AUC without any skill (the variance of Mann and Whitney's U, 1947): with ten images of a class an error is
        0.09, and a run that learns slowly has time to show that it does, while luck does not stay.
        """
        error = self._auc_error
        return 0.5 + min(MOST_ERRORS * error, NEAR_CHANCE + ERRORS_AN_EPOCH * self._stuck_epochs * error)

    @property
    def _auc_error(self) -> float:
        counts = self.valid_counts.astype(float)
        rest = counts.sum() - counts
        errors = [math.sqrt((n + m + 1) / (12 * n * m)) for n, m in zip(counts, rest, strict=True) if n and m]
        return float(np.mean(errors)) if errors else 0.0

    def _evidence(self) -> float:
        """Return what the loss and the last ranking show together, in standard errors; they are independent by chance.

        Source:
            Stouffer et al. 1949, The American Soldier, volume 1.
        """
        auc, error = self._aucs[-1] if self._aucs else math.nan, self._auc_error
        ranked = 0.0 if math.isnan(auc) or error == 0 else (auc - 0.5) / error
        return ranked + max(self._below_chance() - BY_HEART, 0.0)

    def _below_chance(self) -> float:
        """Return by how many standard errors the loss of the window lies below chance; 0 until the window is full."""
        if not self._is_full:
            return 0.0
        losses = np.asarray(self._losses)
        error = float(losses.std()) / math.sqrt(len(losses))
        return (self.chance_loss - float(losses.mean())) / max(error, 1e-12)

    @property
    def _is_full(self) -> bool:
        return self.steps is not None and len(self._losses) >= self.steps

    def _is_stuck(self) -> bool:
        if not self._is_full:
            return False
        losses = np.asarray(self._losses)
        half = len(losses) // 2
        first, second = losses[:half], losses[half:]
        noise = STANDARD_ERRORS * math.sqrt(first.var() / len(first) + second.var() / len(second))
        falls = second.mean() < first.mean() - noise
        seen, majority = sum(self._images), float(self.frequencies.max())
        skilled = sum(self._correct) / seen > majority + STANDARD_ERRORS * math.sqrt(majority * (1 - majority) / seen)
        return not (falls or skilled or self._evidence() > MOST_ERRORS)

    def end_epoch(self, auc: float) -> None:
        """Take in the validation AUC of an epoch; nan where it is undefined."""
        stuck = self._is_stuck()
        self._aucs.append(auc)
        self._stuck_epochs = self._stuck_epochs + 1 if stuck else max(self._stuck_epochs - 1, 0)
        error = self._auc_error
        limit = (self.chance_auc - 0.5) / error if error else MOST_ERRORS
        self._silent_epochs = 0 if self._evidence() > limit else self._silent_epochs + 1

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
        if self._silent_epochs < SILENT_EPOCHS or not self._is_stuck():
            return None
        last = self._aucs[-1]
        ranking = "" if math.isnan(last) else f", and the validation AUC is {last:.3f}"
        loss, accuracy = float(np.mean(self._losses)), sum(self._correct) / sum(self._images)
        return (
            f"over {self.steps} steps the loss stayed at {loss:.3g} (chance: {self.chance_loss:.3g}) and accuracy at "
            f"{accuracy:.3f} (always the most frequent class: {self.frequencies.max():.3f}){ranking}"
        )

    def verdict(self) -> str | None:
        """Say of a run at its end whether all that it has learnt is by heart.

        Such a run's loss falls, so that nothing stops it. It is told by the ranking of the later half of its epochs,
        where the validation split can tell: an AUC of `WORTH_LEARNING` would be seen there, by `WORTH_ERRORS` errors.

        Returns:
            Why the run has not learnt, in words, or None.
        """
        later = [auc for auc in self._aucs[len(self._aucs) // 2 :] if not math.isnan(auc)]
        error = self._auc_error
        if not self._is_full or len(later) < SILENT_EPOCHS or error == 0:
            return None
        limit = min(0.5 + MOST_ERRORS * error, WORTH_LEARNING - WORTH_ERRORS * error)
        if max(later) > limit:
            return None
        best = f"in its last {len(later)} epochs the validation AUC was never above {max(later):.3f}"
        return f"{best}, which chance gives, too"

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs."""
        return {
            "losses": list(self._losses),
            "correct": list(self._correct),
            "images": list(self._images),
            "aucs": self._aucs,
            "stuck_epochs": self._stuck_epochs,
            "silent_epochs": self._silent_epochs,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up the state of an interrupted run."""
        self._losses = deque(state["losses"])
        self._correct = deque(state["correct"])
        self._images = deque(state["images"])
        self._aucs = list(state["aucs"])
        self._stuck_epochs, self._silent_epochs = state["stuck_epochs"], state["silent_epochs"]


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

    def end_epoch(self, epoch: int, metrics: Mapping[str, Any]) -> EpochVerdict:
        """Take in an epoch (from 1) and say what follows from it.

        Patience is with the monitored metric alone: an epoch that is the best for its loss only does not renew it.
        """
        self.learning.end_epoch(metrics.get("val_auc", math.nan))
        improved = is_better(metrics[self.best.monitor], self.best.value, self.best.monitor)
        keep = self.best.update(epoch, metrics)
        plateau = self._plateau.update(improved)
        if plateau:
            self.rate_factor *= self.config.reduce_on_plateau_factor
        return EpochVerdict(keep=keep, lower_rate=plateau, stop=self._stopping.update(improved))

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

    keep: bool
    lower_rate: bool
    stop: bool
