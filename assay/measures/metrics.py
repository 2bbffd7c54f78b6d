"""What is measured of a classifier: one definition of each metric, for a split and for every resample of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.measures.ranking import Floats, Integers, SortedScores

SMALLEST_PROBABILITY = 1e-15


@dataclass(frozen=True)
class Metric:
    """One metric: its name for readers, which way is better, and what it says."""

    title: str
    higher_is_better: bool
    meaning: str
    meaning_of_many: str = ""


METRICS: dict[str, Metric] = {
    "auc": Metric(
        "AUC",
        True,
        "chance that a positive image scores above a negative one",
        "area under the ROC curve of each class against the rest, averaged over classes",
    ),
    "pr_auc": Metric(
        "PR AUC",
        True,
        "average precision over all recalls; compare with the share of positives",
        "average precision of each class against the rest, averaged over classes",
    ),
    "accuracy": Metric("Accuracy", True, "share of decisions that are right"),
    "balanced_accuracy": Metric("Balanced accuracy", True, "mean of the classes' recalls"),
    "sensitivity": Metric("Sensitivity", True, "share of positives that are found", "mean of the classes' recalls"),
    "specificity": Metric(
        "Specificity", True, "share of negatives left alone", "mean over classes of the share of others left alone"
    ),
    "precision": Metric(
        "Precision", True, "share of positive calls that are right", "mean over classes of the share of right calls"
    ),
    "recall": Metric("Recall", True, "the same as sensitivity", "mean of the classes' recalls"),
    "f1": Metric("F1", True, "harmonic mean of precision and recall", "mean of the classes' F1"),
    "brier": Metric(
        "Brier score", False, "mean squared error of the probability", "squared error summed over classes, mean"
    ),
    "log_loss": Metric("Log loss", False, "mean negative log of the probability given to the truth"),
}


@dataclass(frozen=True)
class Scored:
    """What one model said of the cases of a split; every metric derives from it.

    Args:
        labels: True class indices, int64 (N,).
        probabilities: float (N, K), rows sum to 1.
        predicted: Decided class indices, int64 (N,).
        positive_index: The class to detect where there are two; ignored where there are more.
    """

    labels: Integers
    probabilities: npt.NDArray[Any]
    predicted: Integers
    positive_index: int = 1

    def __post_init__(self) -> None:
        count, classes = self.probabilities.shape
        if classes < 2 or self.labels.shape != (count,) or self.predicted.shape != (count,) or count == 0:
            raise ValueError(
                "metrics need at least one case, two classes and one label and one decision for each row of "
                f"probabilities. Received: {self.labels.shape}, {self.predicted.shape}, {self.probabilities.shape}"
            )
        if not np.isfinite(self.probabilities).all():
            raise ValueError(f"{int((~np.isfinite(self.probabilities)).any(axis=1).sum())} rows hold no probabilities")

    @property
    def binary(self) -> bool:
        """Whether there are two classes, one of which is to be detected."""
        return self.probabilities.shape[1] == 2

    @cached_property
    def rankings(self) -> list[SortedScores]:
        """The sorted scores of the positive class, or of each class against the rest."""
        of = [self.positive_index] if self.binary else range(self.probabilities.shape[1])
        return [SortedScores(self.labels == index, self.probabilities[:, index]) for index in of]

    @cached_property
    def _features(self) -> Any:
        """Sparse (F, N): what each case adds to the sums from which all metrics but the areas follow.

        Rows: true class (K), decided class (K), decided rightly (K), squared error, log loss.
        """
        from scipy import sparse

        count, classes = self.probabilities.shape
        probabilities = self.probabilities.astype(np.float64)
        rows = np.arange(count)
        right = self.labels == self.predicted
        of_truth = probabilities[rows, self.labels]
        log_loss = -np.log(np.clip(of_truth, SMALLEST_PROBABILITY, 1.0))
        if self.binary:
            claimed = probabilities[:, self.positive_index]
            happened = self.labels == self.positive_index
            squared = (claimed - happened) ** 2
        else:
            squared = np.square(probabilities).sum(axis=1) - 2 * of_truth + 1
        ones = np.ones(count)
        values = [ones, ones, right.astype(np.float64), squared, log_loss]
        at = [
            self.labels,
            classes + self.predicted,
            2 * classes + self.labels,
            np.full(count, 3 * classes),
            np.full(count, 3 * classes + 1),
        ]
        return sparse.csr_array(
            (np.concatenate(values), (np.concatenate(at), np.tile(rows, len(at)))),
            shape=(3 * classes + 2, count),
        )

    def resampled(self, counts: Integers) -> dict[str, Floats]:
        """Return every metric of each of several resamples; nan where a resample leaves it undefined.

        Args:
            counts: How often each case was drawn in each resample, int64 (R, N).

        Returns:
            For each name of ``METRICS`` float64 (R,).
        """
        classes = self.probabilities.shape[1]
        sums = np.asarray(self._features @ counts.T.astype(np.float64))
        truth, called, hits = sums[:classes].T, sums[classes : 2 * classes].T, sums[2 * classes : 3 * classes].T
        total = truth.sum(axis=1)
        values = _decision_metrics(truth, called, hits, self.positive_index if self.binary else None)
        values["brier"] = sums[3 * classes] / total
        values["log_loss"] = sums[3 * classes + 1] / total
        values["auc"] = _mean_defined(np.array([[ranking.auc(row) for ranking in self.rankings] for row in counts]))
        values["pr_auc"] = _mean_defined(
            np.array([[ranking.average_precision(row) for ranking in self.rankings] for row in counts])
        )
        return {name: values[name] for name in METRICS}


@dataclass(frozen=True)
class PointMetrics:
    """The metrics of one model on one split.

    Attributes:
        values: Every name of ``METRICS``; nan where the split leaves it undefined.
        undefined: For each such name, why.
    """

    values: dict[str, float]
    undefined: dict[str, str]


def point_metrics(scored: Scored) -> PointMetrics:
    """Return every metric of a model on a split, with the reason for each that is undefined there."""
    ones = np.ones((1, len(scored.labels)), dtype=np.int64)
    values = {name: float(value[0]) for name, value in scored.resampled(ones).items()}
    missing = sorted(set(range(scored.probabilities.shape[1])) - set(scored.labels.tolist()))
    undefined = {name: _reason(name, scored, missing) for name, value in values.items() if math.isnan(value)}
    return PointMetrics(values, undefined)


def _reason(name: str, scored: Scored, missing: Sequence[int]) -> str:
    if name == "precision" and not (scored.predicted == scored.positive_index).any():
        return "no case was called positive"
    if scored.binary and missing:
        return "the split holds no " + ("positive" if missing[0] == scored.positive_index else "negative") + " case"
    return "the split holds one class only"


def _decision_metrics(truth: Floats, called: Floats, hits: Floats, positive_index: int | None) -> dict[str, Floats]:
    """Return what follows from counts of decisions.

    Args:
        truth: Cases of each class, (R, K).
        called: Decisions for each class, (R, K).
        hits: Right decisions for each class, (R, K).
        positive_index: The class to detect; None: average over the classes.

    A class that is never called has precision nan of its own; in the average over classes it counts 0, as in
    scikit-learn. Classes that a resample lacks are left out of the averages.
    """
    total = truth.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        recall = hits / truth
        specificity = (total - truth - called + hits) / (total - truth)
        precision = hits / called
        f1 = 2 * hits / (truth + called)
    values = {"accuracy": hits.sum(axis=1) / total[:, 0], "balanced_accuracy": _mean_defined(recall)}
    if positive_index is not None:
        # Balanced accuracy of two classes needs both: the recall of one alone would flatter or damn.
        values["balanced_accuracy"] = recall.mean(axis=1)
        for name, of in {"sensitivity": recall, "specificity": specificity, "precision": precision, "f1": f1}.items():
            values[name] = of[:, positive_index]
    else:
        present = truth > 0
        precision = np.where(called > 0, precision, 0.0)
        for name, of in {"sensitivity": recall, "specificity": specificity, "precision": precision, "f1": f1}.items():
            values[name] = _mean_defined(np.where(present, of, np.nan))
    values["recall"] = values["sensitivity"]
    return values


def _mean_defined(values: Floats) -> Floats:
    """Return the mean over the columns (R, K) -> (R,) of what is not nan; nan where nothing is defined."""
    defined = ~np.isnan(values)
    count = defined.sum(axis=1)
    return np.where(count > 0, np.where(defined, values, 0.0).sum(axis=1) / np.maximum(count, 1), np.nan)


def confusion_matrix(labels: Integers, predicted: Integers, num_classes: int) -> Integers:
    """Return counts (K, K): rows are the true classes, columns the decided ones."""
    return np.bincount(labels * num_classes + predicted, minlength=num_classes**2).reshape(num_classes, num_classes)


def decide(
    probabilities: npt.NDArray[Any], threshold: float | None, positive_index: int, offsets: Sequence[float] = ()
) -> Integers:
    """Return decided class indices (N,): positive at the threshold or above, or the most probable class.

    Args:
        probabilities: (N, K).
        threshold: Of the positive class, where there are two; None: the most probable class.
        positive_index: The class to detect.
        offsets: Of more than two classes, what is added to their log probabilities before (K,); empty: nothing.
    """
    if probabilities.shape[1] != 2 or threshold is None:
        weighed = probabilities * np.exp(np.asarray(offsets)) if len(offsets) else probabilities
        return weighed.argmax(axis=1).astype(np.int64)
    positive = probabilities[:, positive_index] >= threshold
    return np.where(positive, positive_index, 1 - positive_index).astype(np.int64)


def per_class_table(scored: Scored, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row a class: support, decisions, and the metrics of that class against the rest (nan: undefined)."""
    matrix = confusion_matrix(scored.labels, scored.predicted, len(classes)).astype(np.float64)
    truth, called, hits = matrix.sum(axis=1)[None], matrix.sum(axis=0)[None], np.diag(matrix)[None]
    rows = []
    for index, name in enumerate(classes):
        values = _decision_metrics(
            np.array([[truth.sum() - truth[0, index], truth[0, index]]]),
            np.array([[called.sum() - called[0, index], called[0, index]]]),
            np.array([[truth.sum() - truth[0, index] - called[0, index] + hits[0, index], hits[0, index]]]),
            1,
        )
        ranking = SortedScores(scored.labels == index, scored.probabilities[:, index])
        row: dict[str, Any] = {"class": name, "images": int(truth[0, index]), "called": int(called[0, index])}
        row["auc"] = ranking.auc(ranking.ones)
        row["pr_auc"] = ranking.average_precision(ranking.ones)
        row |= {key: float(values[key][0]) for key in ("sensitivity", "specificity", "precision", "f1")}
        rows.append(row)
    return rows
