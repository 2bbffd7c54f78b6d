"""The threshold obeys its rule on the validation split and survives splits that cannot tell."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from assay.config import EvaluateConfig
from assay.measures.thresholds import choose_threshold


@st.composite
def both_classes(draw):
    count = draw(st.integers(2, 40))
    positive = draw(hnp.arrays(bool, count))
    positive[0], positive[1] = True, False
    scores = draw(hnp.arrays(np.float32, count, elements=st.floats(0, 1, width=32)))
    return positive, scores


def _quality(rule, positive, scores, threshold):
    called = scores >= threshold
    if rule == "youden":
        return called[positive].mean() + (~called[~positive]).mean()
    if rule == "accuracy":
        return (called == positive).mean()
    return 2 * (called & positive).sum() / (called.sum() + positive.sum())


@pytest.mark.parametrize("rule", ["youden", "accuracy", "f1"])
@settings(deadline=None)
@given(cases=both_classes())
def test_no_other_threshold_is_better(rule, cases):
    positive, scores = cases
    chosen = choose_threshold(positive, scores, EvaluateConfig(threshold=rule))
    assert 0 <= chosen.value <= 1
    best = max(_quality(rule, positive, scores, value) for value in [0.0, *scores.tolist()])
    assert _quality(rule, positive, scores, chosen.value) >= best - 1e-9


@settings(deadline=None)
@given(cases=both_classes(), target=st.floats(0.05, 0.99))
def test_a_target_sensitivity_is_met_with_the_fewest_false_alarms(cases, target):
    positive, scores = cases
    chosen = choose_threshold(positive, scores, EvaluateConfig(threshold="sensitivity", threshold_target=target))
    assert chosen.sensitivity >= target
    for value in scores:
        called = scores >= value
        if called[positive].mean() >= target:
            assert chosen.specificity >= (~called[~positive]).mean() - 1e-12


@settings(deadline=None)
@given(cases=both_classes(), target=st.floats(0.05, 0.99))
def test_a_target_specificity_is_met_or_the_note_says_why_not(cases, target):
    positive, scores = cases
    chosen = choose_threshold(positive, scores, EvaluateConfig(threshold="specificity", threshold_target=target))
    if chosen.specificity < target:
        assert "no threshold reaches specificity" in chosen.note
        assert scores[~positive].max() == 1.0


def test_thresholds_lie_between_scores_so_that_rounding_changes_nothing():
    positive = np.array([False, False, True, True])
    chosen = choose_threshold(positive, np.array([0.1, 0.3, 0.6, 0.8]), EvaluateConfig(threshold="youden"))
    assert chosen.value == pytest.approx(0.45)
    assert (chosen.sensitivity, chosen.specificity) == (1.0, 1.0)


def test_of_equally_good_thresholds_the_one_nearest_to_a_half_is_taken():
    positive = np.array([False, True, False, True])
    # Both (0.15) and (0.85) have Youden 0.5.
    chosen = choose_threshold(positive, np.array([0.1, 0.25, 0.65, 0.95]), EvaluateConfig(threshold="youden"))
    assert chosen.value == pytest.approx(0.175) or chosen.value == pytest.approx(0.8)
    assert abs(chosen.value - 0.5) == pytest.approx(min(abs(0.175 - 0.5), abs(0.8 - 0.5)))


@pytest.mark.parametrize("only", [True, False])
def test_one_class_gives_a_half_and_a_note(only):
    chosen = choose_threshold(np.array([only] * 3), np.array([0.2, 0.6, 0.9]), EvaluateConfig(threshold="f1"))
    assert chosen.value == 0.5
    assert chosen.rule == "fixed"
    assert "one class only" in chosen.note
    assert math.isnan(chosen.specificity if only else chosen.sensitivity)


def test_a_fixed_threshold_is_the_one_given():
    config = EvaluateConfig(threshold="fixed", threshold_value=0.7)
    assert choose_threshold(np.array([True, False]), np.array([0.6, 0.9]), config).value == 0.7
