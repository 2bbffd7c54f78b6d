"""Can probabilities be taken for frequencies? Calibration slope and intercept, an error without bias, and a test."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.measures.interval import NO_INTERVAL, Interval
from assay.measures.metrics import Scored
from assay.measures.ranking import Floats, Integers, Mask

# Beyond this a logit is taken for this: float32 knows no probability nearer to 1.
SMALLEST_CLAIM = 1e-7
DRAWS = 1999
DRAWS_BY_GROUPS = 999
# How much of what decides a case is its group's, where the test draws outcomes.
ALIKE = (0.0, 0.5, 0.95)
BLOCK_VALUES = 2**21
# As in the reliability curve: equally many cases a bin, at most so many bins, at least so many cases.
BINS, FEWEST_IN_BIN = 10, 10
FEWEST_UNITS = 5
LARGEST_SLOPE_ERROR = 5.0


@dataclass(frozen=True)
class Recalibration:
    """How probabilities would have to change to be frequencies, and whether they have to.

    Attributes:
        error: Root of the mean squared gap between probability and frequency, the part that chance gives taken
            off; 0 where chance gives all of it.
        intercept: What is to be added to all logits, the slope being 1; below 0: the probabilities are too high.
        intercept_interval: Its interval.
        slope: What logits are to be multiplied by; below 1: the probabilities are too extreme; nan where the cases
            set it no limit.
        slope_interval: Its interval.
        offset: Intercept of the joint fit, where the slope is free too.
        p_value: Of "nothing has to change" (slope 1, intercept 0); nan where there is nothing to test.
        test: What gave the p-value.
    """

    error: float
    intercept: float
    intercept_interval: Interval
    slope: float
    slope_interval: Interval
    offset: float
    p_value: float
    test: str

    def metrics(self, prefix: str) -> dict[str, float]:
        """Return the numbers under flat names that begin with ``prefix``; nan where undefined."""
        values = {f"{prefix}_error": self.error, f"{prefix}_p": self.p_value}
        for name, value, interval in (
            ("slope", self.slope, self.slope_interval),
            ("intercept", self.intercept, self.intercept_interval),
        ):
            values |= {f"{prefix}_{name}": value}
            values |= {f"{prefix}_{name}_low": interval.low, f"{prefix}_{name}_high": interval.high}
        return values

    def recalibrated(self, probability: float) -> float:
        """Return how often cases of a claimed probability come true, by the joint fit; nan where there is none."""
        if math.isnan(self.slope):
            return float("nan")
        logit = math.log(probability / (1 - probability))
        return 1 / (1 + math.exp(-(self.offset + self.slope * logit)))


def claims(scored: Scored) -> tuple[Mask, Floats]:
    """Return what a model claims of each case and whether it came true.

    Of two classes the probability is that of the class to detect; of more it is the highest, that its class is right.

    Returns:
        bool (N,) and float64 (N,).
    """
    if scored.binary:
        index = scored.positive_index
        return scored.labels == index, scored.probabilities[:, index].astype(np.float64)
    top = scored.probabilities.argmax(axis=1)
    return scored.labels == top, scored.probabilities.max(axis=1).astype(np.float64)


def recalibration(
    happened: Mask,
    claimed: npt.NDArray[Any],
    groups: npt.NDArray[Any] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> Recalibration:
    """Judge probabilities against what happened.

    The test is the score test of slope 1 and intercept 0. Where cases are independent, "nothing has to change" says
    of each case how likely it was, so outcomes are drawn from the claimed probabilities and the p-value is exact at
    any number of cases. With groups, Hotelling's statistic asks whether the groups' sums of scores are 0 on average;
    how large it gets when nothing has to change is drawn too, from the same probabilities with cases of a group
    that come true independently, half together and nearly always together: the largest p-value counts.

    Args:
        happened: Whether the event took place, bool (N,).
        claimed: Its probability according to the model, float (N,).
        groups: Patient or slide of each case (N,); None: cases are independent.
        confidence: Level of the intervals.
        seed: Of the draws.

    Source:
        Slope and intercept: Cox 1958, Biometrika 45; Miller, Langefeld, Tierney, Hui and McDonald 1993, Medical
        Decision Making 13. Tests by simulation: Barnard 1963; Dufour 2006, Journal of Econometrics 133
        (the largest p-value over what is not known). Sums over groups: Hotelling 1931. Intervals by groups: the
        jackknife over groups, Bell and McCaffrey 2002, Survey Methodology 28.
    """
    happened = np.asarray(happened, dtype=bool)
    chances = np.clip(np.asarray(claimed, dtype=np.float64), SMALLEST_CLAIM, 1 - SMALLEST_CLAIM)
    units = _units(groups, len(happened))
    logits = np.log(chances / (1 - chances))
    if int(units.max()) + 1 < len(units):
        p_value, test = _p_by_groups(happened, chances, logits, units, seed), "score test by groups"
    else:
        p_value, test = _exact_p(happened, chances, logits, seed), "score test, exact"
    intercept, intercept_interval = _intercept(happened, logits, units, confidence)
    offset, slope, slope_interval = _slope(happened, logits, units, confidence)
    error = unbiased_error(happened, chances, units)
    return Recalibration(error, intercept, intercept_interval, slope, slope_interval, offset, p_value, test)


def unbiased_error(happened: Mask, claimed: npt.NDArray[Any], groups: npt.NDArray[Any] | None = None) -> float:
    """Return the root mean squared gap between probability and frequency, without what chance adds to it.

    In each bin the squared mean residual is estimated from products of residuals of two different groups alone:
    those are independent, so that the estimate is right on average however few cases there are. The mean over the
    bins may be negative; then 0 is returned.

    Args:
        happened: Whether the event took place, bool (N,).
        claimed: Its probability according to the model, float (N,).
        groups: Patient or slide of each case (N,); None: cases are independent.

    Source:
        Kumar, Liang and Ma 2019, Verified Uncertainty Calibration, section 4 (the debiased estimator); pairs across
        groups after Ferro and Fricker 2012, Quarterly Journal of the Royal Meteorological Society 138.
    """
    claimed = np.asarray(claimed, dtype=np.float64)
    residuals, units = np.asarray(happened, dtype=np.float64) - claimed, _units(groups, len(claimed))
    bins = max(1, min(BINS, len(claimed) // FEWEST_IN_BIN))
    of_bin = np.searchsorted(np.unique(np.quantile(claimed, np.linspace(0, 1, bins + 1)[1:-1])), claimed, side="right")
    total = weight = 0.0
    for index in np.unique(of_bin):
        members = of_bin == index
        own, of_unit = residuals[members], np.unique(units[members], return_inverse=True)[1]
        sums, sizes = np.bincount(of_unit, own), np.bincount(of_unit).astype(np.float64)
        pairs = sizes.sum() ** 2 - np.square(sizes).sum()
        if pairs > 0:
            total += len(own) * (own.sum() ** 2 - np.square(sums).sum()) / pairs
            weight += len(own)
    return math.sqrt(max(total / weight, 0.0)) if weight else float("nan")


def _units(groups: npt.NDArray[Any] | None, count: int) -> Integers:
    if groups is None:
        return np.arange(count)
    return np.unique(np.asarray(groups).astype(str), return_inverse=True)[1].astype(np.int64)


def _exact_p(happened: Mask, chances: Floats, logits: Floats, seed: int) -> float:
    """Return the p-value of the score statistic among those of outcomes drawn from the claimed probabilities."""
    design = np.stack([np.ones(len(logits)), logits], axis=1)
    # Where all logits are alike the slope cannot be told; the pseudo-inverse leaves it out.
    inverse = np.linalg.pinv(design.T @ (design * (chances * (1 - chances))[:, None]), hermitian=True)

    def statistic(outcomes: npt.NDArray[Any]) -> Floats:
        scores = (outcomes - chances) @ design
        found: Floats = np.einsum("bi,ij,bj->b", scores, inverse, scores)
        return found

    observed = float(statistic(happened[None].astype(np.float64))[0])
    generator = np.random.default_rng([seed, 11])
    block, reached, left = max(1, BLOCK_VALUES // len(chances)), 0, DRAWS
    while left > 0:
        drawn = generator.random((min(block, left), len(chances)), dtype=np.float64) < chances
        # Sums in another order differ in the last digit: a tie is a tie.
        reached += int((statistic(drawn) >= observed * (1 - 1e-9)).sum())
        left -= len(drawn)
    return (reached + 1) / (DRAWS + 1)


def _p_by_groups(happened: Mask, chances: Floats, logits: Floats, units: Integers, seed: int) -> float:
    """Return the largest p-value of Hotelling's statistic over how alike a group's cases are; nan: too few groups."""
    from scipy.special import ndtri

    count = int(units.max()) + 1
    if count < FEWEST_UNITS:
        return float("nan")
    order = np.argsort(units, kind="stable")
    units, chances, logits = units[order], chances[order], logits[order] - logits.mean()
    starts = np.flatnonzero(np.diff(units, prepend=-1))
    constant = float(np.ptp(logits)) < 1e-9

    def statistic(outcomes: npt.NDArray[Any]) -> Floats:
        residuals = outcomes - chances
        parts = [residuals] if constant else [residuals, residuals * logits]
        sums = np.stack([np.add.reduceat(part, starts, axis=1) for part in parts], axis=2)
        mean = sums.mean(axis=1)
        centred = sums - mean[:, None]
        spread = np.einsum("bgi,bgj->bij", centred, centred)
        found: Floats = np.einsum("bi,bij,bj->b", mean, np.linalg.pinv(spread, hermitian=True), mean)
        return found

    observed = float(statistic(happened[order][None].astype(np.float64))[0])
    limits = ndtri(chances)
    generator = np.random.default_rng([seed, 12])
    block = max(1, BLOCK_VALUES // len(chances))
    largest = 0.0
    for alike in ALIKE:
        reached, left = 0, DRAWS_BY_GROUPS
        while left > 0:
            size = min(block, left)
            common = generator.standard_normal((size, count))[:, units]
            own = generator.standard_normal((size, len(chances)))
            drawn = math.sqrt(alike) * common + math.sqrt(1 - alike) * own < limits
            reached += int((statistic(drawn) >= observed * (1 - 1e-9)).sum())
            left -= size
        largest = max(largest, (reached + 1) / (DRAWS_BY_GROUPS + 1))
    return largest


def _intercept(happened: Mask, logits: Floats, units: Integers, confidence: float) -> tuple[float, Interval]:
    """Return the shift of all logits that makes the mean probability the frequency, and its interval."""
    from scipy.optimize import brentq
    from scipy.special import expit

    if happened.all() or not happened.any():
        return float("nan"), NO_INTERVAL
    shift = float(brentq(lambda value: float(expit(logits + value).sum() - happened.sum()), -60.0, 60.0))
    fitted = expit(logits + shift)
    design = np.ones((len(logits), 1))
    error = math.sqrt(_covariance(design, happened, fitted, units)[0, 0])
    return shift, _wald(shift, error, int(units.max()) + 1, confidence)


def _slope(happened: Mask, logits: Floats, units: Integers, confidence: float) -> tuple[float, float, Interval]:
    """Return offset and slope of the logistic regression of what happened on the logits, and the slope's interval."""
    from scipy.special import expit
    from sklearn.linear_model import LogisticRegression

    nothing = (float("nan"), float("nan"), NO_INTERVAL)
    if happened.all() or not happened.any() or np.ptp(logits) < 1e-9:
        return nothing
    scale = float(logits.std())
    model = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(logits[:, None] / scale, happened)
    offset, slope = float(model.intercept_[0]), float(model.coef_[0, 0]) / scale
    design = np.stack([np.ones(len(logits)), logits], axis=1)
    try:
        variance = float(_covariance(design, happened, expit(offset + slope * logits), units)[1, 1])
    except np.linalg.LinAlgError:
        return nothing
    # Cases that a threshold parts without a mistake: the slope grows without end, and its variance with it.
    if not 0 < variance < (LARGEST_SLOPE_ERROR * max(1.0, abs(slope))) ** 2:
        return nothing
    return offset, slope, _wald(slope, math.sqrt(variance), int(units.max()) + 1, confidence)


