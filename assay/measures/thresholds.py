"""The decision threshold, chosen on the validation split and never on the test split."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.config import EvaluateConfig
from assay.measures.clustered import effective_cases
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
        bound: Lower confidence bound of the share that has a target; nan without a target.
        chance: That the threshold meets the target on later cases; nan without a target.
    """

    value: float
    rule: str
    sensitivity: float
    specificity: float
    note: str = ""
    bound: float = math.nan
    chance: float = math.nan


def choose_threshold(
    positive: Mask, scores: npt.NDArray[Any], config: EvaluateConfig, groups: npt.NDArray[Any] | None = None
) -> Threshold:
    """Choose the threshold by the config's rule.

    Thresholds lie halfway between neighbouring scores, so that rounding changes no decision, and are numbers of
    float32, in which probabilities are compared. Of thresholds that are equally good the one nearest to 0.5 is taken.

    Args:
        positive: Which cases of the validation split are positive, bool (N,).
        scores: Their probabilities, calibrated if the model's will be, float (N,).
        config: ``threshold``, ``threshold_target``, ``threshold_confidence`` and ``threshold_value``.
        groups: Patient or slide of each case (N,); None: cases are independent.

    A target is met on later cases, not on these alone: of the thresholds whose lower confidence bound reaches it the
    one is taken that costs the least. A threshold whose share of these cases reaches it misses it half the time.

    Returns:
        The threshold; where the split holds one class only, 0.5 with a note.

    Source:
        Youden 1950: sensitivity + specificity - 1. The bound of a score chosen by its rank is that of Clopper and
        Pearson 1934 exactly: Wilks 1941, Annals of Mathematical Statistics 12 (tolerance limits).
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
    if rule in ("sensitivity", "specificity"):
        return _for_target(positive, scores, thresholds, config, groups)
    if rule == "accuracy":
        gain = (found + negatives - false_alarms) / (positives + negatives)
    elif rule == "f1":
        gain = 2 * found / np.maximum(found + false_alarms + positives, 1)
    else:
        gain = sensitivity + specificity - 1
    best = np.flatnonzero(gain >= gain.max() - 1e-12)
    chosen = best[np.argmin(np.abs(thresholds[best] - DEFAULT_THRESHOLD))]
    return _achieved(positive, scores, float(thresholds[chosen]), rule)


def lower_bound(successes: Mask, groups: npt.NDArray[Any] | None = None, confidence: float = 0.9) -> float:
    """Return a lower confidence bound of a proportion.

    Args:
        successes: bool (N,), at least one.
        groups: Patient or slide of each case (N,); None: cases are independent.
        confidence: One-sided.

    Returns:
        Clopper and Pearson's exact bound; where a group holds several cases for the effective number of cases and
        with Student's t.

    Source:
        Clopper and Pearson 1934; with groups Korn and Graubard 1998, Survey Methodology 24. Not Wilson's: of its two
        ends the one away from 1/2 is right too rarely alone (Cai 2005).
    """
    from scipy.stats import beta

    hits, cases = _hits_and_cases(successes, groups, confidence)
    return float(beta.ppf(1 - confidence, hits, cases - hits + 1)) if hits else 0.0


def chance_of(target: float, successes: Mask, groups: npt.NDArray[Any] | None = None) -> float:
    """Return the confidence at which `lower_bound` is the target.

    Args:
        target: Of the proportion, 0 to 1.
        successes: bool (N,), at least one.
        groups: Patient or slide of each case (N,); None: cases are independent.
    """
    from scipy.optimize import brentq

    low, high = 1e-4, 1 - 1e-4

    def beyond(confidence: float) -> float:
        return lower_bound(successes, groups, confidence) - target

    if beyond(low) <= 0:
        return 0.0
    return 1.0 if beyond(high) >= 0 else float(brentq(beyond, low, high, xtol=1e-6))


def _hits_and_cases(successes: Mask, groups: npt.NDArray[Any] | None, confidence: float) -> tuple[float, float]:
    """Return successes and cases, with groups the effective ones, fewer where groups are few for their variance."""
    from scipy.stats import norm, t

    hits, count = int(successes.sum()), len(successes)
    if groups is None or len(np.unique(groups)) == count:
        return hits, count
    effective, kish = effective_cases(successes, groups)
    tail = max(confidence, 1 - confidence, 0.51)
    effective *= float(norm.ppf(tail) / t.ppf(tail, max(kish - 1, 1.0))) ** 2
    return hits / count * effective, effective


def _for_target(
    positive: Mask,
    scores: npt.NDArray[Any],
    thresholds: npt.NDArray[Any],
    config: EvaluateConfig,
    groups: npt.NDArray[Any] | None,
) -> Threshold:
    """Return the cheapest threshold whose lower bound reaches the target, or the most careful one with a note."""
    rule, target, confidence = config.threshold, config.threshold_target, config.threshold_confidence
    of_class = positive if rule == "sensitivity" else ~positive
    mine, members = scores[of_class], None if groups is None else np.asarray(groups)[of_class]

    def right(threshold: float) -> Mask:
        return mine >= threshold if rule == "sensitivity" else mine < threshold

    # From the threshold that is surest of the target to the least sure one.
    ordered = np.sort(thresholds) if rule == "sensitivity" else np.sort(thresholds)[::-1]
    ranked = np.sort(mine)
    shares = np.searchsorted(ranked, ordered, side="left") / len(mine)
    shares = 1 - shares if rule == "sensitivity" else shares
    # The first has the most cases right. From there bounds fall, with groups not always: up to the first that fails.
    wanted, known = -1, dict[float, bool]()
    for index, (threshold, share) in enumerate(zip(ordered.tolist(), shares.tolist(), strict=True)):
        if share < target:
            break
        if share not in known:
            known[share] = lower_bound(right(threshold), members, confidence) >= target
        if not known[share]:
            break
        wanted = index
    note = ""
    if wanted < 0:
        # All right that can be: of those thresholds the one that costs the least.
        wanted = int(np.flatnonzero(shares >= shares[0] - 1e-12)[-1])
    same = np.flatnonzero(np.abs(shares - shares[wanted]) < 1e-12)
    value = float(ordered[_cheapest(ordered[same], same, positive, scores, rule)])
    found = right(value)
    bound, chance = lower_bound(found, members, confidence), chance_of(target, found, members)
    if bound < target:
        note = _out_of_reach(rule, target, confidence, found, members, chance)
    return replace(_achieved(positive, scores, value, rule, note), bound=bound, chance=chance)


def _cheapest(thresholds: npt.NDArray[Any], at: Integers, positive: Mask, scores: npt.NDArray[Any], rule: str) -> int:
    """Return which of thresholds that are equally good for one class is best for the other, then nearest to 0.5."""
    other = np.sort(scores[~positive] if rule == "sensitivity" else scores[positive])
    below = np.searchsorted(other, thresholds, side="left")
    gain = below if rule == "sensitivity" else len(other) - below
    best = np.flatnonzero(gain == gain.max())
    return int(at[best[np.argmin(np.abs(thresholds[best] - DEFAULT_THRESHOLD))]])


def _out_of_reach(
    rule: str, target: float, confidence: float, found: Mask, members: npt.NDArray[Any] | None, chance: float
) -> str:
    kind = "positive" if rule == "sensitivity" else "negative"
    cases = f"{len(found):,} {kind} validation cases"
    if members is not None and len(np.unique(members)) < len(found):
        cases += f" of {len(np.unique(members)):,} groups"
    else:
        needed = math.ceil(math.log(1 - confidence) / math.log(target))
        cases += f" (it takes {needed:,} without a mistake)" if needed > len(found) else ""
    return (
        f"a {rule} of {target:.3g} cannot be promised with {confidence:.0%} confidence from {cases}: the most careful "
        f"threshold is used, which meets it with a chance of about {chance:.0%}"
    )


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
