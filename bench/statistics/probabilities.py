"""Trainings with class weights whose true probabilities are known: what calibration makes of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import softmax
from scipy.stats import norm

from assay.measures.calibration import CalibrationMethod, fit_calibration

AUC, FLATTENED, NEW_CASES = 0.9, 0.5, 4000
# By what stands above the column: the method, and whether it knows of the weights.
METHODS: dict[str, tuple[CalibrationMethod, bool]] = {
    "a temperature alone": ("temperature", False),
    "weights divided out": ("none", True),
    "and a temperature": ("temperature", True),
    "and scaling": ("scaling", True),
    "and isotonic": ("isotonic", True),
}


def calibration_gap(prevalence: float, cases: int, rounds: int, seed: int = 0) -> dict[str, float]:
    """Return the mean absolute gap between reported and true probability, by method.

    Args:
        prevalence: Share of positive cases.
        cases: Of the validation split.
        rounds: Trainings drawn.
        seed: Of the draws.
    """
    random = np.random.default_rng([seed, cases, round(1e4 * prevalence)])
    weights = np.array([0.5 / (1 - prevalence), 0.5 / prevalence])
    shift, gaps = tuple(np.log(weights)), dict.fromkeys(METHODS, 0.0)
    for _ in range(rounds):
        true, labels = _drawn(cases, prevalence, random)
        later, _ = _drawn(NEW_CASES, prevalence, random)
        for name, (method, known) in METHODS.items():
            found = fit_calibration(labels, _answers(true, weights), method, shift if known else ())
            reported = found.map.apply(_answers(later, weights))
            gaps[name] += float(np.abs(reported - later)[:, 1].mean()) / rounds
    return gaps


def _drawn(cases: int, prevalence: float, random: np.random.Generator) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return true probabilities (N, 2) by a binormal score, and labels with two positive cases or more."""
    distance = math.sqrt(2) * norm.ppf(AUC)
    labels = (random.random(cases) < prevalence).astype(np.int64)
    labels[:2] = 1
    odds = math.log(prevalence / (1 - prevalence)) + distance * (random.normal(size=cases) + distance * labels)
    odds -= distance**2 / 2
    return softmax(np.stack([np.zeros(cases), odds], axis=1), axis=1), labels


def _answers(true: npt.NDArray[Any], weights: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return what a network says that was trained with weights and not long enough."""
    return np.asarray(softmax(np.log(true * weights) * FLATTENED, axis=1), dtype=np.float32)
