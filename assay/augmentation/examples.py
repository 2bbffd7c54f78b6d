"""Which images stand for a split: as many of each class as can be."""

from __future__ import annotations

import numpy as np


def choose_examples(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Choose images evenly from the classes.

    Args:
        labels: Class indices (N,).
        count: How many in all.
        seed: Of the run.

    Returns:
        Positions int64 (K,), the classes in turn; K is ``count``, or N where there are fewer.
    """
    shuffled = np.random.default_rng([seed, len(labels)]).permutation(len(labels))
    mixed = labels[shuffled]
    # The n-th image of each class comes before any (n+1)-th.
    turn = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(mixed):
        turn[mixed == label] = np.arange((mixed == label).sum())
    return shuffled[np.lexsort((mixed, turn))][:count]
