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

    A resample is given as the rows drawn or as counts: how often each case was drawn. All sums are of integers, so
    the AUC is exact up to its one division, ties included.

    For the AUC, the cases in ascending order fall into segments: a run of negatives and the run of positives that
    follows it, or the cases of both classes that share one score. Only sums over segments are needed, and there
    are far fewer segments than cases.

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
        if positive.shape != scores.shape or scores.ndim != 1 or len(scores) == 0:
            raise ValueError(f"one score for each case is needed. Received: {positive.shape} and {scores.shape}")
        self.positive = positive
        order = np.argsort(scores, kind="stable")
        self._set_segments(positive, scores, order)
        # From the highest score down, with the last row of each run of equal scores.
        self._descending = order[::-1]
        descending = scores[self._descending]
        self._ends = np.flatnonzero(np.append(descending[1:] != descending[:-1], True))
        self._positive_descending = positive[self._descending]
        self.thresholds: Floats = descending[self._ends].astype(np.float64)

    def _set_segments(self, positive: Mask, scores: npt.NDArray[Any], order: Integers) -> None:
        ascending = scores[order]
        of_score = np.append(0, np.cumsum(ascending[1:] != ascending[:-1]))
        total = np.bincount(of_score)
        positives = np.bincount(of_score, positive[order]).astype(np.int64)
        mixed = (positives > 0) & (positives < total)
        falls = (positives[1:] == 0) & (positives[:-1] > 0)
        begins = np.append(True, falls | mixed[1:] | mixed[:-1])
        of_segment = np.cumsum(begins) - 1
        # Where a row's count is summed: its segment's negatives (even) or positives (odd).
        self._cell = np.empty(len(order), dtype=np.int64)
        self._cell[order] = 2 * of_segment[of_score] + positive[order]
        self._cells = 2 * (int(of_segment[-1]) + 1)
        self._mixed = of_segment[mixed]

    @property
    def ones(self) -> Integers:
        """The counts that draw each case once: the split itself."""
        return np.ones(len(self.positive), dtype=np.int64)

    def auc(self, counts: Integers) -> float:
        """Return the area under the ROC curve of a resample; nan where it lacks a class.

        Args:
            counts: How often each case was drawn, int64 (N,).
        """
        return self._auc(np.bincount(self._cell, counts, self._cells))

    def auc_of_rows(self, rows: Integers) -> float:
        """Return the same of a resample given as the rows drawn, int64 (N,), in any order: twice as fast."""
        return self._auc(np.bincount(self._cell.take(rows), minlength=self._cells))

    def _auc(self, cells: npt.NDArray[Any]) -> float:
        negatives, positives = cells[::2], cells[1::2]
        below = np.cumsum(negatives)
        pairs = int(positives.sum()) * int(below[-1])
        if pairs == 0:
            return float("nan")
        in_order = int(positives @ below)
        if not len(self._mixed):
            return in_order / pairs
        return (2 * in_order - int(positives.take(self._mixed) @ negatives.take(self._mixed))) / 2 / pairs

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
