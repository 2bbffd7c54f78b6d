"""Intervals for every number: the bootstrap by case or by group, and score intervals where it cannot speak."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from assay.measures.metrics import METRICS, Scored
from assay.measures.ranking import Floats, Integers, Mask, SortedScores

# Counts in one block of resamples: 2 MiB, so that they stay in the processor's cache.
BLOCK_VALUES = 2**18
PROPORTIONS = ("accuracy", "sensitivity", "specificity", "precision", "recall")
BOUNDED_BY_ONE = ("auc", "pr_auc", "balanced_accuracy", "f1", *PROPORTIONS)


@dataclass(frozen=True)
class Interval:
    """A confidence interval.

    Attributes:
        low: Lower end; nan where no interval can be given.
        high: Upper end.
        method: bootstrap, group bootstrap, wilson, newcombe, or none.
    """

    low: float
    high: float
    method: str

    @property
    def defined(self) -> bool:
        """Whether there is an interval at all."""
        return not (math.isnan(self.low) or math.isnan(self.high))


class Resampler:
    """Draws resamples of a split: cases, or whole groups of them where cases of a group are alike.

    Several models are compared on the same draws, and the same seed gives the same draws.

    Args:
        count: Cases in the split.
        groups: The group (patient, slide) of each case (N,); None: every case stands for itself.
        resamples: How many to draw.
        seed: Of the draws.
    """

    def __init__(
        self, count: int, groups: npt.NDArray[Any] | None = None, resamples: int = 2000, seed: int = 0
    ) -> None:
        self.count = count
        self.resamples = resamples
        self.seed = seed
        self.members: Integers | None = None
        self.units = count
        if groups is not None:
            if len(groups) != count:
                raise ValueError(f"one group for each of {count} cases is needed. Received: {len(groups)}")
            members = np.unique(np.asarray(groups).astype(str), return_inverse=True)[1].astype(np.int64)
            units = int(members.max()) + 1
            # One group says nothing of the variation between groups, and groups of one are cases.
            if 1 < units < count:
                self.members, self.units = members, units
                self._by_group = np.argsort(members, kind="stable")
                self._sizes = np.bincount(members)
                self._starts = np.cumsum(self._sizes) - self._sizes

    @property
    def grouped(self) -> bool:
        """Whether whole groups are drawn."""
        return self.members is not None

    @property
    def method(self) -> str:
        """What to call the intervals."""
        return "group bootstrap" if self.grouped else "bootstrap"

    def draws(self) -> Iterator[Integers]:
        """Yield each resample as the rows drawn, int64, in no order; with groups their number varies."""
        generator = np.random.PCG64(np.random.SeedSequence([self.seed, 1]))
        for _ in range(self.resamples):
            units = _draw(generator, self.units)
            yield units if self.members is None else self._rows_of(units)

    def blocks(self) -> Iterator[Integers]:
        """Yield the same resamples several at a time, as counts of each case, int64 (B, N)."""
        size = max(1, BLOCK_VALUES // self.count)
        draws = self.draws()
        while block := [np.bincount(rows, minlength=self.count) for rows in itertools.islice(draws, size)]:
            yield np.stack(block)

    def _rows_of(self, groups: Integers) -> Integers:
        sizes = self._sizes.take(groups)
        ends = np.cumsum(sizes)
        offsets = np.repeat(self._starts.take(groups) - (ends - sizes), sizes)
        offsets += np.arange(len(offsets))
        return self._by_group.take(offsets)


def _draw(generator: np.random.BitGenerator, count: int) -> Integers:
    """Return ``count`` draws with replacement from 0..count-1, in half the time of ``Generator.integers``.

    A 32-bit number is scaled instead of rejected, so that chances differ from equal by at most count / 2**32.
    """
    raw = generator.random_raw((count + 1) // 2).view(np.uint32)[:count]
    scaled = np.multiply(raw, count, dtype=np.uint64)
    scaled >>= np.uint64(32)
    return scaled.view(np.int64)


def bootstrap_auc(positive: Mask, scores: npt.NDArray[Any], resampler: Resampler) -> Floats:
    """Return the AUC of each resample, for one model or for several on the same draws.

    Args:
        positive: bool (N,).
        scores: float (N,) or, for M models, (M, N).
        resampler: What to draw.

    Returns:
        float64 (R,) or (M, R); nan where a resample lacks a class.
    """
    scores = np.asarray(scores)
    rankings = [SortedScores(positive, row) for row in np.atleast_2d(scores)]
    # From the rows drawn, not from counts of them: nothing else is asked of these resamples.
    values = np.array([[ranking.auc_of_rows(rows) for ranking in rankings] for rows in resampler.draws()])
    return values[:, 0] if scores.ndim == 1 else np.ascontiguousarray(values.T)


def bootstrap_metrics(models: Mapping[str, Scored], resampler: Resampler) -> dict[str, dict[str, Floats]]:
    """Return every metric of every model on the same resamples, in one pass.

    Args:
        models: What each said of the same cases in the same order.
        resampler: What to draw.

    Returns:
        For each model and each name of ``METRICS`` float64 (R,); nan where a resample leaves it undefined.
    """
    parts: dict[str, list[dict[str, Floats]]] = {name: [] for name in models}
    for block in resampler.blocks():
        for name, scored in models.items():
            parts[name].append(scored.resampled(block))
    return {
        name: {metric: np.concatenate([part[metric] for part in blocks]) for metric in METRICS}
        for name, blocks in parts.items()
    }


def percentile_interval(samples: Floats, confidence: float, method: str = "bootstrap") -> Interval:
    """Return the percentile interval of bootstrap samples.

    Resamples that left the metric undefined are set aside; where they are half or more there is no interval.

    Args:
        samples: float (R,), nan where undefined.
        confidence: Level, such as 0.95.
        method: What to call it.
    """
    defined = samples[~np.isnan(samples)]
    if len(defined) <= len(samples) / 2:
        return Interval(float("nan"), float("nan"), "none")
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Interval(float(low), float(high), method)


def wilson_interval(successes: float, trials: float, confidence: float = 0.95) -> Interval:
    """Return Wilson's score interval of a proportion; it stays sensible at 0 and at 1.

    Args:
        successes: 0 to ``trials``.
        trials: Independent cases; 0 gives no interval.
        confidence: Level, such as 0.95.

    Source:
        Wilson 1927; Newcombe 1998, Statistics in Medicine 17, method 3.
    """
    if trials <= 0:
        return Interval(float("nan"), float("nan"), "none")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / trials
    centre = share + z**2 / (2 * trials)
    margin = z * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    scale = 1 + z**2 / trials
    low = 0.0 if successes <= 0 else max(0.0, (centre - margin) / scale)
    high = 1.0 if successes >= trials else min(1.0, (centre + margin) / scale)
    return Interval(low, high, "wilson")


def newcombe_auc_interval(auc: float, positives: int, negatives: int, confidence: float = 0.95) -> Interval:
    """Return a score interval of an AUC, for where the bootstrap cannot vary: an AUC of exactly 0 or 1.

    The ends are the values at which the observed AUC lies z standard errors away, by Hanley and McNeil's variance.

    Args:
        auc: 0 to 1.
        positives: Independent positive cases (groups of them).
        negatives: Independent negative cases (groups of them).
        confidence: Level, such as 0.95.

    Source:
        Newcombe 2006, Statistics in Medicine 25, 559-573, method 5.
    """
    from scipy.optimize import brentq

    if positives < 1 or negatives < 1 or math.isnan(auc):
        return Interval(float("nan"), float("nan"), "none")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    pairs, middle = positives * negatives, (positives + negatives) / 2 - 1

    def excess(value: float) -> float:
        variance = value * (1 - value) / pairs
        variance *= 1 + middle * (1 - value) / (2 - value) + middle * value / (1 + value)
        return abs(auc - value) - z * math.sqrt(max(variance, 0.0))

    edge = 1e-12
    low = 0.0 if auc <= edge else float(brentq(excess, edge, auc - edge)) if excess(edge) > 0 else 0.0
    high = 1.0 if auc >= 1 - edge else float(brentq(excess, auc + edge, 1 - edge)) if excess(1 - edge) > 0 else 1.0
    return Interval(low, high, "newcombe")


def metric_intervals(
    scored: Scored,
    values: Mapping[str, float],
    samples: Mapping[str, Floats],
    resampler: Resampler,
    confidence: float = 0.95,
    proportions: Literal["bootstrap", "wilson"] = "bootstrap",
) -> dict[str, Interval]:
    """Return an interval for every metric of one model.

    The bootstrap's percentiles, save three cases. The calibration error is biased upwards by resampling, so its
    percentiles are reflected at the value (the basic bootstrap). A value of exactly 0 or 1 does not vary under
    resampling, although it is as uncertain as any: there a score interval takes its place, counting groups instead
    of cases where there are groups. And proportions may be asked for as Wilson intervals, where cases are independent.

    Args:
        scored: The model's decisions.
        values: The metrics of the split; see `point_metrics`.
        samples: The metrics of each resample; see `bootstrap_metrics`.
        resampler: What was drawn.
        confidence: Level, such as 0.95.
        proportions: How accuracy, sensitivity, specificity, precision and recall are given for two classes.
    """
    intervals = {}
    units = _units_of_decisions(scored, resampler)
    for name in METRICS:
        interval = percentile_interval(samples[name], confidence, resampler.method)
        value = values[name]
        if math.isnan(value):
            interval = Interval(float("nan"), float("nan"), "none")
        elif name == "ece" and interval.defined:
            # Resampling adds noise to every bin, and absolute values make it a bias: turn the percentiles round.
            low, high = max(0.0, 2 * value - interval.high), max(value, 2 * value - interval.low)
            interval = Interval(low, high, interval.method)
        elif name in PROPORTIONS and proportions == "wilson" and scored.binary and not resampler.grouped:
            interval = wilson_interval(value * units[name], units[name], confidence)
        elif name in BOUNDED_BY_ONE and value in (0.0, 1.0):
            if name == "auc":
                interval = newcombe_auc_interval(value, units["positives"], units["negatives"], confidence)
            else:
                trials = units.get(name, min(units["positives"], units["negatives"]))
                interval = wilson_interval(value * trials, trials, confidence)
        intervals[name] = interval
    return intervals


def _units_of_decisions(scored: Scored, resampler: Resampler) -> dict[str, int]:
    """Return the number of independent units (cases, or groups that hold such a case) behind each proportion."""

    def units(mask: Mask) -> int:
        return int(mask.sum()) if resampler.members is None else len(np.unique(resampler.members[mask]))

    everything = np.ones(len(scored.labels), dtype=bool)
    if not scored.binary:
        smallest = min(units(scored.labels == index) for index in np.unique(scored.labels))
        others = units(everything)
        counts = {"positives": smallest, "negatives": max(others - smallest, 0), "accuracy": others}
        return counts | dict.fromkeys(PROPORTIONS[1:], smallest)
    positive = scored.labels == scored.positive_index
    called = scored.predicted == scored.positive_index
    return {
        "positives": units(positive),
        "negatives": units(~positive),
        "accuracy": units(everything),
        "sensitivity": units(positive),
        "recall": units(positive),
        "specificity": units(~positive),
        "precision": units(called),
    }
