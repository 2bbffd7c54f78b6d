"""Intervals are exact where they can be checked, repeat from a seed, and cover as often as they claim."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from assay.measures.intervals import (
    Resampler,
    bootstrap_auc,
    bootstrap_metrics,
    metric_intervals,
    percentile_interval,
    wilson_interval,
)
from assay.measures.metrics import METRICS, Scored, decide, point_metrics


def _binary(count: int, seed: int, *, gap: float = 1.0, decimals: int = 6) -> Scored:
    generator = np.random.default_rng(seed)
    labels = (generator.random(count) < 0.4).astype(np.int64)
    score = np.round(1 / (1 + np.exp(-(generator.normal(size=count) + gap * (labels - 0.5)))), decimals)
    probabilities = np.stack([1 - score, score], axis=1)
    return Scored(labels, probabilities, decide(probabilities, 0.5, 1))


@pytest.mark.parametrize("decimals", [2, 9])
@pytest.mark.parametrize("grouped", [False, True])
def test_bootstrapped_aucs_equal_scikit_learn_on_the_same_draws(decimals, grouped):
    scored = _binary(700, 0, decimals=decimals)
    positive, score = scored.labels == 1, scored.probabilities[:, 1]
    groups = np.random.default_rng(1).integers(0, 40, 700) if grouped else None
    resampler = Resampler(700, groups, resamples=60, seed=3)
    values = bootstrap_auc(positive, score, resampler)
    draws = list(resampler.draws())
    assert len(draws) == len(values) == 60
    for rows, value in zip(draws, values, strict=True):
        assert value == pytest.approx(roc_auc_score(positive[rows], score[rows]), abs=1e-12)


def test_all_metrics_of_a_resample_are_those_of_its_rows():
    scored = _binary(300, 5)
    resampler = Resampler(300, None, resamples=20, seed=0)
    samples = bootstrap_metrics({"model": scored}, resampler)["model"]
    for index, rows in enumerate(resampler.draws()):
        drawn = Scored(scored.labels[rows], scored.probabilities[rows], scored.predicted[rows])
        expected = point_metrics(drawn).values
        for name in METRICS:
            assert samples[name][index] == pytest.approx(expected[name], abs=1e-12), name
        assert samples["f1"][index] == pytest.approx(f1_score(drawn.labels, drawn.predicted))


def test_draws_are_uniform_and_of_the_right_number():
    resampler = Resampler(101, None, resamples=4000, seed=0)
    total = np.zeros(101)
    for block in resampler.blocks():
        assert (block.sum(axis=1) == 101).all()
        total += block.sum(axis=0)
    expected = 4000.0
    # Chi-square with 100 degrees of freedom: 99.99% lie below 161.
    assert np.square(total - expected).sum() / expected < 161


def test_a_group_is_drawn_whole():
    groups = np.array(["a", "a", "b", "b", "b", "c"])
    for block in Resampler(6, groups, resamples=50, seed=0).blocks():
        assert (block[:, 0] == block[:, 1]).all()
        assert (block[:, 2] == block[:, 3]).all() and (block[:, 3] == block[:, 4]).all()
        assert (block[:, [0, 2, 5]].sum(axis=1) == 3).all()


def test_groups_of_one_are_cases_and_one_group_is_none():
    assert not Resampler(5, np.arange(5)).grouped
    assert not Resampler(5, np.zeros(5)).grouped
    assert Resampler(5, np.array([0, 0, 1, 2, 3])).grouped


def test_the_same_seed_gives_the_same_intervals_and_another_seed_others():
    scored = _binary(200, 1)
    first, again, other = (
        bootstrap_auc(scored.labels == 1, scored.probabilities[:, 1], Resampler(200, None, 100, seed))
        for seed in (7, 7, 8)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_several_models_share_the_draws():
    first, second = _binary(200, 1), _binary(200, 1, gap=2.0)
    resampler = Resampler(200, None, 50, 0)
    together = bootstrap_auc(
        first.labels == 1, np.stack([first.probabilities[:, 1], second.probabilities[:, 1]]), resampler
    )
    assert together.shape == (2, 50)
    assert np.array_equal(together[0], bootstrap_auc(first.labels == 1, first.probabilities[:, 1], resampler))


def test_the_interval_of_an_auc_covers_the_truth_about_as_often_as_it_says():
    from statistics import NormalDist

    truth = NormalDist().cdf(1 / math.sqrt(2))
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(400):
        labels = np.arange(120) < 50
        interval = percentile_interval(
            bootstrap_auc(labels, generator.normal(size=120) + labels, Resampler(120, None, 300, trial)), 0.95
        )
        covered += interval.low <= truth <= interval.high
    # Binomial error at 95% of 400 trials is 1.1%.
    assert 0.91 <= covered / 400 <= 0.985


def test_the_group_bootstrap_covers_where_cases_of_a_slide_are_alike_and_the_plain_one_does_not():
    generator = np.random.default_rng(1)
    covered = {True: 0, False: 0}
    trials = 150
    groups = np.repeat(np.arange(40), 15)
    for trial in range(trials):
        # Whether a decision is right depends on the slide as much as on the case; 0.7 are right in the long run.
        of_slide = generator.beta(1.4, 0.6, size=40)
        right = generator.random(600) < of_slide[groups]
        labels = generator.integers(0, 2, 600)
        predicted = np.where(right, labels, 1 - labels)
        scored = Scored(labels, np.eye(2)[predicted] * 0.8 + 0.1, predicted)
        for grouped in (True, False):
            samples = bootstrap_metrics({"m": scored}, Resampler(600, groups if grouped else None, 200, trial))
            interval = percentile_interval(samples["m"]["accuracy"], 0.95)
            covered[grouped] += interval.low <= 0.7 <= interval.high
    assert covered[True] / trials >= 0.87
    assert covered[False] / trials <= 0.75


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_intervals_are_the_published_ones(successes, trials, low, high):
    interval = wilson_interval(successes, trials)
    assert interval.low == pytest.approx(low, abs=5e-5)
    assert interval.high == pytest.approx(high, abs=5e-5)


def test_a_perfect_score_still_has_an_interval():
    labels = np.repeat([0, 1], 25)
    probabilities = np.where(labels[:, None] == [0, 1], 0.9, 0.1)
    scored = Scored(labels, probabilities, labels)
    for groups in (None, np.arange(50) // 5):
        resampler = Resampler(50, groups, 200, 0)
        samples = bootstrap_metrics({"m": scored}, resampler)["m"]
        intervals = metric_intervals(scored, point_metrics(scored).values, samples, resampler)
        for name in ("auc", "accuracy", "sensitivity", "specificity", "precision", "f1", "pr_auc"):
            assert 0 < intervals[name].low < 0.97, name
            assert intervals[name].high == 1.0
        # Ten groups of five say less than fifty cases, and more than ten cases.
        few, many = wilson_interval(5, 5).low, wilson_interval(25, 25).low
        assert few < intervals["sensitivity"].low < many + 0.01


def test_what_is_undefined_has_no_interval():
    labels = np.ones(30, dtype=np.int64)
    score = np.linspace(0.2, 0.9, 30)
    probabilities = np.stack([1 - score, score], axis=1)
    scored = Scored(labels, probabilities, decide(probabilities, 0.5, 1))
    resampler = Resampler(30, None, 100, 0)
    samples = bootstrap_metrics({"m": scored}, resampler)["m"]
    intervals = metric_intervals(scored, point_metrics(scored).values, samples, resampler)
    assert not intervals["auc"].defined
    assert intervals["auc"].method == "none"
    assert intervals["sensitivity"].defined


def test_an_interval_needs_more_than_half_of_its_resamples():
    samples = np.array([0.5] * 49 + [np.nan] * 51)
    assert not percentile_interval(samples, 0.95).defined
    assert percentile_interval(np.append(samples, [0.5] * 9), 0.95).defined


def test_many_classes_are_bootstrapped_in_the_same_pass():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 5, 300)
    logits = generator.normal(size=(300, 5))
    logits[np.arange(300), labels] += 2
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    scored = Scored(labels, probabilities, probabilities.argmax(axis=1))
    resampler = Resampler(300, None, 100, 0)
    samples = bootstrap_metrics({"m": scored}, resampler)["m"]
    values = point_metrics(scored).values
    for name, interval in metric_intervals(scored, values, samples, resampler).items():
        assert interval.low <= interval.high, name
        assert interval.low < values[name] + 0.05, name
