"""Decisions among several classes: offsets of the log probabilities, chosen on the validation split."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from assay.measures.metrics import Scored, decide, point_metrics
from assay.measures.ranking import Integers

DecisionMetric = Literal["balanced_accuracy", "f1"]
# How much of the prior is taken off: 1 is right for balanced accuracy where probabilities are frequencies.
STEPS = np.linspace(0.0, 1.5, 31)


@dataclass(frozen=True)
class ClassOffsets:
    """What is added to the log probability of each class before the highest is decided.

    Attributes:
        values: Of each class, 0 for the most frequent one; empty: the most probable class is decided.
        metric: By which they were chosen; empty: by none.
        before: Its value on the validation split for the most probable class.
        after: The same with the offsets; never less than ``before``.
    """

    values: tuple[float, ...] = ()
    metric: str = ""
    before: float = math.nan
    after: float = math.nan


def choose_offsets(
    labels: Integers, probabilities: npt.NDArray[Any], metric: DecisionMetric = "balanced_accuracy"
) -> ClassOffsets:
    """Choose how much of the classes' prior decisions leave out, by a metric that counts rare classes as much.

    A network that is sure of frequencies decides for a rare class next to never, and its recall suffers. All offsets
    are one multiple of the negative log share of the class: one number is chosen, so that few cases of a class are
    enough.

    Args:
        labels: Class indices of the validation split, int64 (N,).
        probabilities: Calibrated, float (N, K), K at least 3.
        metric: ``balanced_accuracy`` (the mean recall) or ``f1`` (the mean F1).

    Returns:
        The offsets; none where no multiple gains anything, and then the most probable class is decided.

    Source:
        Menon et al. 2021, Long-tail Learning via Logit Adjustment (post-hoc, with the multiple tuned); Collell, Prelec
        and Patil 2018, Neurocomputing 275.
    """
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    # A class that the split lacks counts as one case: nothing is known of how rare it is.
    rarity = np.log(counts.max() / np.maximum(counts, 1))
    values = []
    for step in STEPS:
        predicted = decide(probabilities, None, 0, tuple(step * rarity))
        values.append(point_metrics(Scored(labels, probabilities, predicted)).values[metric])
    # Of equal ones the first: nearest to the most probable class.
    best = int(np.argmax(np.array(values) > max(values) - 1e-12))
    if best == 0 or rarity.max() == 0:
        return ClassOffsets((), metric, values[0], values[0])
    return ClassOffsets(tuple((STEPS[best] * rarity).tolist()), metric, values[0], values[best])
