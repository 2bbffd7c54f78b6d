"""Intervals that hold where cases of a group are alike: coverage by simulation, and no jump at the edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from assay.measures.clustered import auc_score_interval, clustered_auc, clustered_proportion
from assay.measures.delong import delong
from assay.measures.intervals import wilson_interval
from assay.measures.ranking import roc_auc


def _scores(random, groups, auc, prevalence, mixed, correlation=0.4):
    """Return labels and binormal scores of cases that share a part of their noise with their group."""
    count = int(groups.max()) + 1
    while True:
        if mixed:
            positive = random.random(len(groups)) < prevalence
        else:
            chosen = random.permutation(count)[: max(2, round(prevalence * count))]
            positive = np.isin(groups, chosen)
        if 2 <= positive.sum() <= len(groups) - 2:
            break
    shared = random.normal(0, np.sqrt(correlation), count)[groups]
    own = random.normal(0, np.sqrt(1 - correlation), len(groups))
    return positive, np.sqrt(2) * norm.ppf(auc) * positive + shared + own


@pytest.mark.parametrize(
    ("groups", "size", "auc", "prevalence", "mixed"),
    [
        (8, 25, 0.8, 0.5, True),
        (20, 10, 0.95, 0.5, False),
        (20, 10, 0.995, 0.5, True),
        (200, 1, 0.8, 0.05, True),
        (20, 12, 0.8, 0.05, False),
    ],
)
def test_intervals_of_an_auc_cover_what_they_claim(groups, size, auc, prevalence, mixed):
    random = np.random.default_rng(5)
    names = np.repeat(np.arange(groups), size)
    trials, covered = 120, 0
    for _ in range(trials):
        positive, scores = _scores(random, names, auc, prevalence, mixed)
        interval = clustered_auc(positive, scores, names)
        covered += interval.low <= auc <= interval.high
    # The target is 0.92 over many trials; 0.85 is three standard errors of these few below it.
    assert covered / trials >= 0.85


@pytest.mark.parametrize(("groups", "size", "share"), [(8, 25, 0.8), (20, 10, 0.95), (60, 5, 0.6)])
def test_intervals_of_a_proportion_cover_what_they_claim(groups, size, share):
    random = np.random.default_rng(6)
    names = np.repeat(np.arange(groups), size)
    trials, covered = 200, 0
    for _ in range(trials):
        of_group = random.beta(share * 1.5, (1 - share) * 1.5, groups)
        right = random.random(len(names)) < of_group[names]
        interval = clustered_proportion(right, names)
        covered += interval.low <= share <= interval.high
    assert covered / trials >= 0.9


def test_without_groups_a_proportion_has_nearly_wilsons_interval():
    right = np.arange(200) < 150
    own, wilson = clustered_proportion(right), wilson_interval(150, 200)
    assert own.low == pytest.approx(wilson.low, abs=2e-3)
    assert own.high == pytest.approx(wilson.high, abs=2e-3)
    assert clustered_proportion(right, np.arange(200)) == own


def test_one_error_less_never_lowers_the_lower_bound():
    names = np.arange(60)
    bounds = [clustered_proportion(np.arange(60) < right, names).low for right in range(50, 61)]
    assert bounds == sorted(bounds)
    grouped = [clustered_proportion(np.arange(60) < right, names // 6).low for right in range(50, 61)]
    assert grouped == sorted(grouped)


def test_an_auc_has_no_jump_at_one():
    positive = np.repeat([False, True], 30)
    names = np.arange(60) // 3
    perfect = np.arange(60, dtype=float)
    nearly = perfect.copy()
    nearly[[29, 30]] = nearly[[30, 29]]
    low = {name: clustered_auc(positive, scores, names).low for name, scores in (("1", perfect), ("<1", nearly))}
    assert roc_auc(positive, nearly) == pytest.approx(1 - 1 / 900)
    assert low["<1"] <= low["1"] <= low["<1"] + 0.05


def test_in_the_middle_the_interval_is_delongs():
    random = np.random.default_rng(0)
    positive = np.arange(400) % 2 == 1
    scores = random.normal(size=400) + positive
    found = delong(positive, scores)
    reach = 1.96 * np.sqrt(found.covariance[0, 0])
    interval = clustered_auc(positive, scores)
    assert interval.low == pytest.approx(found.aucs[0] - reach, abs=0.01)
    assert interval.high == pytest.approx(found.aucs[0] + reach, abs=0.01)


def test_the_score_interval_is_symmetric_and_open_at_the_edges():
    low, high = auc_score_interval(1.0, 20, 20, 1.96)
    assert 0.85 < low < 0.99
    assert high == 1.0
    assert auc_score_interval(0.0, 20, 20, 1.96) == pytest.approx((0.0, 1 - low))


@given(st.integers(2, 12), st.integers(1, 6), st.integers(0, 2**31))
def test_every_interval_holds_its_value_within_0_and_1(groups, size, seed):
    random = np.random.default_rng(seed)
    names = np.repeat(np.arange(groups), size)
    positive = random.random(len(names)) < 0.5
    scores = np.round(random.normal(size=len(names)), 1)
    share = clustered_proportion(positive, names)
    assert 0 <= share.low <= positive.mean() + 1e-9
    assert positive.mean() - 1e-9 <= share.high <= 1
    interval = clustered_auc(positive, scores, names)
    if positive.all() or not positive.any():
        assert not interval.defined
    else:
        assert -1e-9 <= interval.low <= roc_auc(positive, scores) + 1e-9
        assert roc_auc(positive, scores) - 1e-9 <= interval.high <= 1 + 1e-9


def test_how_alike_cases_of_two_groups_are_is_learnt_from_the_other_class_too():
    random = np.random.default_rng(1)
    names = np.repeat(np.arange(20), 12)
    positive = names < 2
    scores = random.normal(size=240) + 1.5 * positive
    scores[positive] -= np.repeat([scores[:12].mean(), scores[12:24].mean()], 12) - 1.5  # alike by chance
    shared = scores + np.where(positive, 0, np.repeat(random.normal(size=20), 12))
    apart = shared.copy()
    apart[~positive] = random.permutation(shared[~positive])
    widths = [one.high - one.low for one in (clustered_auc(positive, values, names) for values in (shared, apart))]
    assert widths[0] > 1.5 * widths[1]
    assert widths[0] < 0.6, "Student's t of one degree of freedom would reach anywhere"
