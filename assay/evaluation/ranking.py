"""Areas under curves by counting: scores are sorted once, and any resample of the cases is then a matter of sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class SortedScores:
    """Scores of the cases of a split, sorted, so that each resample costs a few passes and no sorting.

    A resample is given as counts: how often each case was drawn. All sums are of integers, so the AUC is exact
    up to its one division, ties included.

    Args:
        positive: Which cases are of the class to detect, bool (N,).
        scores: Higher means more likely positive, float (N,).

    Source:
        Mann and Whitney 1947: the AUC is the share of pairs of a positive and a negative case that are in the
        right order, ties counting half.
    """

    def __init__(self, positive: Mask, scores: npt.NDArray[Any]) -> None:
        positive = np.asarray(positive, dtype=bool)
        scores = np.asarray(scores)
        if positive.shape != scores.shape or scores.ndim != 1:
            raise ValueError(f"one score for each case is needed. Received: {positive.shape} and {scores.shape}")
        self.positive = positive
        order = np.argsort(scores, kind="stable")
        positive_rows = order[positive[order]]
        self._negative_rows = order[~positive[order]]
        negative_scores, positive_scores = scores[self._negative_rows], scores[positive_rows]
        # For each positive case: how many negative ones stand below it, and how many below or beside it.
        self._below = np.searchsorted(negative_scores, positive_scores, side="left")
        self._beside = np.searchsorted(negative_scores, positive_scores, side="right")
        self._tied = not np.array_equal(self._below, self._beside)
        self._positive_rows = positive_rows
        # From the highest score down, with the last row of each run of equal scores.
        self._descending = order[::-1]
        descending = scores[self._descending]
        self._ends = np.flatnonzero(np.append(descending[1:] != descending[:-1], True))
        self._positive_descending = positive[self._descending]
        self.thresholds: Floats = descending[self._ends].astype(np.float64)
        self._cumulative = np.zeros(len(self._negative_rows) + 1, dtype=np.int64)

    @property
    def ones(self) -> Integers:
        """The counts that draw each case once: the split itself."""
        return np.ones(len(self.positive), dtype=np.int64)

    def auc(self, counts: Integers) -> float:
        """Return the area under the ROC curve of a resample; nan where it lacks a class.

        Args:
            counts: How often each case was drawn, int64 (N,).
        """
        positives = counts.take(self._positive_rows)
        np.cumsum(counts.take(self._negative_rows), out=self._cumulative[1:])
        pairs = int(positives.sum()) * int(self._cumulative[-1])
        if pairs == 0:
            return float("nan")
        if not self._tied:
            return int(positives @ self._cumulative.take(self._below)) / pairs
        below = self._cumulative.take(self._below)
        below += self._cumulative.take(self._beside)
        return int(positives @ below) / 2 / pairs

    def average_precision(self, counts: Integers) -> float:
        """Return the area under the precision-recall curve of a resample (no interpolation); nan without positives.

        Args:
            counts: How often each case was drawn, int64 (N,).
        """
        hits, called = self._cumulative_calls(counts)
        if hits[-1] == 0:
            return float("nan")
        gained = np.diff(hits, prepend=0)
        return float(np.sum(gained * (hits / np.maximum(called, 1)))) / float(hits[-1])

    def curve(self, counts: Integers | None = None) -> tuple[Integers, Integers]:
        """Return, for each of ``thresholds``, how many positive and how many negative cases lie at or above it.

        Args:
            counts: How often each case was drawn, int64 (N,); None: once.

        Returns:
            True and false positives, int64 (T,) each, from the highest threshold down.
        """
        hits, called = self._cumulative_calls(self.ones if counts is None else counts)
        return hits, called - hits

    def _cumulative_calls(self, counts: Integers) -> tuple[Integers, Integers]:
        drawn = counts.take(self._descending)
        called = np.cumsum(drawn)
        drawn *= self._positive_descending
        hits = np.cumsum(drawn)
        if len(self._ends) == len(drawn):
            return hits, called
        return hits.take(self._ends), called.take(self._ends)


def roc_auc(positive: Mask, scores: npt.NDArray[Any]) -> float:
    """Return the area under the ROC curve, ties counting half; nan where a class is absent.

    Args:
        positive: bool (N,).
        scores: float (N,).
    """
    ranking = SortedScores(positive, scores)
    return ranking.auc(ranking.ones)


def average_precision(positive: Mask, scores: npt.NDArray[Any]) -> float:
    """Return the area under the precision-recall curve: precision summed over steps of recall; nan without positives.

    Args:
        positive: bool (N,).
        scores: float (N,).
    """
    ranking = SortedScores(positive, scores)
    return ranking.average_precision(ranking.ones)
