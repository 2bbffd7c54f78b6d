"""Calibration: what the training objective did to the prior is taken off, the rest is fitted on validation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from assay.measures.intervals import wilson_interval
from assay.measures.metrics import SMALLEST_PROBABILITY
from assay.measures.ranking import Floats, Integers, Mask

CalibrationMethod = Literal["none", "temperature", "scaling", "isotonic"]
COLDEST, HOTTEST = 0.1, 20.0
# Of scaling. A network that has hardly begun to learn gives log odds a hundredth of what they should be.
FLATTEST, STEEPEST = 0.05, 100.0
# Of more than two classes: with fewer cases in one of them, all share a slope.
FEWEST_FOR_OWN_SLOPE = 50
# Below this a curve without a form follows chance: Niculescu-Mizil and Caruana 2005.
FEWEST_FOR_ISOTONIC = 1000

Curve = tuple[tuple[float, float], ...]


class Calibration(BaseModel):
    """From a network's probabilities to frequencies; every step is the identity where its field is empty.

    First ``prior_shift`` is subtracted from the logarithms of the probabilities. Then these are multiplied by
    ``slopes`` and ``intercepts`` added, or each class's log odds go through its curve. The result sums to 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    prior_shift: tuple[float, ...] = Field(
        (), description="of each class the log of the factor by which the training objective multiplied its odds"
    )
    method: CalibrationMethod = Field("none", description="what was fitted on the validation split")
    slopes: tuple[float, ...] = Field((), description="of each class; 1 over the temperature")
    intercepts: tuple[float, ...] = Field((), description="of each class")
    curves: tuple[Curve, ...] = Field(
        (), description="of each class the corners (log odds, log odds); straight between, slope 1 beyond"
    )

    @property
    def classes(self) -> set[int]:
        """How many classes the fields that are not empty are for: one number, or none."""
        return {len(values) for values in (self.prior_shift, self.slopes, self.intercepts, self.curves) if values}

    @property
    def is_identity(self) -> bool:
        """Whether nothing is changed."""
        return not self.classes

    def apply(self, probabilities: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return calibrated probabilities.

        Args:
            probabilities: The network's own, (N, K) float, rows sum to 1.

        Returns:
            (N, K) float32.
        """
        if self.is_identity:
            return np.asarray(probabilities, dtype=np.float32)
        logs = without_shift(probabilities, self.prior_shift)
        if self.curves:
            odds = _log_odds(logs)
            logs = np.stack([_log_sigmoid(_along(curve, odds[:, k])) for k, curve in enumerate(self.curves)], axis=1)
        if self.slopes:
            logs = logs * np.array(self.slopes)
        if self.intercepts:
            logs = logs + np.array(self.intercepts)
        return np.exp(_normalised(logs)).astype(np.float32)


@dataclass(frozen=True)
class FittedCalibration:
    """A calibration and what it did to the split it was fitted on.

    Attributes:
        map: From the network's probabilities to those reported.
        loss_before: Log loss of the validation split with the prior's shift taken off and nothing fitted.
        loss_after: The same with what was fitted; never more than ``loss_before``.
        note: What a reader must know, such as why nothing was fitted; empty where there is nothing.
        at_bound: Which parameters ended at a bound, in words.
    """

    map: Calibration
    loss_before: float
    loss_after: float
    note: str = ""
    at_bound: tuple[str, ...] = ()


def fit_calibration(
    labels: Integers,
    probabilities: npt.NDArray[Any],
    method: CalibrationMethod = "scaling",
    prior_shift: Sequence[float] = (),
) -> FittedCalibration:
    """Take off what the training objective added to the classes' log odds and fit the rest.

    - ``temperature``: one slope for all log probabilities; it cannot mend a prior.
    - ``scaling``: a slope and an intercept of the log odds (Platt's); of more than two classes an intercept each, and
      a slope each where every class has 50 cases (vector scaling), else one for all. The targets are Laplace's
      estimates and not 0 and 1, so that a split without mistakes sets finite limits.
    - ``isotonic``: of each class against the rest the rising curve of least squares, straight between the centres of
      its steps: cases keep their order, which steps would tie.

    Args:
        labels: Class indices of the validation split, int64 (N,).
        probabilities: The network's own, float (N, K).
        method: What to fit; ``none``: nothing.
        prior_shift: `assay.training.metrics.prior_shift` of the training, float (K,); empty: none.

    Returns:
        The calibration; nothing is fitted where that would not lessen the log loss.

    Source:
        Platt 1999, Probabilities for SV Machines; Guo et al. 2017, On Calibration of Modern Neural Networks (vector
        scaling); Zadrozny and Elkan 2002 (isotonic, one against the rest); Oron and Flournoy 2017, Centered Isotonic
        Regression. The shift: Saerens, Latinne and Decaestecker 2002, Adjusting the Outputs of a Classifier.
    """
    shift = tuple(float(value) for value in prior_shift)
    start = Calibration(prior_shift=shift)
    logs = without_shift(probabilities, shift)
    before = _loss(labels, logs)
    if method == "none":
        return FittedCalibration(start, before, before, "nothing was fitted (evaluate.calibration is none)")
    if len(np.unique(labels)) < 2:
        return FittedCalibration(start, before, before, "the validation split holds one class, so nothing was fitted")
    note, at_bound = "", tuple[str, ...]()
    if method == "temperature":
        found, note, at_bound = _fit_temperature(labels, logs)
    elif method == "scaling":
        found, at_bound = _fit_scaling(labels, logs)
    else:
        found = Calibration(curves=tuple(_isotonic(labels == k, odds) for k, odds in enumerate(_log_odds(logs).T)))
        if len(labels) < FEWEST_FOR_ISOTONIC:
            note = f"a curve from {len(labels):,} cases follows chance as well: scaling needs fewer"
    found = found.model_copy(update={"prior_shift": shift, "method": method})
    after = _loss(labels, np.log(np.maximum(found.apply(probabilities).astype(np.float64), SMALLEST_PROBABILITY)))
    if found.classes and after < before:
        return FittedCalibration(found, before, after, note, at_bound)
    return FittedCalibration(start, before, before, note or f"no {method} lessens the log loss of the validation split")


def without_shift(probabilities: npt.NDArray[Any], prior_shift: Sequence[float]) -> Floats:
    """Return log probabilities (N, K) with the odds of each class divided by exp of its shift; rows sum to 1."""
    logs = np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), SMALLEST_PROBABILITY))
    return _normalised(logs - np.array(prior_shift)) if len(prior_shift) else logs


def _fit_temperature(labels: Integers, logs: Floats) -> tuple[Calibration, str, tuple[str, ...]]:
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda log_temperature: _loss(labels, _normalised(logs / math.exp(log_temperature))),
        bounds=(math.log(COLDEST), math.log(HOTTEST)),
        method="bounded",
        options={"xatol": 1e-4},
    )
    value = math.exp(float(found.x))
    if value < COLDEST * 1.01:
        return Calibration(), "the validation split sets no limit to the temperature, so nothing was fitted", ()
    at_bound = (f"the temperature is at its upper bound of {HOTTEST:g}",) if value > 0.98 * HOTTEST else ()
    return Calibration(slopes=(1 / value,) * logs.shape[1]), "", at_bound


def _fit_scaling(labels: Integers, logs: Floats) -> tuple[Calibration, tuple[str, ...]]:
    """Return slopes and intercepts with the least log loss against Laplace's targets."""
    from scipy.optimize import minimize
    from scipy.special import softmax

    count, classes = logs.shape
    sizes = np.bincount(labels, minlength=classes)
    own = classes > 2 and sizes.min() >= FEWEST_FOR_OWN_SLOPE
    # The unit of slope is the spread of the scores, or a hundredth and a hundred were equally far for the optimizer.
    middle, spread = logs.mean(axis=0), max(float(logs.std()), 1e-6)
    scores = (logs - middle) / spread
    targets = np.repeat(1 / (sizes[labels] + classes)[:, None], classes, axis=1)
    targets[np.arange(count), labels] *= sizes[labels] + 1

    def split(values: Floats) -> tuple[Floats, Floats]:
        slopes, free = np.split(values, [classes if own else 1])
        # All intercepts may be moved alike without a change: the first class has none.
        return np.broadcast_to(slopes, classes), np.append(0.0, free)

    def loss(values: Floats) -> tuple[float, Floats]:
        slopes, intercepts = split(values)
        fitted = scores * slopes + intercepts
        top = fitted.max(axis=1)
        total = top + np.log(np.exp(fitted - top[:, None]).sum(axis=1))
        gradient = (softmax(fitted, axis=1) - targets) / count
        of_slopes = (gradient * scores).sum(axis=0)
        parts = [of_slopes if own else of_slopes.sum(keepdims=True), gradient.sum(axis=0)[1:]]
        return float((total - (targets * fitted).sum(axis=1)).mean()), np.concatenate(parts)

    slopes_wanted = classes if own else 1
    start = np.concatenate([np.full(slopes_wanted, spread), middle[1:] - middle[0]])
    bounds = [(FLATTEST * spread, STEEPEST * spread)] * slopes_wanted + [(None, None)] * (classes - 1)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500, "gtol": 1e-7})
    slopes, intercepts = split(found.x)
    slopes = slopes / spread
    intercepts = intercepts - slopes * middle
    shown = slopes if own else slopes[:1]
    at_bound = [f"a slope is at its lower bound of {FLATTEST:g}"] * bool((shown < 1.01 * FLATTEST).any())
    at_bound += [f"a slope is at its upper bound of {STEEPEST:g}"] * bool((shown > 0.99 * STEEPEST).any())
    fitted = Calibration(slopes=tuple(slopes.tolist()), intercepts=tuple((intercepts - intercepts[0]).tolist()))
    return fitted, tuple(at_bound)


