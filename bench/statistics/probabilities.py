"""Trainings with class weights whose true probabilities are known: what calibration makes of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit, softmax
from scipy.stats import norm

from assay.config import EvaluateConfig
from assay.measures.calibration import CalibrationMethod, fit_calibration
from assay.measures.metrics import decide
from assay.measures.offsets import choose_offsets
from assay.measures.thresholds import choose_threshold

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


def missed_targets(target: float, positives: int, group_size: int, rounds: int, seed: int = 0) -> dict[str, float]:
    """Return how often the sensitivity of later cases is below the target, and what reaching it costs.

    Args:
        target: Sensitivity asked for, with 90 % confidence.
        positives: Of the validation split, and as many negatives; half of each group.
        group_size: Cases of a patient or slide, which share 40 % of their noise; 1: independent.
        rounds: Validation splits drawn.
        seed: Of the draws.
    """
    random = np.random.default_rng([seed, positives, group_size, round(1e3 * target)])
    config = EvaluateConfig(threshold="sensitivity", threshold_target=target)
    count, distance = 2 * positives, math.sqrt(2) * norm.ppf(AUC)
    positive, groups = np.arange(count) % 2 == 1, np.arange(count) // group_size
    missed, plain, promised, specificity = 0, 0, 0, 0.0
    for _ in range(rounds):
        shared = (
            random.normal(0, math.sqrt(0.4), count)[groups] if group_size > 1 else random.normal(0, 0.4**0.5, count)
        )
        scores = expit(shared + random.normal(0, math.sqrt(0.6), count) + distance * positive)
        chosen = choose_threshold(positive, scores, config, groups if group_size > 1 else None)
        promised += not chosen.note
        missed += norm.sf(logit(chosen.value) - distance) < target
        specificity += norm.cdf(logit(chosen.value)) / rounds
        highest = np.sort(scores[positive])[positives - math.ceil(target * positives)]
        plain += norm.sf(logit(highest) - distance) < target
    return {
        "plain": plain / rounds,
        "missed": missed / rounds,
        "promised": promised / rounds,
        "specificity": specificity,
    }


def offset_gains(shares: Sequence[float], cases: int, rounds: int, seed: int = 0) -> dict[str, float]:
    """Return the balanced accuracy of later cases: of the most probable class, with offsets, and at its best.

    Args:
        shares: Of the classes, which are normal clouds around the corners of a simplex.
        cases: Of the validation split.
        rounds: Validation splits drawn.
        seed: Of the draws.
    """
    random = np.random.default_rng([seed, cases, len(shares)])
    found = {"most probable": 0.0, "with offsets": 0.0, "at its best": 0.0}
    for _ in range(rounds):
        offsets = choose_offsets(*_clouds(shares, cases, random))
        labels, true = _clouds(shares, NEW_CASES, random)
        for name, values in zip(found, ((), offsets.values, tuple(-np.log(shares))), strict=True):
            decided = decide(true, None, 0, values)
            recalls = [(decided[labels == index] == index).mean() for index in np.unique(labels)]
            found[name] += float(np.mean(recalls)) / rounds
    return found


def _clouds(
    shares: Sequence[float], cases: int, random: np.random.Generator
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    labels = random.choice(len(shares), cases, p=shares)
    places = 1.7 * np.eye(len(shares))
    points = places[labels] + random.normal(size=(cases, len(shares)))
    return labels, np.asarray(softmax(points @ places.T + np.log(shares), axis=1), dtype=np.float32)


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
