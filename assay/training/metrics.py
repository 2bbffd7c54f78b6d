"""What a run is scored by: the factor of each class in the loss, and the metrics of the validation split."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from assay.config import TrainConfig
from assay.measures.ranking import SortedScores

Array = npt.NDArray[Any]


def class_weights(config: TrainConfig, counts: Array) -> npt.NDArray[np.float64]:
    """Return the factor of each class in the loss: 1, or total / (classes * count) where balance is asked for."""
    if config.class_weights == "none":
        return np.ones(len(counts))
    return counts.sum() / (len(counts) * np.maximum(counts, 1))


def prior_shift(config: TrainConfig, counts: Array) -> tuple[float, ...]:
    """Return what the training objective adds to the log odds of each class (K,); empty where it adds nothing.

    The network with the least loss gives probabilities in proportion to the factor in the loss times the true
    probability: the objective moves the prior by a known amount, and `assay.measures.calibration` takes it off.
    Whatever else of the objective moves the prior belongs here.

    Args:
        config: Of the training.
        counts: Training cases of each class, int (K,).
    """
    if config.class_weights == "none":
        return ()
    return tuple(float(value) for value in np.log(class_weights(config, counts)))


def validation_metrics(labels: Array, probabilities: Array) -> dict[str, float]:
    """Return loss, accuracy and AUC of predictions, exact over the whole split.

    Args:
        labels: Class indices (N,).
        probabilities: (N, K).

    Returns:
        ``loss`` (cross-entropy), ``accuracy`` (of the most probable class) and ``auc`` (of more than two
        classes: the mean over classes of each against the rest).
    """
    # Keras's own limit inside its losses.
    of_truth = np.clip(probabilities[np.arange(len(labels)), labels].astype(np.float64), keras.backend.epsilon(), 1.0)
    classes = [1] if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    rankings = [SortedScores(labels == index, probabilities[:, index]) for index in classes]
    areas = [area for area in (ranking.auc(ranking.ones) for ranking in rankings) if not math.isnan(area)]
    return {
        "loss": float(-np.log(of_truth).mean()),
        "accuracy": float((probabilities.argmax(axis=1) == labels).mean()),
        "auc": float(np.mean(areas)) if areas else math.nan,
    }
