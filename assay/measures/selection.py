"""The winner's curse: by how much the best of several scores flatters, because it was chosen for being the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.measures.ranking import Floats

GRID, ROUNDS = 80, 400


def selection_optimism(scores: Sequence[float] | npt.NDArray[Any], noise: float) -> float:
    """Return by how much the highest of several scores exceeds what its model is worth, on average.

    The true scores count as draws from one unknown distribution, which is estimated from the scores themselves:
    where they differ by no more than noise does, all are worth the same, and the best flatters by its distance from
    their mean; where the best stands out, it flatters by nearly nothing. What all scores have in common (that they
    come from the same images) cancels out. With noise that is stated too large the result is too large by as much
    as that at most.

    Args:
        scores: Of the models that were chosen among, float (M,); higher is better; one that is nan does not count.
        noise: Standard deviation of a score about its true value, that part which the models do not share.

    Returns:
        At least 0, in units of the score; 0 for a single score; nan without any, or where the noise is unknown.

    Source:
        Efron 2011, Tweedie's Formula and Selection Bias, JASA 106; the distribution of the true scores after Kiefer
        and Wolfowitz 1956, computed as in Jiang and Zhang 2009, Annals of Statistics 37.
    """
    values = np.asarray(scores, dtype=np.float64)
    values = values[~np.isnan(values)]
    if not len(values) or math.isnan(noise):
        return float("nan")
    low, high = float(values.min()), float(values.max())
    if noise <= 0 or high == low:
        return 0.0
    grid = np.linspace(low, high, GRID)
    exponents = -0.5 * ((values[:, None] - grid) / noise) ** 2
    # A factor of each row's own changes no posterior, and keeps far scores from becoming 0 everywhere.
    likelihood = np.exp(exponents - exponents.max(axis=1, keepdims=True))
    weights = np.full(GRID, 1 / GRID)
    for _ in range(ROUNDS):
        posterior = likelihood * weights
        posterior /= posterior.sum(axis=1, keepdims=True)
        weights = posterior.mean(axis=0)
    return max(0.0, high - float(posterior[values.argmax()] @ grid))


def own_noise(covariance: Floats) -> float:
    """Return the standard deviation of scores on the same cases, without the part that they share.

    Args:
        covariance: Of the scores' errors, float (M, M), as `delong` gives it.

    Returns:
        Root of the mean variance less the mean covariance; nan for fewer than two scores or where undefined.
    """
    count = len(covariance)
    if count < 2:
        return float("nan")
    shared = (covariance.sum() - np.trace(covariance)) / (count * (count - 1))
    return math.sqrt(max(float(np.trace(covariance) / count - shared), 0.0))


def auc_noise(auc: float, positives: int, negatives: int) -> float:
    """Return the standard error of an AUC of which nothing is known but the numbers of cases.

    Args:
        auc: 0 to 1.
        positives: Independent positive cases (groups of them).
        negatives: Independent negative cases (groups of them).

    Source:
        Hanley and McNeil 1982, Radiology 143.
    """
    if positives < 1 or negatives < 1:
        return float("nan")
    of_positives = auc / (2 - auc) - auc**2
    of_negatives = 2 * auc**2 / (1 + auc) - auc**2
    variance = auc * (1 - auc) + (positives - 1) * of_positives + (negatives - 1) * of_negatives
    return math.sqrt(max(variance, 0.0) / (positives * negatives))
