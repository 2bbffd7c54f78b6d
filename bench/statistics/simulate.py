"""Data sets drawn with a known truth, what an interval covers of it, and how often equal models are promoted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from assay.measures.clustered import clustered_auc, clustered_proportion
from assay.measures.delong import placements
from assay.measures.sequential import spend

# Share of the noise that cases of a group have in common.
CORRELATION = 0.4
MEAN_SIZE = 12


@dataclass(frozen=True)
class Cell:
    """One kind of data set.

    Attributes:
        metric: ``auc`` or ``proportion``.
        groups: How many patients or slides.
        even: Whether groups are of one size; else sizes are log-normal.
        mixed: Whether a group holds cases of both classes (of an AUC alone).
        truth: The AUC, or the proportion, of the whole population.
        prevalence: Share of positive cases, or of positive groups (of an AUC alone).
    """

    metric: str
    groups: int
    even: bool
    truth: float
    mixed: bool = True
    prevalence: float = 0.5


@dataclass(frozen=True)
class Coverage:
    """What came of a cell.

    Attributes:
        cell: Which.
        covered: Share of the intervals that held the truth.
        width: Mean width, in units of an oracle's: the central 95 % of the values themselves.
        rounds: Data sets drawn.
    """

    cell: Cell
    covered: float
    width: float
    rounds: int


def cells() -> list[Cell]:
    """Return all kinds of data sets of the page."""
    found = [
        Cell("auc", groups, even, truth, mixed, prevalence)
        for groups in (8, 20, 60)
        for even in (True, False)
        for mixed in (False, True)
        for prevalence in (0.05, 0.5)
        for truth in (0.8, 0.95, 0.995)
    ]
    return found + [
        Cell("proportion", groups, even, truth)
        for groups in (8, 20, 60)
        for even in (True, False)
        for truth in (0.6, 0.8, 0.95, 0.99)
    ]


def coverage(cell: Cell, rounds: int, seed: int = 0) -> Coverage:
    """Draw data sets of a kind and count how often the interval holds the truth."""
    random = np.random.default_rng([seed, hash_of(cell)])
    covered, widths, values = 0, [], []
    for _ in range(rounds):
        groups = np.repeat(np.arange(cell.groups), _sizes(cell, random))
        if cell.metric == "auc":
            positive, scores = _scores(cell, groups, random)
            interval = clustered_auc(positive, scores, groups)
            values.append(float(placements(positive, scores)[0].mean()))
        else:
            spread = (1 - CORRELATION) / CORRELATION
            of_group = random.beta(cell.truth * spread, (1 - cell.truth) * spread, cell.groups)
            right = random.random(len(groups)) < of_group[groups]
            interval = clustered_proportion(right, groups)
            values.append(float(right.mean()))
        covered += interval.low <= cell.truth <= interval.high
        widths.append(interval.high - interval.low)
    low, high = np.quantile(values, [0.025, 0.975])
    return Coverage(cell, covered / rounds, float(np.mean(widths) / max(high - low, 1e-9)), rounds)


def hash_of(cell: Cell) -> int:
    """Return a number of its own for each cell, the same in every process."""
    return sum(ord(letter) * (place + 1) for place, letter in enumerate(repr(cell)))


def _sizes(cell: Cell, random: np.random.Generator) -> npt.NDArray[np.int64]:
    if cell.even:
        return np.full(cell.groups, MEAN_SIZE)
    weights = random.lognormal(0, 1, cell.groups)
    return np.maximum(2, np.round(weights / weights.sum() * cell.groups * MEAN_SIZE)).astype(np.int64)


def _scores(cell: Cell, groups: npt.NDArray[Any], random: np.random.Generator) -> tuple[Any, Any]:
    """Return labels and binormal scores; at least two groups, and two cases, are of each class."""
    while True:
        if cell.mixed:
            positive = random.random(len(groups)) < cell.prevalence
        else:
            chosen = random.permutation(cell.groups)[: max(2, round(cell.prevalence * cell.groups))]
            positive = np.isin(groups, chosen)
        if 2 <= positive.sum() <= len(groups) - 2:
            break
    shared = random.normal(0, math.sqrt(CORRELATION), cell.groups)[groups]
    own = random.normal(0, math.sqrt(1 - CORRELATION), len(groups))
    return positive, math.sqrt(2) * norm.ppf(cell.truth) * positive + shared + own


def false_promotions(retrainings: int, rounds: int, *, one_test_set: bool, seed: int = 0) -> dict[str, float]:
    """Return how often a challenger as good as the champion is promoted at least once.

    Args:
        retrainings: Comparisons with the champion.
        rounds: Histories drawn.
        one_test_set: Whether all comparisons are on one test set, where the champion's luck is in each of them.
        seed: Of the draws.

    Returns:
        Share of histories with a promotion: with the level spent over looks, and with all of it at each look.
    """
    random = np.random.default_rng([seed, retrainings, one_test_set])
    luck = random.normal(size=(rounds, retrainings))
    if one_test_set:
        luck = (luck - random.normal(size=(rounds, 1))) / math.sqrt(2)
    p_values = norm.sf(luck)
    levels = np.array([spend(0.05, look) for look in range(1, retrainings + 1)])
    return {
        "spent over looks": float((p_values <= levels).any(axis=1).mean()),
        "at each look": float((p_values <= 0.05).any(axis=1).mean()),
    }


def power(
    gain: float, auc: float, cases: int, look: int, rounds: int, correlation: float = 0.7, seed: int = 0
) -> float:
    """Return how often a challenger that is better by ``gain`` in AUC is promoted at a look.

    Args:
        gain: In AUC.
        auc: The champion's.
        cases: In the test split, half of them positive, independent of each other.
        look: From 1.
        rounds: Test splits drawn.
        correlation: Of the two models' scores within a class.
        seed: Of the draws.
    """
    from assay.measures.delong import delong

    random = np.random.default_rng([seed, look, cases])
    positive = np.arange(cases) % 2 == 1
    level, promoted = spend(0.05, look), 0
    for _ in range(rounds):
        shared = random.normal(size=cases) * math.sqrt(correlation)
        own = random.normal(size=(2, cases)) * math.sqrt(1 - correlation)
        ahead = math.sqrt(2) * norm.ppf(np.array([auc + gain, auc]))[:, None] * positive
        found = delong(positive, ahead + shared + own)
        difference, error = found.difference(0, 1)
        promoted += bool(norm.sf(difference / error) <= level)
    return promoted / rounds
