"""Paired comparisons give the published results, and reject a true null hypothesis about as often as they may."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm, ttest_1samp

from assay.measures.comparison import compare_samples, holm, mcnemar
from assay.measures.delong import delong
from assay.measures.intervals import Resampler, bootstrap_metrics
from assay.measures.metrics import Scored, decide

# DeLong, DeLong and Clarke-Pearson 1988: albumin, total protein, K-G score and outcome of the 43 patients with
# ovarian cancer whose record is complete, as reprinted in the SAS/STAT guide, PROC LOGISTIC, "Comparing ROC curves".
OVARIAN = """
3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0  1.6 5.6 5 1
3.8 5.7 5 1  3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1  4.3 7.0 4 1  3.6 6.7 4 0
2.3 4.4 6 1  4.2 7.6 4 0  4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1  3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1
3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1  4.3 6.5 4 1  3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0
3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1  3.5 6.2 5 1  2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1
3.3 5.7 6 1  3.7 6.9 5 1  3.6 6.6 5 1
"""


def _ovarian():
    table = np.array(OVARIAN.split(), dtype=float).reshape(-1, 4)
    return table[:, 3] == 0, np.stack([-table[:, 0], -table[:, 1], table[:, 2]])


def _scored(labels, logit, threshold=0.5):
    score = 1 / (1 + np.exp(-logit))
    probabilities = np.stack([1 - score, score], axis=1)
    return Scored(labels.astype(np.int64), probabilities, decide(probabilities, threshold, 1))


def test_delong_gives_the_published_areas_errors_and_p_values():
    positive, scores = _ovarian()
    result = delong(positive, scores)
    assert result.aucs == pytest.approx([0.7366, 0.6478, 0.7258], abs=5e-5)
    assert np.sqrt(np.diag(result.covariance)) == pytest.approx([0.0927, 0.1000, 0.1028], abs=5e-5)
    assert result.difference(0, 2) == pytest.approx((0.0108, 0.0953), abs=5e-5)
    assert result.p_value(0, 2) == pytest.approx(0.9102, abs=5e-5)
    assert result.difference(1, 2) == pytest.approx((-0.0780, 0.1046), abs=5e-5)
    assert result.p_value(1, 2) == pytest.approx(0.4561, abs=5e-5)


def test_groups_of_one_change_nothing_and_copies_in_a_group_add_nothing():
    positive, scores = _ovarian()
    plain = delong(positive, scores)
    alone = delong(positive, scores, np.arange(43))
    copied = delong(np.repeat(positive, 5), np.repeat(scores, 5, axis=1), np.repeat(np.arange(43), 5))
    assert alone.covariance == pytest.approx(plain.covariance)
    assert copied.covariance == pytest.approx(plain.covariance)
    assert delong(np.repeat(positive, 5), np.repeat(scores, 5, axis=1)).covariance[0, 0] < plain.covariance[0, 0] / 3


def test_the_error_of_grouped_aucs_is_the_spread_seen_over_repeats():
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 10)
    aucs, errors = [], []
    for _ in range(200):
        positive = generator.random(300) < 0.5
        of_slide = generator.normal(size=30)
        result = delong(positive, of_slide[groups] + generator.normal(size=300) + positive, groups)
        aucs.append(result.aucs[0])
        errors.append(math.sqrt(result.covariance[0, 0]))
    assert np.mean(errors) == pytest.approx(np.std(aucs), rel=0.2)


def test_models_that_agree_do_not_differ():
    positive, scores = _ovarian()
    assert delong(positive, np.stack([scores[0], scores[0]])).p_value(0, 1) == 1.0
    right = np.array([True, False, True])
    assert mcnemar(right, right) == 1.0


def test_delong_without_both_classes_is_undefined():
    result = delong(np.ones(5, dtype=bool), np.arange(5.0))
    assert np.isnan(result.aucs).all()
    assert math.isnan(delong(np.ones(5, dtype=bool), np.ones((2, 5))).p_value(0, 1))


def test_mcnemar_is_the_exact_sign_test():
    # 10 cases that only the first got right, 2 that only the second did: 2 * P(X <= 2), X ~ B(12, 1/2).
    first = np.array([True] * 10 + [False] * 2 + [True] * 30)
    second = np.array([False] * 10 + [True] * 2 + [True] * 30)
    assert mcnemar(first, second) == pytest.approx(2 * (1 + 12 + 66) / 2**12)


def test_mcnemar_of_groups_of_one_is_the_chi_square():
    first = np.array([True] * 10 + [False] * 2 + [True] * 30)
    second = np.array([False] * 10 + [True] * 2 + [True] * 30)
    expected = math.erfc(math.sqrt((10 - 2) ** 2 / 12 / 2))
    assert mcnemar(first, second, np.arange(42)) == pytest.approx(expected)


def test_mcnemar_of_groups_keeps_its_level_where_the_plain_test_does_not():
    generator = np.random.default_rng(3)
    groups = np.repeat(np.arange(30), 12)
    rejected = {True: 0, False: 0}
    for _ in range(300):
        # Each slide favours one model or the other, by chance alone.
        favours = generator.normal(size=30)[groups]
        first = generator.random(360) < 1 / (1 + np.exp(-favours))
        second = generator.random(360) < 1 / (1 + np.exp(favours))
        rejected[True] += mcnemar(first, second, groups) < 0.05
        rejected[False] += mcnemar(first, second) < 0.05
    assert rejected[True] / 300 <= 0.10
    assert rejected[False] / 300 >= 0.15


def test_holm_adjusts_stepwise_and_keeps_what_is_undefined():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    adjusted = holm([0.01, float("nan"), 0.04])
    assert adjusted[0] == pytest.approx(0.02)
    assert math.isnan(adjusted[1])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])


def compared(first: Scored, second: Scored, metric: str, *, resamples: int, seed=0, groups=None, margin=0.0):
    """The two models on the same draws."""
    resampler = Resampler(len(first.labels), groups, resamples, seed)
    samples = bootstrap_metrics({"first": first, "second": second}, resampler)
    drawn = (samples[name][metric] for name in ("first", "second"))
    return compare_samples(first, second, metric, *drawn, resampler, groups, margin=margin)


def test_a_better_model_is_found_better_and_an_error_has_its_sign_turned():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 500)
    noise = generator.normal(size=500)
    better = _scored(labels, 3 * (labels - 0.5) + noise)
    worse = _scored(labels, (labels - 0.5) + noise)
    for metric in ("auc", "accuracy", "sensitivity", "brier", "log_loss"):
        result = compared(better, worse, metric, resamples=300, seed=0)
        assert result.difference > 0, metric
        assert 0 < result.interval.low < result.difference < result.interval.high, metric
        assert result.p_value < 0.05, metric
        assert result.p_better < 0.05, metric
        reverse = compared(worse, better, metric, resamples=300, seed=0)
        assert reverse.difference == pytest.approx(-result.difference)
        assert reverse.p_better > 0.9
        large = compared(better, worse, metric, resamples=300, seed=0, margin=result.difference + 0.2)
        assert large.p_better > 0.9


def test_equal_models_are_called_different_about_as_often_as_allowed():
    generator = np.random.default_rng(5)
    rejected = {"auc": 0, "accuracy": 0}
    for trial in range(200):
        labels = generator.integers(0, 2, 150)
        shared = generator.normal(size=150)
        first, second = (_scored(labels, labels - 0.5 + shared + generator.normal(size=150)) for _ in range(2))
        for metric in rejected:
            rejected[metric] += compared(first, second, metric, resamples=100, seed=trial).p_value < 0.05
    assert rejected["auc"] / 200 <= 0.10
    assert rejected["accuracy"] / 200 <= 0.09


def test_other_cases_cannot_be_compared():
    labels = np.array([0, 1, 0, 1])
    with pytest.raises(ValueError, match="same cases"):
        compared(_scored(labels, np.arange(4.0)), _scored(1 - labels, np.arange(4.0)), "auc", resamples=100)


def test_groups_widen_the_interval_of_a_difference():
    generator = np.random.default_rng(2)
    groups = np.repeat(np.arange(20), 25)
    labels = generator.integers(0, 2, 500)
    effect = generator.normal(size=20)[groups] * (labels - 0.5)
    first = _scored(labels, labels + effect * 2 + generator.normal(size=500))
    second = _scored(labels, labels - effect * 2 + generator.normal(size=500))
    plain = compared(first, second, "auc", resamples=300)
    grouped = compared(first, second, "auc", groups=groups, resamples=300)
    assert grouped.test == "DeLong by groups"
    assert grouped.interval.high - grouped.interval.low > 1.5 * (plain.interval.high - plain.interval.low)


def test_the_one_sided_mcnemar_is_exact_and_half_of_what_two_sides_say():
    # Of ten cases in which the two differ, the first is right in nine: (1 + 10) / 2 ** 10.
    first = np.array([True] * 9 + [False] + [True] * 20)
    second = np.array([False] * 9 + [True] + [True] * 20)
    assert mcnemar(first, second, alternative="greater") == pytest.approx(11 / 1024)
    assert mcnemar(second, first, alternative="greater") == pytest.approx(1023 / 1024)
    assert mcnemar(first, second) == pytest.approx(22 / 1024)


def test_a_margin_on_accuracy_is_answered_by_the_test_that_is_named():
    random = np.random.default_rng(0)
    labels = np.arange(200) % 2
    scores = [np.clip(labels + random.normal(0, spread, 200), 0, 1) for spread in (0.4, 0.8)]
    models = [Scored(labels, np.stack([1 - score, score], axis=1), (score >= 0.5).astype(int)) for score in scores]
    resampler = Resampler(200, None, 500, 0)
    samples = bootstrap_metrics(dict(zip("ab", models, strict=True)), resampler)

    def compare(margin):
        accuracy = [samples[name]["accuracy"] for name in "ab"]
        return compare_samples(*models, "accuracy", *accuracy, resampler, margin=margin)

    right = [model.labels == model.predicted for model in models]
    assert compare(0.0).test == "McNemar"
    assert compare(0.0).p_better == mcnemar(*right, alternative="greater")
    with_margin, ahead = compare(0.02), right[0].astype(float) - right[1]
    assert with_margin.test == with_margin.interval.method == "paired t"
    assert with_margin.p_better == pytest.approx(ttest_1samp(ahead, 0.02, alternative="greater").pvalue)
    assert with_margin.p_value == pytest.approx(ttest_1samp(ahead, 0.0).pvalue)
    assert with_margin.interval.low == pytest.approx(ttest_1samp(ahead, 0.0).confidence_interval(0.95).low)


def test_few_groups_make_delong_ask_for_more():
    """Of two equal models on six groups the normal quantile rejects in 15 % and more at a level of 5 %."""
    by_student, by_normal = [], []
    for seed in range(120):
        generator = np.random.default_rng(seed)
        groups, positive = np.repeat(np.arange(6), 20), np.arange(120) % 2 == 1
        effects = generator.normal(size=(2, 6))[:, groups] * (positive - 0.5) * 2
        found = delong(positive, positive + effects + generator.normal(size=(2, 120)), groups)
        by_student.append(found.p_value(0, 1) <= 0.05)
        by_normal.append(2 * norm.sf(abs(np.divide(*found.difference(0, 1)))) <= 0.05)
    assert found.freedom == 5
    assert np.mean(by_student) <= 0.1 < np.mean(by_normal)
