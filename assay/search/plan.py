"""The schedule of hyperband: how many trials run for how many epochs, so that the sum stays within a budget.

Successive halving trains many configurations briefly and trains the best third of them on, three times as long, and
again. A promoted trial continues exactly where it stood, so a round costs only the epochs that it adds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

FACTOR = 3
# After one epoch a score tells the learning rate's size from little else.
LEAST_EPOCHS = 2


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


def plan_brackets(trials: int, epochs: int, budget: float) -> tuple[Bracket, ...]:
    """Return the brackets of a hyperband search.

    One bracket takes the whole budget. Its rounds end at epochs, epochs / 3, epochs / 9... as long as the first has
    `LEAST_EPOCHS`, and it begins with as many trials as the budget allows. Hyperband's further brackets, which hedge
    against late starters, gained nothing where this was tried (images and heads on cached features).

    Args:
        trials: Trials of the full search.
        epochs: Epochs of a full-length trial.
        budget: Fraction of ``trials * epochs`` to spend at most; one full trial is always allowed.

    Returns:
        Brackets whose costs sum to no more than `budget_epochs`.
    """
    allowed = budget_epochs(trials, epochs, budget)
    ladder = _ladder(epochs)
    count = 1
    while _bracket(_sizes(count + 1, ladder), ladder).cost <= allowed:
        count += 1
    sizes = _sizes(count, ladder)
    # What is left pays for further promotions, the last rounds first.
    for place in reversed(range(1, len(sizes))):
        while sizes[place] < sizes[place - 1]:
            more = [size + (index == place) for index, size in enumerate(sizes)]
            if _bracket(more, ladder).cost > allowed:
                break
            sizes = more
    return (_bracket(sizes, ladder),)


def _ladder(epochs: int) -> list[int]:
    """Return the epochs at which rounds end."""
    ladder = [epochs]
    while math.ceil(ladder[0] / FACTOR) >= LEAST_EPOCHS:
        ladder.insert(0, math.ceil(ladder[0] / FACTOR))
    return ladder


def _sizes(count: int, ladder: list[int]) -> list[int]:
    """Return the trials of each round: a third of them go on, at least one."""
    sizes = [count]
    for _ in ladder[1:]:
        sizes.append(max(1, round(sizes[-1] / FACTOR)))
    return sizes


def _bracket(sizes: list[int], ladder: list[int]) -> Bracket:
    return Bracket(tuple(Round(size, epochs) for size, epochs in zip(sizes, ladder, strict=True)))