def _isotonic(happened: Mask, odds: Floats) -> Curve:
    """Return the corners of the centred isotonic regression, in log odds on both axes."""
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression().fit_transform(odds, happened.astype(np.float64))
    levels, block = np.unique(fitted, return_inverse=True)
    sizes = np.bincount(block)
    centres = np.bincount(block, odds) / sizes
    # No step of a few cases may claim that something never or always happens.
    low, high = 0.5 / (sizes[0] + 1), 1 - 0.5 / (sizes[-1] + 1)
    if len(levels) > 1:
        low, high = min(low, levels[1] / 2), max(high, (1 + levels[-2]) / 2)
    levels = np.clip(levels, low, high)
    corners = zip(centres.tolist(), (np.log(levels) - np.log1p(-levels)).tolist(), strict=True)
    return tuple((x, y) for x, y in corners)


def _along(curve: Curve, values: Floats) -> Floats:
    at, to = np.array(curve).T
    inside = np.clip(values, at[0], at[-1])
    return np.asarray(np.interp(inside, at, to) + (values - inside), dtype=np.float64)


def _log_odds(logs: Floats) -> Floats:
    """Return log odds (N, K) of each class against the rest, from log probabilities."""
    if logs.shape[1] == 2:
        # Of two classes exactly, however near to 1 a probability is.
        return logs - logs[:, ::-1]
    rest = np.log(np.maximum(-np.expm1(np.minimum(logs, 0.0)), SMALLEST_PROBABILITY))
    return np.asarray(logs - rest, dtype=np.float64)


def _log_sigmoid(values: Floats) -> Floats:
    return np.asarray(-np.logaddexp(0.0, -values), dtype=np.float64)


def _normalised(logs: Floats) -> Floats:
    from scipy.special import log_softmax

    return np.asarray(log_softmax(logs, axis=1), dtype=np.float64)


def _loss(labels: Integers, logs: Floats) -> float:
    return float(-_normalised(logs)[np.arange(len(labels)), labels].mean())


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
