"""AUCs with the covariance of their errors, without resampling, where cases of a group are alike too."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.measures.ranking import Floats, Mask


@dataclass(frozen=True)
class DeLong:
    """AUCs of several models on the same cases, with the covariance of their errors.

    Attributes:
        aucs: float64 (M,).
        covariance: float64 (M, M); nan where a class holds fewer than two independent units.
        freedom: Degrees of freedom of the covariance: with groups those of the scarcer class less 1, else infinite.
    """

    aucs: Floats
    covariance: Floats
    freedom: float = math.inf

    def difference(self, first: int, second: int) -> tuple[float, float]:
        """Return AUC(first) - AUC(second) and its standard error."""
        contrast = np.zeros(len(self.aucs))
        contrast[first] += 1
        contrast[second] -= 1
        variance = float(contrast @ self.covariance @ contrast)
        return float(contrast @ self.aucs), math.sqrt(max(variance, 0.0)) if not math.isnan(variance) else variance

    def p_value(self, first: int, second: int) -> float:
        """Return the two-sided p-value of equal AUCs; 1 for models that agree exactly, nan where undefined."""
        difference, error = self.difference(first, second)
        return two_sided_p(difference, error, self.freedom)


def two_sided_p(difference: float, error: float, freedom: float = math.inf) -> float:
    """Return the p-value of a difference with this standard error, by Student's t; 1 where both are 0."""
    if math.isnan(difference) or math.isnan(error):
        return float("nan")
    if error < 1e-12:
        return 1.0 if abs(difference) < 1e-12 else 0.0
    return min(1.0, 2 * upper_tail(abs(difference) / error, freedom))


def upper_tail(value: float, freedom: float = math.inf) -> float:
    """Return the chance that Student's t is above a value; without a limit of freedom the normal distribution's."""
    from scipy.stats import norm, t

    return float(norm.sf(value) if math.isinf(freedom) else t.sf(value, freedom))


def delong(positive: Mask, scores: npt.NDArray[Any], groups: npt.NDArray[Any] | None = None) -> DeLong:
    """Return the AUCs of models scored on the same cases, and their covariance without resampling.

    Args:
        positive: bool (N,).
        scores: float (M, N).
        groups: Patient or slide of each case (N,), whose cases are not independent; None: all are.

    Source:
        DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44; midranks after Sun and Xu 2014; groups after
        Obuchowski 1997, Biometrics 53.
    """
    positive = np.asarray(positive, dtype=bool)
    scores = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    positives, negatives = int(positive.sum()), int((~positive).sum())
    models = len(scores)
    if positives == 0 or negatives == 0:
        return DeLong(np.full(models, np.nan), np.full((models, models), np.nan))
    of_positives, of_negatives = placements(positive, scores)
    aucs = of_positives.mean(axis=1)
    if groups is None:
        units = np.arange(len(positive))
    else:
        units = np.unique(np.asarray(groups).astype(str), return_inverse=True)[1]
    count = int(units.max()) + 1
    with_positives = len(np.unique(units[positive]))
    with_negatives = len(np.unique(units[~positive]))
    if with_positives < 2 or with_negatives < 2:
        return DeLong(aucs, np.full((models, models), np.nan))
    first = np.stack([np.bincount(units[positive], row, count) for row in of_positives - aucs[:, None]])
    second = np.stack([np.bincount(units[~positive], row, count) for row in of_negatives - aucs[:, None]])
    covariance = with_positives / (with_positives - 1) * (first @ first.T) / positives**2
    covariance += with_negatives / (with_negatives - 1) * (second @ second.T) / negatives**2
    if groups is not None:
        cross = count / (count - 1) * (first @ second.T) / (positives * negatives)
        covariance += cross + cross.T
    return DeLong(aucs, covariance, math.inf if groups is None else min(with_positives, with_negatives) - 1)


def placements(positive: Mask, scores: npt.NDArray[Any]) -> tuple[Floats, Floats]:
    """Return the share of negative cases below each positive one, and of positive cases above each negative one.

    Args:
        positive: bool (N,), both classes present.
        scores: float (N,) or, for M models, (M, N).

    Returns:
        float64 (P,) and (N - P,), or (M, P) and (M, N - P); ties count half. Each has the AUC as its mean.
    """
    from scipy.stats import rankdata

    together = rankdata(scores, axis=-1)
    of_positives = (together[..., positive] - rankdata(scores[..., positive], axis=-1)) / (~positive).sum()
    of_negatives = 1 - (together[..., ~positive] - rankdata(scores[..., ~positive], axis=-1)) / positive.sum()
    return of_positives, of_negatives
