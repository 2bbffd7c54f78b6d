"""The decision threshold, chosen on the validation split and never on the test split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.config import EvaluateConfig
from assay.measures.ranking import Integers, Mask, SortedScores

DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True)
class Threshold:
    """A probability at or above which a case is called positive.

    Attributes:
        value: 0 to 1.
        rule: By which it was chosen; ``fixed`` where it was given or nothing else could be done.
        sensitivity: On the split it was chosen on; nan without positives.
        specificity: Likewise; nan without negatives.
        note: What a reader must know, such as a target that cannot be met; empty where there is nothing.
    """

    value: float
    rule: str
    sensitivity: float
    specificity: float
    note: str = ""


def choose_threshold(positive: Mask, scores: npt.NDArray[Any], config: EvaluateConfig) -> Threshold:
    """Choose the threshold by the config's rule.

    Thresholds lie halfway between neighbouring scores, so that rounding changes no decision, and are numbers of
    float32, in which probabilities are compared. Of thresholds that are equally good the one nearest to 0.5 is taken.

    Args:
        positive: Which cases of the validation split are positive, bool (N,).
        scores: Their probabilities, calibrated if the model's will be, float (N,).
        config: ``threshold``, ``threshold_target`` and ``threshold_value``.

    Returns:
        The threshold; where the split holds one class only, 0.5 with a note.

    Source:
        Youden 1950: sensitivity + specificity - 1.
    """
    rule = config.threshold
    scores = np.asarray(scores, dtype=np.float32)
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if rule == "fixed":
        return _achieved(positive, scores, config.threshold_value, "fixed")
    if positives == 0 or negatives == 0:
        note = f"the validation split holds one class only, so {rule} cannot choose; {DEFAULT_THRESHOLD} is used"
        return _achieved(positive, scores, DEFAULT_THRESHOLD, "fixed", note)
    ranking = SortedScores(positive, scores)
    found, false_alarms = ranking.curve()
    thresholds, found, false_alarms = _halfway(ranking.thresholds.astype(np.float32), found, false_alarms)
    sensitivity, specificity = found / positives, 1 - false_alarms / negatives
    note = ""
    if rule == "sensitivity":
        met = sensitivity >= config.threshold_target
        # Calling everything positive meets any target. Of those that meet it, the one with fewest false alarms.
        gain = np.where(met, specificity, -1.0)
    elif rule == "specificity":
        met = specificity >= config.threshold_target
        gain = np.where(met, sensitivity, -1.0)
        if not met.any():
            gain = specificity
            note = (
                f"no threshold reaches specificity {config.threshold_target:g} on the validation split, "
                "whose top scores are negative cases; the most specific one is used"
            )
    elif rule == "accuracy":
        gain = (found + negatives - false_alarms) / (positives + negatives)
    elif rule == "f1":
        gain = 2 * found / np.maximum(found + false_alarms + positives, 1)
    else:
        gain = sensitivity + specificity - 1
    best = np.flatnonzero(gain >= gain.max() - 1e-12)
    chosen = best[np.argmin(np.abs(thresholds[best] - DEFAULT_THRESHOLD))]
    return _achieved(positive, scores, float(thresholds[chosen]), rule, note)


def _halfway(
    scores: npt.NDArray[Any], found: Integers, alarms: Integers
) -> tuple[npt.NDArray[Any], Integers, Integers]:
    """Return thresholds between descending distinct scores, and one above them all where there is room below 1."""
    lower = np.append(scores[1:], np.float32(0))
    thresholds = (scores + lower) / 2
    # Between neighbours in float32 there is nothing: then the upper one is the threshold.
    thresholds = np.where(thresholds > lower, thresholds, scores)
    if scores[0] < 1:
        above = (1 + scores[0]) / 2
        thresholds = np.append(above if above > scores[0] else np.float32(1), thresholds)
        found, alarms = np.append(0, found), np.append(0, alarms)
    return thresholds, found, alarms


def _achieved(positive: Mask, scores: npt.NDArray[Any], value: float, rule: str, note: str = "") -> Threshold:
    called = scores >= value
    sensitivity = float(called[positive].mean()) if positive.any() else float("nan")
    specificity = float((~called[~positive]).mean()) if (~positive).any() else float("nan")
    return Threshold(value, rule, sensitivity, specificity, note)
