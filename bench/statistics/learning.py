"""Trainings of which the truth is known: some have something to learn, and some have shuffled labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from assay.measures.ranking import roc_auc
from assay.training.callbacks import NotLearning

TRAIN, BATCH, STEPS, EPOCHS, RATE = 2000, 32, 250, 16, 0.3


@dataclass(frozen=True)
class Trainings:
    """One kind of trainings.

    Attributes:
        prevalence: Share of positive cases.
        learnable: Whether there is something to learn; else labels are shuffled.
        valid_cases: In the validation split.
        features: Of a case, one of which tells; with many of them a run learns its training cases by heart.
    """

    prevalence: float
    learnable: bool
    valid_cases: int = 1000
    features: int = 30


def stopped_in(seed: int, kind: Trainings, runs: int) -> list[int | None]:
    """Train logistic regressions by gradient steps, all at once, and have each watched.

    Args:
        seed: Of data and trainings.
        kind: Of trainings.
        runs: How many.

    Returns:
        Of each run the epoch, from 0, in which it was stopped; `EPOCHS` where it was named at its end; None where it
        was left alone.
    """
    random = np.random.default_rng(
        [seed, round(1000 * kind.prevalence), kind.learnable, kind.valid_cases, kind.features]
    )
    x, y = _drawn(random, kind, runs, TRAIN)
    valid, truth = _drawn(random, kind, runs, kind.valid_cases)
    share = y[0].mean()
    counts = np.array([(~truth[0]).sum(), truth[0].sum()])
    watches = [NotLearning(np.array([1 - share, share]), STEPS, np.ones(2), counts) for _ in range(runs)]
    ended: list[int | None] = [None] * runs
    weights = random.normal(0, 0.1, (runs, kind.features)).astype(np.float32)
    bias = np.full(runs, np.log(share / (1 - share)), np.float32)
    everyone = np.arange(runs)[:, None]
    for epoch in range(EPOCHS):
        order = random.permuted(np.tile(np.arange(TRAIN), (runs, 1)), axis=1)
        for start in range(0, TRAIN, BATCH):
            chosen = order[:, start : start + BATCH]
            inputs, labels = x[everyone, chosen], y[everyone, chosen]
            predicted = 1 / (1 + np.exp(-(np.einsum("rbf,rf->rb", inputs, weights) + bias[:, None])))
            losses = -np.log(np.maximum(np.where(labels, predicted, 1 - predicted), 1e-12)).mean(axis=1)
            right = ((predicted > 0.5) == labels).sum(axis=1)
            for run, watch in enumerate(watches):
                if ended[run] is None and watch.update(float(losses[run]), float(right[run]), chosen.shape[1]):
                    ended[run] = epoch
            gradient = (predicted - labels) / chosen.shape[1]
            weights -= RATE * np.einsum("rb,rbf->rf", gradient, inputs)
            bias -= RATE * gradient.sum(axis=1)
        scores = np.einsum("rnf,rf->rn", valid, weights)
        for run, watch in enumerate(watches):
            watch.end_epoch(roc_auc(truth[run], scores[run]))
    return [
        EPOCHS if epoch is None and watch.verdict() is not None else epoch
        for epoch, watch in zip(ended, watches, strict=True)
    ]


def _drawn(
    random: np.random.Generator, kind: Trainings, runs: int, cases: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Return inputs (R, N, F) and labels (R, N), of which the best possible AUC is 0.86."""
    labels = random.permuted(np.tile(np.arange(cases) < kind.prevalence * cases, (runs, 1)), axis=1)
    inputs = random.standard_normal((runs, cases, kind.features), dtype=np.float32)
    inputs[:, :, 0] += np.float32(1.5) * labels
    return inputs, labels if kind.learnable else random.permuted(labels, axis=1)
