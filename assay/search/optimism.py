"""By how much the best trial's score flatters: it is the highest of many, on images that all of them were judged on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from assay.measures.selection import auc_noise, selection_optimism
from assay.search.results import TrialRow

if TYPE_CHECKING:
    from assay.data.dataset import Dataset


def search_optimism(rows: Sequence[TrialRow], objective: str, dataset: Dataset) -> float | None:
    """Return the optimism of a search's best score, estimated from the scores of its trials.

    A configuration that was continued counts once, with its last score. Of the noise only an upper bound is known,
    since trials share their images: the estimate is rather too large than too small.

    Args:
        rows: The trials.
        objective: ``val_auc`` or ``val_accuracy``; of a loss nothing is said.
        dataset: Whose validation split the trials were judged on.

    Returns:
        In units of the score; None with fewer than two scores, or where the noise is not known.
    """
    continued = {row.continues for row in rows}
    scores = [row.score for row in rows if row.completed and row.score is not None and row.trial not in continued]
    best = max((row.score for row in rows if row.completed and row.score is not None), default=None)
    if best is None or len(scores) < 2:
        return None
    # A trial that went on may have been the best before it did.
    scores = scores if best in scores else [*scores, best]
    noise = _noise(float(np.median(scores)), objective, dataset)
    return None if math.isnan(noise) else selection_optimism(scores, noise)


def _noise(score: float, objective: str, dataset: Dataset) -> float:
    """Return the standard error of one score on the validation split, with groups as its units."""
    valid = dataset.valid
    labels, column = np.asarray(valid.labels), dataset.group_column
    units = valid.records[column].astype(str).to_numpy() if column in valid.records else np.arange(len(labels))

    def count(mask: np.ndarray) -> int:
        return len(np.unique(units[mask]))

    if objective == "val_accuracy":
        return math.sqrt(max(score * (1 - score), 0.0) / len(np.unique(units)))
    if objective != "val_auc":
        return float("nan")
    classes = [dataset.positive_index] if dataset.num_classes == 2 else range(dataset.num_classes)
    errors = [auc_noise(score, count(labels == index), count(labels != index)) for index in classes]
    # A mean over classes; the classes' errors count as independent.
    return math.sqrt(sum(error**2 for error in errors)) / len(errors)