def _covariance(design: Floats, happened: Mask, fitted: Floats, units: Integers) -> Floats:
    """Return the covariance of a logistic regression's coefficients, by groups where units are fewer than cases."""
    information = design.T @ (design * (fitted * (1 - fitted))[:, None])
    inverse: Floats = np.asarray(np.linalg.inv(information), dtype=np.float64)
    count = int(units.max()) + 1
    if count == len(units):
        return inverse
    # What leaving out each group changes, in one step of Newton's method.
    scores = design * (happened - fitted)[:, None]
    weights = fitted * (1 - fitted)
    pairs = range(design.shape[1])
    sums = np.stack([np.bincount(units, column, count) for column in scores.T], axis=1)
    own = np.empty((count, design.shape[1], design.shape[1]))
    for first in pairs:
        for second in pairs:
            own[:, first, second] = np.bincount(units, design[:, first] * design[:, second] * weights, count)
    # Without one of very few groups nothing may be left to invert.
    changes = (np.linalg.pinv(information - own, hermitian=True) @ sums[:, :, None])[:, :, 0]
    return np.asarray((count - 1) / count * (changes.T @ changes), dtype=np.float64)


def _wald(value: float, error: float, units: int, confidence: float) -> Interval:
    from scipy.stats import t as student

    reach = float(student.ppf(0.5 + confidence / 2, max(units - 2, 1))) * error
    return Interval(value - reach, value + reach, "Wald")
