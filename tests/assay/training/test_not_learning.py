"""Simulated runs: none that learns rare classes is stopped for learning nothing, and those on shuffled labels are."""

from __future__ import annotations

import numpy as np
import pytest

from assay.measures.ranking import SortedScores
from assay.training.callbacks import NotLearning

TRAIN, VALID, FEATURES, BATCH, STEPS, EPOCHS = 2000, 1000, 30, 32, 250, 16


def stopped_in(seed: int, prevalence: float, learnable: bool) -> int | None:
    """Train logistic regression by gradient steps; return the epoch in which the watcher stops it, from 0."""
    random = np.random.default_rng(seed)

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = random.permutation(np.arange(count) < prevalence * count)
        inputs = random.normal(size=(count, FEATURES))
        inputs[:, 0] += 1.5 * labels  # the best possible AUC is 0.86
        return inputs, labels if learnable else random.permutation(labels)

    (x, y), (valid, truth) = draw(TRAIN), draw(VALID)
    shares = np.array([1 - y.mean(), y.mean()])
    watch = NotLearning(shares, STEPS, np.ones(2), np.array([VALID - truth.sum(), truth.sum()]))
    weights, bias = random.normal(0, 0.1, FEATURES), np.log(shares[1] / shares[0])
    for epoch in range(EPOCHS):
        order = random.permutation(TRAIN)
        for start in range(0, TRAIN, BATCH):
            inputs, labels = x[order[start : start + BATCH]], y[order[start : start + BATCH]]
            predicted = 1 / (1 + np.exp(-(inputs @ weights + bias)))
            loss = -np.log(np.where(labels, predicted, 1 - predicted)).mean()
            if watch.update(float(loss), float(((predicted > 0.5) == labels).sum()), len(labels)) is not None:
                return epoch
            gradient = (predicted - labels) / len(labels)
            weights, bias = weights - 0.3 * gradient @ inputs, bias - 0.3 * gradient.sum()
        ranking = SortedScores(truth, valid @ weights)
        watch.end_epoch(ranking.auc(ranking.ones))
    return None


@pytest.mark.parametrize("prevalence", [0.02, 0.05])
def test_runs_on_rare_classes_are_told_from_runs_on_shuffled_labels(prevalence: float) -> None:
    assert [stopped_in(seed, prevalence, learnable=True) for seed in range(6)] == [None] * 6
    assert None not in [stopped_in(seed, prevalence, learnable=False) for seed in range(6)]
