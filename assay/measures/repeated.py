"""Models that were each trained from several seeds, on the same cases: their mean AUCs and how these differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.measures.clustered import unit_numbers
from assay.measures.delong import placements
from assay.measures.interval import NO_INTERVAL, Interval
from assay.measures.ranking import Floats, Integers


@dataclass(frozen=True)
class RepeatedAucs:
    """Mean AUCs of models over their seeds, with both kinds of chance that are in them.

    Attributes:
        aucs: Mean over the seeds, float64 (M,).
        images: Covariance of these means for another sample of cases, given the trainings, float64 (M, M).
        image_freedom: Degrees of freedom of that: independent units of the rarest class less 1.
        seeds: Trainings of each model, int64 (M,).
        between: Variance of trainings of one model on these very cases, pooled over the models; nan: one seed each.
        own_luck: The part of it that another sample of cases would give by itself: it is in ``images`` already.
        seed_freedom: Degrees of freedom of ``between``.
    """

    aucs: Floats
    images: Floats
    image_freedom: int
    seeds: Integers
    between: float
    own_luck: float
    seed_freedom: int

    def interval(self, model: int, confidence: float = 0.95) -> Interval:
        """Return the interval of a model's mean AUC, on the logit scale, over cases and seeds."""
        from scipy.stats import t

        contrast = np.eye(len(self.aucs))[model]
        error, freedom = self._error(contrast)
        value = float(self.aucs[model])
        if math.isnan(error):
            return NO_INTERVAL
        if error == 0 or not 0 < value < 1:
            return Interval(value, value, "none varies")
        reach = float(t.ppf(0.5 + confidence / 2, freedom)) * error / (value * (1 - value))
        place = math.log(value / (1 - value))
        low, high = (1 / (1 + math.exp(-min(max(place + sign * reach, -700.0), 700.0))) for sign in (-1, 1))
        return Interval(low, high, "images and seeds")

    def difference(self, first: int, second: int, confidence: float = 0.95, among: int = 2) -> Interval:
        """Return the interval of the first model's mean AUC less the second's.

        Args:
            first: Its number.
            second: That of the other.
            confidence: Level.
            among: Of how many models all pairs are to hold at once: all of them, where the second is the best of them
                by these very numbers. 2: this pair alone.

        Source:
            Tukey 1953; Kramer 1956: the studentised range, which for two models is Student's t.
        """
        contrast = np.eye(len(self.aucs))[first] - np.eye(len(self.aucs))[second]
        error, freedom = self._error(contrast)
        if math.isnan(error):
            return NO_INTERVAL
        gap = float(contrast @ self.aucs)
        reach = _range_quantile(confidence, max(among, 2), _rounded_down(freedom)) / math.sqrt(2) * error
        return Interval(gap - reach, gap + reach, "studentised range")

    def _error(self, contrast: Floats) -> tuple[float, float]:
        """Return a contrast's standard error, and its degrees of freedom (Satterthwaite 1946)."""
        of_images = float(contrast @ self.images @ contrast)
        share = float((contrast**2 / self.seeds).sum())
        between, own_luck = (0.0, 0.0) if math.isnan(self.between) else (self.between, self.own_luck)
        total = of_images + max(between - own_luck, 0.0) * share
        if math.isnan(total):
            return math.nan, 1.0
        if total <= 0:
            return 0.0, 1.0
        spread = of_images**2 / max(self.image_freedom, 1) + (between * share) ** 2 / max(self.seed_freedom, 1)
        return math.sqrt(total), max(total**2 / spread, 1.0)


def repeated_aucs(
    labels: Integers, scores: Sequence[npt.NDArray[Any]], groups: npt.NDArray[Any] | None = None
) -> RepeatedAucs:
    """Measure models that were trained from several seeds each.

    Two things are chance: which cases the split holds (DeLong's variance, with the covariance between models, as all
    answer for the same cases) and which seeds were tried (the variance between a model's trainings, pooled over the
    models, for two or three seeds alone tell next to nothing). A training's own luck with the cases is in both, and is
    taken off the second.

    Args:
        labels: Class indices, int64 (N,).
        scores: For each model its probabilities, float (S, N, K), from S seeds. Of two classes the AUC is that of the
            last, of more the mean over the classes of each against the rest.
        groups: Patient or slide of each case (N,); None: cases are independent.

    Returns:
        Means, covariance and variance of the seeds; nan where a class is absent.

    Source:
        DeLong et al. 1988; by groups Obuchowski 1997; two random factors as in Dietterich 1998 and Bouthillier et al.
        2021, Accounting for Variance in Machine Learning Benchmarks.
    """
    sizes = np.array([len(of_model) for of_model in scores])
    everything = np.concatenate(list(scores)).astype(np.float64)
    owner = np.repeat(np.arange(len(scores)), sizes)
    classes = [1] if everything.shape[2] == 2 else [k for k in range(everything.shape[2]) if (labels == k).sum() > 0]
    units = unit_numbers(groups, len(labels))
    count = int(units.max()) + 1
    fewest = min(len(np.unique(units[labels == k])) for k in np.unique(labels))
    models = len(scores)
    if len(np.unique(labels)) < 2 or count < 2:
        nothing = np.full(models, np.nan)
        return RepeatedAucs(nothing, np.full((models, models), np.nan), 0, sizes, math.nan, math.nan, 0)
    aucs, influence = np.zeros(len(everything)), np.zeros((len(everything), len(labels)))
    for k in classes:
        positive = labels == k
        of_positives, of_negatives = placements(positive, everything[:, :, k])
        area = of_positives.mean(axis=1)
        aucs += area / len(classes)
        influence[:, positive] += (of_positives - area[:, None]) / (positive.sum() * len(classes))
        influence[:, ~positive] += (of_negatives - area[:, None]) / ((~positive).sum() * len(classes))
    mean = np.zeros((models, len(everything)))
    mean[owner, np.arange(len(everything))] = 1 / sizes[owner]
    by_units = np.stack([np.bincount(units, row, count) for row in influence])
    # As DeLong's by classes: the scarcer one has most of the variance and loses one degree of freedom.
    of_trainings = fewest / max(fewest - 1, 1) * (by_units @ by_units.T)
    means = mean @ aucs
    freedom = int((sizes - 1).sum())
    between = own_luck = math.nan
    if freedom:
        between = float(np.square(aucs - means[owner]).sum() / freedom)
        # A sum of squares about the mean has this expectation when another sample of cases is all that varies.
        luck = np.diag(of_trainings).sum() - (np.diag(mean @ of_trainings @ mean.T) * sizes).sum()
        own_luck = float(luck / freedom)
    images = mean @ of_trainings @ mean.T
    return RepeatedAucs(means, images, fewest - 1, sizes, between, own_luck, freedom)


def _rounded_down(freedom: float) -> int:
    """Return degrees of freedom in steps, on the safe side: each quantile of the studentised range takes a second."""
    return int(freedom) if freedom < 20 else int(freedom // 10 * 10) if freedom < 120 else 120


@lru_cache(maxsize=256)
def _range_quantile(confidence: float, among: int, freedom: int) -> float:
    from scipy.stats import studentized_range, t

    if among == 2:
        return math.sqrt(2) * float(t.ppf(0.5 + confidence / 2, freedom))
    return float(studentized_range.ppf(confidence, among, freedom))
