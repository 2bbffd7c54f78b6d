"""Calibrated probabilities are called so, others are not, and the numbers say what is wrong with them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from assay.measures.metrics import Scored
from assay.measures.recalibration import claims, recalibration, unbiased_error


def drawn(count: int, seed: int, offset: float = 0.0, slope: float = 1.0, spread: float = 2.0):
    """Outcomes whose logit is offset + slope times the logit that is claimed."""
    generator = np.random.default_rng(seed)
    logits = spread * generator.normal(size=count)
    return generator.random(count) < expit(offset + slope * logits), expit(logits)


@pytest.mark.parametrize("count", [60, 100, 200])
def test_calibrated_probabilities_are_rejected_no_more_often_than_the_test_says(count):
    rejected = sum(recalibration(*drawn(count, seed)).p_value <= 0.05 for seed in range(200))
    # 5% of 200 are 10; more than 19 would come about once in 500 such tests.
    assert rejected <= 19


@pytest.mark.parametrize(("offset", "slope"), [(0.0, 0.45), (1.2, 1.0), (-1.2, 1.0), (0.0, 2.5)])
def test_what_is_wrong_is_found_in_200_cases_and_named(offset, slope):
    found = [recalibration(*drawn(200, seed, offset, slope)) for seed in range(20)]
    assert sum(one.p_value <= 0.05 for one in found) >= 17
    assert np.median([one.slope for one in found]) == pytest.approx(slope, rel=0.15)
    assert np.median([one.offset for one in found]) == pytest.approx(offset, abs=0.2)


def test_slope_and_intercept_are_those_that_made_the_outcomes():
    found = recalibration(*drawn(20_000, 0, 0.7, 0.6))
    assert found.slope_interval.low < 0.6 < found.slope_interval.high
    assert found.offset == pytest.approx(0.7, abs=0.05)
    assert found.slope_interval.high - found.slope_interval.low < 0.1
    assert found.recalibrated(0.9) == pytest.approx(expit(0.7 + 0.6 * math.log(9)), abs=0.01)


def test_recalibrated_probabilities_need_no_second_recalibration():
    happened, claimed = drawn(500, 3, 1.0, 0.5)
    first = recalibration(happened, claimed)
    again = recalibration(happened, np.array([first.recalibrated(value) for value in claimed]))
    assert first.p_value < 0.01 < 0.9 < again.p_value
    assert again.slope == pytest.approx(1, abs=1e-3) and again.intercept == pytest.approx(0, abs=1e-3)


def test_intervals_of_calibrated_probabilities_hold_1_and_0_as_often_as_they_say():
    found = [recalibration(*drawn(100, seed)) for seed in range(200)]
    slopes = np.mean([one.slope_interval.low <= 1 <= one.slope_interval.high for one in found])
    intercepts = np.mean([one.intercept_interval.low <= 0 <= one.intercept_interval.high for one in found])
    assert slopes >= 0.91 and intercepts >= 0.91


@pytest.mark.parametrize("count", [60, 200, 2000])
def test_the_error_is_that_of_the_probabilities_and_not_of_the_number_of_cases(count):
    """Of calibrated ones nearly 0, of ones that are 0.2 too high 0.2, where the plain error grows as cases are few."""
    generator = np.random.default_rng(0)
    calibrated, off = [], []
    for _ in range(100):
        claimed = generator.uniform(0.25, 0.95, count)
        calibrated.append(unbiased_error(generator.random(count) < claimed, claimed) ** 2)
        off.append(unbiased_error(generator.random(count) < claimed - 0.2, claimed) ** 2)
    assert np.median(calibrated) < 0.03**2
    assert math.sqrt(np.mean(off)) == pytest.approx(0.2, abs=0.02)


def test_copies_of_a_case_add_nothing_to_the_error():
    generator = np.random.default_rng(1)
    claimed = generator.choice([0.1, 0.3, 0.5, 0.7, 0.9], 200)
    happened = generator.random(200) < claimed**2
    twice = unbiased_error(np.repeat(happened, 2), np.repeat(claimed, 2), np.repeat(np.arange(200), 2))
    assert twice == pytest.approx(unbiased_error(happened, claimed))


def test_slides_that_agree_within_themselves_are_not_taken_for_many_cases():
    from scipy.stats import norm

    generator = np.random.default_rng(2)
    groups = np.repeat(np.arange(20), 10)
    by_groups = plain = 0
    for seed in range(100):
        claimed = expit(generator.normal(size=20)[groups] + generator.normal(size=200))
        common = np.sqrt(0.9) * generator.normal(size=20)[groups] + np.sqrt(0.1) * generator.normal(size=200)
        happened = norm.cdf(common) < claimed  # calibrated, but a slide's cases come true together
        by_groups += recalibration(happened, claimed, groups, seed=seed).p_value <= 0.05
        plain += recalibration(happened, claimed, seed=seed).p_value <= 0.05
    assert by_groups <= 12
    assert plain >= 30


def test_few_slides_leave_the_question_open():
    happened, claimed = drawn(60, 0)
    assert math.isnan(recalibration(happened, claimed, np.repeat(np.arange(4), 15)).p_value)


def test_cases_that_are_parted_without_a_mistake_set_the_slope_no_limit():
    claimed = np.linspace(0.05, 0.95, 40)
    found = recalibration(claimed > 0.5, claimed)
    assert math.isnan(found.slope) and not found.slope_interval.defined
    assert found.p_value < 0.05, "such cases are surer than was claimed"


def test_a_certain_claim_that_fails_is_found_whatever_else_is_right():
    happened, claimed = drawn(200, 5)
    claimed[0], happened[0] = 1.0, False
    assert recalibration(happened, claimed).p_value < 0.005


def test_claims_are_of_the_class_to_detect_or_of_the_class_decided():
    two = Scored(np.array([0, 1]), np.array([[0.8, 0.2], [0.3, 0.7]]), np.array([0, 1]), positive_index=0)
    happened, claimed = claims(two)
    assert happened.tolist() == [True, False] and claimed == pytest.approx([0.8, 0.3])
    three = Scored(np.array([2, 1]), np.array([[0.1, 0.1, 0.8], [0.6, 0.3, 0.1]]), np.array([2, 0]))
    happened, claimed = claims(three)
    assert happened.tolist() == [True, False] and claimed == pytest.approx([0.8, 0.6])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1), st.integers(0, 9)), min_size=1, max_size=40), st.booleans())
def test_any_cases_have_an_answer(cases, grouped):
    happened, claimed, groups = (np.array(column) for column in zip(*cases, strict=True))
    found = recalibration(happened, claimed, groups if grouped else None)
    assert math.isnan(found.p_value) or 0 <= found.p_value <= 1
    assert math.isnan(found.error) or 0 <= found.error <= 1
    for interval in (found.slope_interval, found.intercept_interval):
        assert not interval.defined or interval.low <= interval.high
