"""The schedule of hyperband: how many trials run for how many epochs, so that the sum stays within a budget.

Successive halving trains many configurations briefly and trains the best third of them on, three times as long, and
again. A promoted trial continues exactly where it stood, so a round costs only the epochs that it adds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

FACTOR = 3


@dataclass(frozen=True)
class Round:
    """So many trials, each trained up to so many epochs, counted from its very beginning."""

    trials: int
    epochs: int


@dataclass(frozen=True)
class Bracket:
    """Rounds of successive halving: fewer trials and more epochs from one to the next."""

    rounds: tuple[Round, ...]

    @property
    def cost(self) -> int:
        """Epochs trained in all."""
        before = (0, *(step.epochs for step in self.rounds))
        return sum(step.trials * (step.epochs - start) for step, start in zip(self.rounds, before, strict=False))


def budget_epochs(trials: int, epochs: int, budget: float) -> int:
    """Return the epochs that a search may train in all: a fraction of the full search, at least one full trial."""
    return max(epochs, math.floor(trials * epochs * budget + 1e-9))
