"""Rows that are all alike are not called worse, a plain difference is seen, and one seed gives DeLong's interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from assay.measures.delong import delong
from assay.measures.repeated import repeated_aucs
from bench.statistics.sweeps import sweep_calls

LABELS = np.arange(300) % 2


def answers(signal, seeds, seed=0, labels=LABELS):
    generator = np.random.default_rng([seed, round(10 * signal)])
    scores = 1 / (1 + np.exp(-(generator.normal(size=(seeds, len(labels))) + signal * labels)))
    return np.stack([1 - scores, scores], axis=2)


def test_ten_rows_that_are_all_alike_are_rarely_told_apart():
    """With two seeds each; by resampled seeds at least one was called worse in 90 % of such sweeps."""
    found = sweep_calls(10, 2, 100, 60)
    assert found["any"] <= 0.12
    assert found["pair"] >= 0.9


def test_a_plain_difference_is_seen():
    found = repeated_aucs(LABELS, [answers(0.8, 3), answers(2.0, 3), answers(2.0, 3, 1)])
    assert found.difference(0, 1, among=3).high < 0
    apart = found.difference(1, 2, among=3)
    assert apart.low < 0 < apart.high


def test_means_are_those_of_the_seeds_and_intervals_stay_within_0_and_1():
    row = answers(3.5, 4)
    found = repeated_aucs(LABELS, [row])
    assert found.aucs[0] == pytest.approx(np.mean([roc_auc_score(LABELS, one[:, 1]) for one in row]))
    interval = found.interval(0)
    assert 0.9 < interval.low < found.aucs[0] < interval.high < 1


def test_with_one_seed_the_error_is_delongs():
    first, second = answers(1.0, 1), answers(1.4, 1)
    found = repeated_aucs(LABELS, [first, second])
    _, error = delong(LABELS == 1, np.stack([first[0, :, 1], second[0, :, 1]])).difference(0, 1)
    interval = found.difference(0, 1)
    assert (interval.high - interval.low) / 2 == pytest.approx(1.976 * error, rel=0.01)
    assert math.isnan(found.between)


def test_more_seeds_and_groups_change_the_width_as_they_should():
    few, many = (repeated_aucs(LABELS, [answers(1.0, seeds), answers(1.0, seeds, 5)]) for seeds in (2, 8))
    width = [interval.high - interval.low for interval in (few.difference(0, 1), many.difference(0, 1))]
    assert width[0] > 1.3 * width[1]
    whole = repeated_aucs(LABELS, [answers(1.0, 1)], np.arange(300) // 30).interval(0)
    single = repeated_aucs(LABELS, [answers(1.0, 1)]).interval(0)
    assert whole.high - whole.low > 0.5 * (single.high - single.low)
    assert whole.low != single.low


def test_one_class_has_no_interval():
    found = repeated_aucs(np.ones(10, np.int64), [answers(1.0, 2, labels=np.ones(10))])
    assert not found.interval(0).defined
