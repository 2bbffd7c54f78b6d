"""Trainings of which the truth is known: some have something to learn, and some have shuffled labels."""

from __future__ import annotations

import numpy as np

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
