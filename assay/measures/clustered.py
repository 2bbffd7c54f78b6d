"""Intervals of a proportion and of an AUC where cases of a group (patient, slide) are alike; one method from 0 to 1.

The bootstrap of whole groups is too narrow where groups are few: its percentiles know neither Student's t nor what a
resample cannot show, such as an error that no case made. Here the design effect (how many times the variance of
independent cases) turns cases into an effective number of them, for which score intervals are known. `make
check-statistics` measures what they cover.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.measures.delong import placements
from assay.measures.interval import NO_INTERVAL, Interval
from assay.measures.ranking import Floats, Integers, Mask

# Where a sample hardly shows how alike the cases of a group are, this is believed: an intraclass correlation, with the
# weight of so many groups. Chosen by simulation, on the safe side.
PRIOR_CORRELATION = 0.4
PRIOR_GROUPS = 2
# Of an AUC, how alike the cases of a group are in the one class is believed of the other, with the weight of so many
# groups: two groups alone say next to nothing of it, and Student's t with one degree of freedom reaches anywhere.
POOLED_GROUPS = 4


def clustered_proportion(successes: Mask, groups: npt.NDArray[Any] | None = None, confidence: float = 0.95) -> Interval:
    """Return an interval of a proportion: Wilson's, for the effective number of cases, with Student's t.

    Args:
        successes: bool (N,).
        groups: Patient or slide of each case (N,); None: cases are independent.
        confidence: Level, such as 0.95.

    Returns:
        The interval; none for no cases.

    Source:
        Wilson 1927; effective sample size after Korn and Graubard 1998, Survey Methodology 24; the design effect is
        that of the ratio estimator, shrunk to a prior one where few groups hold an error or a success.
    """
    successes = np.asarray(successes, dtype=bool)
    count = len(successes)
    if count == 0:
        return NO_INTERVAL
    effective, kish = effective_cases(successes, groups)
    low, high = _wilson(float(successes.mean()), effective, _student(confidence, kish - 1))
    return Interval(low, high, "wilson" if kish >= count else "wilson by groups")


def effective_cases(successes: Mask, groups: npt.NDArray[Any] | None = None) -> tuple[float, float]:
    """Return how many independent cases tell as much of a proportion, and the effective number of groups (Kish's).

    Args:
        successes: bool (N,), N at least 1.
        groups: Patient or slide of each case (N,); None: cases are independent.
    """
    count = len(successes)
    units = unit_numbers(groups, count)
    sizes = np.bincount(units)
    hits = np.bincount(units, successes)
    share = float(successes.mean())
    kish = count**2 / float(sizes @ sizes)
    weighted = float(sizes @ sizes) / count
    prior = 1 + (weighted - 1) * PRIOR_CORRELATION
    # Where every case is a success: as if one were not, so that the bound is no worse than with one error.
    seen, telling = 1.0, 1
    independent = share * (1 - share) / count
    if independent > 0 and kish > 1:
        residuals = hits - share * sizes
        variance = kish / (kish - 1) * float(residuals @ residuals) / count**2
        # A group with a success and one with an error: what tells how alike the cases of a group are.
        telling = min(int((hits > 0).sum()), int((hits < sizes).sum()))
        seen = max(variance / independent, 1.0)
    effect = (telling * seen + PRIOR_GROUPS * prior) / (telling + PRIOR_GROUPS)
    return count / effect, kish


def clustered_auc(
    positive: Mask, scores: npt.NDArray[Any], groups: npt.NDArray[Any] | None = None, confidence: float = 0.95
) -> Interval:
    """Return an interval of an AUC: DeLong's on the logit scale with Student's t, and a score interval at the edges.

    DeLong's variance vanishes as the AUC nears 1, where a score interval (with the variance at each value asked
    about) stays honest; that in turn takes no account of how few the groups are. The two are mixed by the number of
    groups that DeLong's variance rests on. Where a class has few groups, how alike the cases of a group are is learnt
    from the other class, too.

    Args:
        positive: bool (N,).
        scores: Higher means more likely positive, float (N,).
        groups: Patient or slide of each case (N,), which may hold cases of both classes; None: cases are independent.
        confidence: Level, such as 0.95.

    Returns:
        The interval; none where a class is absent.

    Source:
        DeLong et al. 1988 and, for groups, Obuchowski 1997, Biometrics 53; on the logit scale as in Pepe 2003, The
        Statistical Evaluation of Medical Tests; score interval: Newcombe 2006, Statistics in Medicine 25, method 5.
    """
    positive = np.asarray(positive, dtype=bool)
    if positive.all() or not positive.any():
        return NO_INTERVAL
    units = unit_numbers(groups, len(positive))
    parts = _Parts.of(positive, np.asarray(scores, dtype=np.float64), units)
    method = "delong and newcombe" + (" by groups" if parts.grouped else "")
    if parts.auc < 0.5:
        turned = clustered_auc(~positive, scores, groups, confidence)
        return Interval(1 - turned.high, 1 - turned.low, turned.method)
    score_low, score_high = auc_score_interval(parts.auc, *parts.effective, _student(confidence, math.inf))
    if min(parts.kish) <= 1:
        return Interval(score_low, score_high, method)
    # Where every pair is in order, as if one were not: by then the error of the logit is the root of two.
    value = min(parts.auc, 1 - 1 / parts.pairs)
    error = math.sqrt(parts.variance) / (value * (1 - value)) if parts.variance > 0 else math.sqrt(2)
    place, reach = math.log(value / (1 - value)), _student(confidence, parts.freedom) * error
    logit_low, logit_high = _expit(place - reach), _expit(place + reach)
    weight = parts.telling / (parts.telling + PRIOR_GROUPS)
    low = min(weight * logit_low + (1 - weight) * score_low, (logit_low + score_low) / 2)
    return Interval(low, max(logit_high, score_high), method)


def unit_numbers(groups: npt.NDArray[Any] | None, count: int) -> Integers:
    """Return the number of each case's group, from 0, int64 (N,); without groups each case is its own.

    Raises:
        ValueError: There is not one group for each case.
    """
    if groups is None:
        return np.arange(count)
    if len(groups) != count:
        raise ValueError(f"one group for each of {count} cases is needed. Received: {len(groups)}")
    return np.unique(np.asarray(groups).astype(str), return_inverse=True)[1].astype(np.int64)


def auc_score_interval(auc: float, positives: float, negatives: float, quantile: float) -> tuple[float, float]:
    """Return the AUCs from which the observed one lies ``quantile`` standard errors away, by Hanley and McNeil.

    Args:
        auc: 0 to 1.
        positives: Effective number of positive cases, at least 1.
        negatives: Effective number of negative cases, at least 1.
        quantile: Of the normal distribution or Student's.

    Source:
        Newcombe 2006, Statistics in Medicine 25, 559-573, method 5.
    """
    from scipy.optimize import brentq

    pairs, middle = positives * negatives, (positives + negatives) / 2 - 1

    def excess(value: float) -> float:
        variance = value * (1 - value) / pairs
        variance *= 1 + middle * (1 - value) / (2 - value) + middle * value / (1 + value)
        return abs(auc - value) - quantile * math.sqrt(max(variance, 0.0))

    edge = 1e-12
    low = 0.0 if auc <= edge or excess(edge) <= 0 else float(brentq(excess, edge, min(auc, 1 - edge)))
    high = 1.0 if auc >= 1 - edge or excess(1 - edge) <= 0 else float(brentq(excess, max(auc, edge), 1 - edge))
    return low, high


@dataclass(frozen=True)
class _Parts:
    """What an AUC's interval is made of.

    Attributes:
        auc: The value.
        variance: DeLong's by groups; 0 where it cannot vary, nan where a class has one group.
        effective: Effective numbers of positive and negative cases, each at least 1.
        kish: Effective numbers of groups with positive and with negative cases.
        freedom: Degrees of freedom of the variance (Satterthwaite).
        pairs: Of a positive and a negative case.
        telling: Groups whose cases are not all in the right order: what the variance rests on.
        grouped: Whether any group holds more than one case.
    """

    auc: float
    variance: float
    effective: tuple[float, float]
    kish: tuple[float, float]
    freedom: float
    pairs: float
    telling: int
    grouped: bool

    @classmethod
    def of(cls, positive: Mask, scores: Floats, units: Integers) -> _Parts:
        count = int(units.max()) + 1
        of_positives, of_negatives = placements(positive, scores)
        auc = float(of_positives.mean())
        members = (units[positive], units[~positive])
        sizes = tuple(np.bincount(member, minlength=count).astype(np.float64) for member in members)
        totals = tuple(float(size.sum()) for size in sizes)
        kish = (totals[0] ** 2 / float(sizes[0] @ sizes[0]), totals[1] ** 2 / float(sizes[1] @ sizes[1]))

        def summed(values: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
            first, second = (
                np.bincount(member, value, count) / total
                for member, value, total in zip(members, values, totals, strict=True)
            )
            return first, second

        def variance_of(values: tuple[Floats, Floats], present: tuple[float, float]) -> tuple[float, float, float]:
            """Return the variance by groups of a mean of the first less a mean of the second, and its two parts."""
            first, second = summed(values)
            of_first = present[0] / (present[0] - 1) * float(first @ first) if present[0] > 1 else math.nan
            of_second = present[1] / (present[1] - 1) * float(second @ second) if present[1] > 1 else math.nan
            cross = 2 * count / (count - 1) * float(first @ second) if count > 1 else 0.0
            return of_first + of_second + cross, of_first, of_second

        present = (float((sizes[0] > 0).sum()), float((sizes[1] > 0).sum()))
        whole, *own = variance_of((of_positives - auc, of_negatives - auc), present)
        # The same of normal scores within each class: how alike the cases of a group are, also at an AUC of 1.
        normal = (_normal_scores(scores[positive]), -_normal_scores(scores[~positive]))
        shared, *by_class = variance_of(normal, kish)
        of_cases = [float(values.var()) / total for values, total in zip(normal, totals, strict=True)]
        alone = sum(of_cases)
        linear = max(shared / alone, 1.0) if alone > 0 and not math.isnan(shared) else _largest(sizes)
        effects = [
            grouped / cases if cases > 0 else math.nan for grouped, cases in zip(by_class, of_cases, strict=True)
        ]
        in_place = [
            float(values.var(ddof=1)) / total if total > 1 else 0.0
            for values, total in zip((of_positives, of_negatives), totals, strict=True)
        ]
        variance = max(whole + sum(_pooled(own, in_place, effects, sizes, kish)[0]) - sum(own), 0.0)
        # Satterthwaite's, by normal scores: at an AUC of 1 there is no other variance.
        parts, degrees = _pooled(by_class, of_cases, effects, sizes, kish)
        spread = sum(part**2 / degree for part, degree in zip(parts, degrees, strict=True))
        freedom = max(sum(parts) ** 2 / spread, 1.0) if spread > 0 else 1.0
        misplaced = (1 - of_positives, 1 - of_negatives)
        telling = min(int((part > 1e-12).sum()) for part in summed(misplaced))
        # Where every pair is in order: as if one were not, so that the bound is no worse than with one that is not.
        independent = sum(in_place)
        seen = max(whole / independent, 1.0) if independent > 0 and whole > 0 else 1.0
        telling = max(telling, 1)
        effect = (telling * seen + PRIOR_GROUPS * linear) / (telling + PRIOR_GROUPS)
        effective = (max(totals[0] / effect, 1.0), max(totals[1] / effect, 1.0))
        return cls(auc, variance, effective, kish, freedom, totals[0] * totals[1], telling, count < len(positive))


def _pooled(
    own: Sequence[float],
    in_place: Sequence[float],
    effects: Sequence[float],
    sizes: Sequence[Floats],
    kish: Sequence[float],
) -> tuple[list[float], list[float]]:
    """Return the variance by groups of each class's part of a sum of means, and its degrees of freedom.

    Each is the class's own, shrunk to what it were if the cases of its groups were as alike as those of both classes,
    and these as `PRIOR_CORRELATION` where both hardly show it.

    Args:
        own: Variance by groups of the positives' and the negatives' part.
        in_place: The same as if all cases were independent.
        effects: Design effect of normal scores within each class; nan where it is not known.
        sizes: Cases of each group of each class.
        kish: Effective number of groups of each class.
    """
    largest = [float(size @ size) / float(size.sum()) for size in sizes]
    known = [
        (groups - 1, (effect - 1) / (size - 1))
        for groups, effect, size in zip(kish, effects, largest, strict=True)
        if size > 1 and groups > 1 and not math.isnan(effect)
    ]
    weight = sum(degree for degree, _ in known)
    total = sum(degree * one for degree, one in known) + PRIOR_GROUPS * PRIOR_CORRELATION
    alike = min(max(total / (weight + PRIOR_GROUPS), 0.0), 1.0)
    variances, degrees = [], []
    for part, cases, size, groups in zip(own, in_place, largest, kish, strict=True):
        degree = max(groups - 1, 0.0)
        others = min(POOLED_GROUPS, max(weight - degree, 0.0)) if size > 1 else 0.0
        believed = cases * (1 + (size - 1) * alike)
        pooled = (degree * part + others * believed) / (degree + others) if others and not math.isnan(part) else part
        variances.append(pooled)
        degrees.append(max(degree + others, 0.5))
    return variances, degrees


def _normal_scores(scores: Floats) -> Floats:
    """Return van der Waerden's scores, centred."""
    from scipy.special import ndtri
    from scipy.stats import rankdata

    values = np.asarray(ndtri((rankdata(scores) - 0.5) / len(scores)), dtype=np.float64)
    return values - values.mean()


def _largest(sizes: tuple[Floats, ...]) -> float:
    """Return the design effect of groups whose cases are all alike."""
    return max(float(size @ size) / float(size.sum()) for size in sizes)


def _student(confidence: float, freedom: float) -> float:
    # Not by SciPy's distributions, which are as good and ten times slower.
    from scipy.special import ndtri, stdtrit

    level = 0.5 + confidence / 2
    return float(ndtri(level) if math.isinf(freedom) else stdtrit(max(freedom, 1.0), level))


def _wilson(share: float, trials: float, quantile: float) -> tuple[float, float]:
    centre = share + quantile**2 / (2 * trials)
    margin = quantile * math.sqrt(share * (1 - share) / trials + quantile**2 / (4 * trials**2))
    scale = 1 + quantile**2 / trials
    low = 0.0 if share <= 0 else max(0.0, (centre - margin) / scale)
    high = 1.0 if share >= 1 else min(1.0, (centre + margin) / scale)
    return low, high


def _expit(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value > -700 else 0.0
