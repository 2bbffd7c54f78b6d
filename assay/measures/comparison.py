"""Is one model better than another? Paired differences on the same cases, with intervals and p-values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from assay.measures.delong import delong, two_sided_p, upper_tail
from assay.measures.interval import Interval
from assay.measures.intervals import Resampler, percentile_interval
from assay.measures.metrics import METRICS, Scored, point_metrics
from assay.measures.ranking import Floats, Mask


def mcnemar(
    first_right: Mask,
    second_right: Mask,
    groups: npt.NDArray[Any] | None = None,
    alternative: Literal["two-sided", "greater"] = "two-sided",
) -> float:
    """Return the p-value of equal accuracy on the same cases.

    Exact (binomial) where cases are independent. With groups, a score test on the groups' sums of differences; for
    groups of one it is McNemar's chi-square.

    Args:
        first_right: Which decisions of the first model are right, bool (N,).
        second_right: The same of the second.
        groups: Patient or slide of each case (N,); None: cases are independent.
        alternative: Whether the first may be better or worse, or is asked to be better.

    Source:
        McNemar 1947; for groups, Obuchowski 1998, Statistics in Medicine 17.
    """
    from scipy.stats import binomtest

    gains, losses = first_right & ~second_right, second_right & ~first_right
    if not (gains.any() or losses.any()):
        return 1.0
    if groups is None:
        won, lost = int(gains.sum()), int(losses.sum())
        return float(binomtest(won, won + lost, 0.5, alternative).pvalue)
    units = np.unique(np.asarray(groups).astype(str), return_inverse=True)[1]
    sums = np.bincount(units, gains.astype(np.float64) - losses)
    gained, error = float(sums.sum()), float(np.sqrt(np.square(sums).sum()))
    return two_sided_p(gained, error) if alternative == "two-sided" else upper_tail(gained / error)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for being several, in the order given; nan stays nan and does not count.

    Source:
        Holm 1979, Scandinavian Journal of Statistics 6.
    """
    values = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(len(values), np.nan)
    defined = np.flatnonzero(~np.isnan(values))
    running = 0.0
    for step, index in enumerate(defined[np.argsort(values[defined], kind="stable")]):
        running = max(running, min(1.0, float(values[index]) * (len(defined) - step)))
        adjusted[index] = running
    return adjusted.tolist()


@dataclass(frozen=True)
class PairedDifference:
    """How much better one model is than another in one metric, on the same cases.

    Attributes:
        metric: A name of ``METRICS``.
        difference: Better is positive: for errors such as ``brier`` the sign is turned.
        interval: Of the same test as the p-values; of McNemar's percentiles of the paired bootstrap.
        p_value: Two-sided, of no difference: DeLong for auc, McNemar (with a margin a paired t) for accuracy, else the
            paired bootstrap.
        p_better: One-sided, of being better by no more than ``margin``.
        margin: In units of the metric.
        test: What gave the p-values.
    """

    metric: str
    difference: float
    interval: Interval
    p_value: float
    p_better: float
    margin: float
    test: str


def compare_samples(
    first: Scored,
    second: Scored,
    metric: str,
    first_samples: Floats,
    second_samples: Floats,
    resampler: Resampler,
    groups: npt.NDArray[Any] | None = None,
    confidence: float = 0.95,
    margin: float = 0.0,
) -> PairedDifference:
    """Compare two models on the same cases in one metric, bootstrapped before on the same draws.

    Args:
        first: The challenger.
        second: The one to beat; same labels in the same order.
        metric: A name of ``METRICS``.
        first_samples: The metric of the first on each resample, float64 (R,); see `bootstrap_metrics`.
        second_samples: That of the second, likewise.
        resampler: What was drawn.
        groups: Patient or slide of each case (N,); None: cases are independent.
        confidence: Level of the interval.
        margin: For ``p_better``: the least gain that matters, in units of the metric.

    Returns:
        The difference, first minus second; nan where either is undefined.

    Raises:
        ValueError: The two were not scored on the same cases.
    """
    if not np.array_equal(first.labels, second.labels):
        raise ValueError("a paired comparison needs the same cases in the same order")
    sign = 1.0 if METRICS[metric].higher_is_better else -1.0
    difference = sign * (point_metrics(first).values[metric] - point_metrics(second).values[metric])
    samples = sign * (first_samples - second_samples)
    interval = percentile_interval(samples, confidence, f"paired {resampler.method}")
    within = groups if resampler.grouped else None
    p_value, test = _bootstrap_p(samples), f"paired {resampler.method}"
    p_better = _one_sided_bootstrap_p(samples, margin)
    if metric == "auc" and first.binary:
        scores = np.stack([model.probabilities[:, model.positive_index] for model in (first, second)])
        errors = delong(first.labels == first.positive_index, scores, within)
        gap, error = errors.difference(0, 1)
        if not math.isnan(error):
            test = "DeLong" if within is None else "DeLong by groups"
            p_value, p_better, interval = _by_student(gap, error, errors.freedom, confidence, margin, test)
    elif metric == "accuracy":
        right = [model.labels == model.predicted for model in (first, second)]
        if margin == 0:
            p_value, test = mcnemar(right[0], right[1], within), "McNemar" if within is None else "McNemar by groups"
            p_better = mcnemar(right[0], right[1], within, "greater")
        else:
            # McNemar's test knows no margin.
            test = "paired t" if within is None else "paired t by groups"
            error, freedom = _error_of_mean(right[0].astype(np.float64) - right[1], within)
            p_value, p_better, interval = _by_student(difference, error, freedom, confidence, margin, test)
    return PairedDifference(metric, difference, interval, p_value, p_better, margin, test)


def _by_student(
    gap: float, error: float, freedom: float, confidence: float, margin: float, test: str
) -> tuple[float, float, Interval]:
    """Return two-sided p-value, one-sided one of a margin, and the interval, all from one standard error."""
    from scipy.stats import norm, t

    if error < 1e-12:
        return two_sided_p(gap, error), float(gap <= margin), Interval(gap, gap, test)
    level = 0.5 + confidence / 2
    reach = error * float(norm.ppf(level) if math.isinf(freedom) else t.ppf(level, freedom))
    interval = Interval(max(-1.0, gap - reach), min(1.0, gap + reach), test)
    return two_sided_p(gap, error, freedom), upper_tail((gap - margin) / error, freedom), interval


def _error_of_mean(values: Floats, groups: npt.NDArray[Any] | None) -> tuple[float, float]:
    """Return the standard error of a mean over cases, by groups where there are, and its degrees of freedom."""
    units = np.arange(len(values)) if groups is None else np.unique(groups.astype(str), return_inverse=True)[1]
    count = int(units.max()) + 1
    if count < 2:
        return 0.0, 1.0
    sums = np.bincount(units, values - values.mean())
    return math.sqrt(count / (count - 1) * float(sums @ sums)) / len(values), count - 1


def _one_sided_bootstrap_p(samples: Floats, margin: float) -> float:
    defined = samples[~np.isnan(samples)]
    if not len(defined):
        return float("nan")
    return float((np.sum(defined <= margin) + 1) / (len(defined) + 1))


def _bootstrap_p(samples: Floats) -> float:
    defined = samples[~np.isnan(samples)]
    if not len(defined):
        return float("nan")
    below, above = np.sum(defined <= 0), np.sum(defined >= 0)
    return float(min(1.0, 2 * (min(below, above) + 1) / (len(defined) + 1)))
