"""Sweeps and ablations in which nothing differs: how often something is called worse or better."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import expit
from scipy.stats import norm

from assay.ablation.run import compare
from assay.config import Policy
from assay.measures.repeated import repeated_aucs

AUC = 0.9
# Of a training's separation of the classes, in standard deviations of the scores; an AUC of .9 moves by some .012.
SEED_SPREAD = 0.09
# What all trainings find hard or easy about an image, and what each finds by itself.
SHARED = 0.7
# Eight operations, none of which does anything here.
POLICY = Policy(
    rotation_range=10,
    quarter_turns=True,
    width_shift_range=0.1,
    shear_range=5,
    zoom_range=0.1,
    brightness_range=(0.9, 1.1),
    horizontal_flip=True,
    vertical_flip=True,
)


def sweep_calls(rows: int, seeds: int, images: int, rounds: int, seed: int = 0) -> dict[str, float]:
    """Return how intervals do in sweeps of rows that are all alike.

    Args:
        rows: Of the sweep.
        seeds: Trainings of each row.
        images: Of the validation split, half of them positive.
        rounds: Sweeps drawn.
        seed: Of the draws.

    Returns:
        ``pair``: share of the intervals of one fixed pair that hold 0. ``any``: share of sweeps where at least one row
        is called worse than the best.
    """
    random = np.random.default_rng([seed, rows, seeds, images])
    labels = np.arange(images) % 2
    pair = called = 0
    for _ in range(rounds):
        distance = math.sqrt(2) * norm.ppf(AUC) + SEED_SPREAD * random.normal(size=(rows, seeds, 1))
        own = math.sqrt(1 - SHARED) * random.normal(size=(rows, seeds, images))
        points = expit(distance * labels + math.sqrt(SHARED) * random.normal(size=images) + own)
        found = repeated_aucs(labels, list(np.stack([1 - points, points], axis=-1)))
        first = found.difference(0, 1)
        pair += first.low <= 0 <= first.high
        best = int(found.aucs.argmax())
        called += any(found.difference(row, best, among=rows).high < 0 for row in range(rows) if row != best)
    return {"pair": pair / rounds, "any": called / rounds}


def policy_changes(seeds: int, rounds: int, seed: int = 0) -> float:
    """Return how often an ablation of eight operations that do nothing changes the policy.

    Args:
        seeds: Of the ablation.
        rounds: Ablations drawn.
        seed: Of the draws.
    """
    random = np.random.default_rng([seed, seeds])
    changed = 0
    for _ in range(rounds):
        of_seed = 0.01 * random.normal(size=seeds)
        result = compare(POLICY, seeds, lambda policy, name, repeat: AUC + of_seed[repeat] + 0.01 * random.normal())  # noqa: B023
        changed += result.recommended != POLICY
    return changed / rounds
