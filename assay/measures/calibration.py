"""Calibration: one temperature fitted on the validation split, and the curve that shows what it did."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.measures.intervals import wilson_interval
from assay.measures.metrics import SMALLEST_PROBABILITY
from assay.measures.ranking import Integers, Mask

COLDEST, HOTTEST = 0.1, 20.0


@dataclass(frozen=True)
class Temperature:
    """What logits are divided by so that probabilities mean frequencies.

    Attributes:
        value: 1: as trained; above 1: the model was too sure.
        loss_before: Log loss of the validation split at 1.
        loss_after: The same at ``value``; never more than ``loss_before``.
        note: Why nothing was changed, where nothing was.
    """

    value: float
    loss_before: float
    loss_after: float
    note: str = ""


def apply_temperature(probabilities: npt.NDArray[Any], temperature: float) -> npt.NDArray[np.float32]:
    """Return softmax(log(p) / temperature), which equals dividing the logits by the temperature.

    Args:
        probabilities: (N, K) float, rows sum to 1.
        temperature: Above 0; more than 1 makes the model less sure.

    Returns:
        (N, K) float32.

    Source:
        Guo et al. 2017, On Calibration of Modern Neural Networks.
    """
    if temperature == 1.0:
        return np.asarray(probabilities, dtype=np.float32)
    logits = np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), SMALLEST_PROBABILITY)) / temperature
    scaled = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (scaled / scaled.sum(axis=1, keepdims=True)).astype(np.float32)


def fit_temperature(labels: Integers, probabilities: npt.NDArray[Any]) -> Temperature:
    """Find the temperature with the least log loss.

    Args:
        labels: Class indices of the validation split, int64 (N,).
        probabilities: The model's, uncalibrated, float (N, K).

    Returns:
        The temperature; 1 where no other lessens the log loss, or where the split cannot tell (every case right, so
        that the loss falls without end as probabilities grow).

    Source:
        Guo et al. 2017, On Calibration of Modern Neural Networks.
    """
    from scipy.optimize import minimize_scalar

    logits = np.log(np.maximum(probabilities.astype(np.float64), SMALLEST_PROBABILITY))
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        scaled = logits / math.exp(log_temperature)
        top = scaled.max(axis=1)
        total = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))
        return float(np.mean(total - scaled[rows, labels]))

    before = loss(0.0)
    found = minimize_scalar(
        loss, bounds=(math.log(COLDEST), math.log(HOTTEST)), method="bounded", options={"xatol": 1e-4}
    )
    value, after = math.exp(float(found.x)), float(found.fun)
    if after >= before:
        return Temperature(1.0, before, before, "no temperature lessens the log loss of the validation split")
    if value < COLDEST * 1.01:
        return Temperature(1.0, before, before, "the validation split sets no limit to the temperature")
    return Temperature(value, before, after)


@dataclass(frozen=True)
class ReliabilityBin:
    """Cases of nearly equal probability: what was claimed, and how often it came true (Wilson's interval)."""

    claimed: float
    observed: float
    low: float
    high: float
    count: int


def reliability_curve(
    happened: Mask, claimed: npt.NDArray[Any], bins: int = 10, confidence: float = 0.95
) -> list[ReliabilityBin]:
    """Return what came true against what was claimed, in bins of equally many cases.

    Args:
        happened: Whether the event took place, bool (N,).
        claimed: Its probability according to the model, float (N,).
        bins: At most so many; fewer where cases are few or probabilities tied.
        confidence: Level of the intervals, which take the cases as independent.

    Returns:
        The bins that hold cases, in ascending order.
    """
    claimed = np.asarray(claimed, dtype=np.float64)
    bins = max(1, min(bins, len(claimed) // 10))
    edges = np.unique(np.quantile(claimed, np.linspace(0, 1, bins + 1)[1:-1]))
    of_bin = np.searchsorted(edges, claimed, side="right")
    curve = []
    for index in range(len(edges) + 1):
        members = of_bin == index
        count = int(members.sum())
        if count:
            observed = int(happened[members].sum())
            interval = wilson_interval(observed, count, confidence)
            curve.append(
                ReliabilityBin(float(claimed[members].mean()), observed / count, interval.low, interval.high, count)
            )
    return curve
