"""Intervals for every number: score intervals for proportions and areas, else the bootstrap by case or by group."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.measures.clustered import clustered_auc, clustered_proportion
from assay.measures.interval import NO_INTERVAL, Interval
from assay.measures.metrics import METRICS, Scored
from assay.measures.ranking import Floats, Integers, Mask, SortedScores

# Counts in one block of resamples: 2 MiB, so that they stay in the processor's cache.
BLOCK_VALUES = 2**18
BOUNDED_BY_ONE = ("auc", "pr_auc", "balanced_accuracy", "sensitivity", "specificity", "precision", "recall", "f1")


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


def metric_intervals(
    scored: Scored,
    values: Mapping[str, float],
    samples: Mapping[str, Floats],
    resampler: Resampler,
    confidence: float = 0.95,
) -> dict[str, Interval]:
    """Return an interval for every metric of one model.

    Proportions of cases and the AUC of two classes have intervals that hold for few groups too (`clustered`);
    everything else has the bootstrap's percentiles, save one case. A value of exactly 0 or 1 does not vary under
    resampling, although it is as uncertain as any: there Wilson's interval takes its place, counting groups instead
    of cases where there are groups. How far probabilities are frequencies is no metric of cases: `recalibration`.

    Args:
        scored: The model's decisions.
        values: The metrics of the split; see `point_metrics`.
        samples: The metrics of each resample; see `bootstrap_metrics`.
        resampler: What was drawn.
        confidence: Level, such as 0.95.
    """
    intervals = {}
    among = _cases_of_proportions(scored)
    right = scored.labels == scored.predicted
    for name in METRICS:
        value = values[name]
        interval = percentile_interval(samples[name], confidence, resampler.method)
        if math.isnan(value):
            interval = NO_INTERVAL
        elif name in among:
            cases = among[name]
            groups = None if resampler.members is None else resampler.members[cases]
            interval = clustered_proportion(right[cases], groups, confidence)
        elif name == "auc" and scored.binary:
            positive = scored.labels == scored.positive_index
            scores = scored.probabilities[:, scored.positive_index]
            interval = clustered_auc(positive, scores, resampler.members, confidence)
        elif name in BOUNDED_BY_ONE and value in (0.0, 1.0):
            units = _smallest_class(scored, resampler)
            interval = wilson_interval(value * units, units, confidence)
        intervals[name] = interval
    return intervals


def _cases_of_proportions(scored: Scored) -> dict[str, Mask]:
    """Return, for each metric that is a share of right decisions, the cases among which they are counted."""
    everything = np.ones(len(scored.labels), dtype=bool)
    if not scored.binary:
        return {"accuracy": everything}
    positive = scored.labels == scored.positive_index
    return {
        "accuracy": everything,
        "sensitivity": positive,
        "recall": positive,
        "specificity": ~positive,
        "precision": scored.predicted == scored.positive_index,
    }


def _smallest_class(scored: Scored, resampler: Resampler) -> int:
    """Return the independent units (cases, or groups that hold such a case) of the class that has the fewest."""
    masks = [scored.labels == index for index in np.unique(scored.labels)]
    if resampler.members is None:
        return min(int(mask.sum()) for mask in masks)
    return min(len(np.unique(resampler.members[mask])) for mask in masks)
