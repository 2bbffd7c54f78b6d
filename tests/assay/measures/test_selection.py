"""By how much the best of several scores flatters: near the truth where that is known, and nothing where nothing is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.measures.delong import delong
from assay.measures.selection import auc_noise, own_noise, selection_optimism

NOISE = 0.02


def simulated(models: int, spread: float, seed: int, shared: float = 0.0, trials: int = 150) -> tuple[float, float]:
    """Return what the best of noisy scores really flatters by, and what is estimated from the scores, on average."""
    generator = np.random.default_rng(seed)
    real, estimated = [], []
    for _ in range(trials):
        worth = 0.8 + spread * generator.normal(size=models)
        scores = worth + NOISE * generator.normal(size=models)
        best = int(scores.argmax())
        real.append(scores[best] - worth[best])
        # What all scores share moves them together: no choice profits from it.
        estimated.append(selection_optimism(scores + shared * generator.normal(), NOISE))
    return float(np.mean(real)), float(np.mean(estimated))


@pytest.mark.parametrize("models", [3, 8, 24])
@pytest.mark.parametrize("spread", [0.0, 0.02, 0.04])
def test_the_estimate_is_near_what_the_best_score_really_flatters_by(models, spread):
    real, estimated = simulated(models, spread, models)
    assert estimated == pytest.approx(real, abs=0.007)


def test_more_trials_flatter_more():
    assert simulated(3, 0.0, 0)[1] < simulated(10, 0.0, 0)[1] < simulated(40, 0.0, 0)[1]


def test_what_the_scores_share_does_not_count():
    assert simulated(8, 0.0, 1, shared=0.3)[1] == pytest.approx(simulated(8, 0.0, 1)[1], abs=0.002)


def test_a_best_score_that_stands_out_hardly_flatters_and_failures_do_not_hide_that_the_rest_are_equal():
    assert selection_optimism([0.5, 0.52, 0.9], 0.01) < 0.002
    close = [0.88, 0.89, 0.9, 0.91, 0.92]
    alone = selection_optimism(close, 0.02)
    assert alone == pytest.approx(0.02, abs=0.004)
    assert selection_optimism([*close, 0.5, 0.5, 0.51], 0.02) == pytest.approx(alone, abs=0.004)


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(1e-4, 0.5))
def test_the_optimism_lies_between_nothing_and_the_distance_to_the_worst(scores, noise):
    assert 0 <= selection_optimism(scores, noise) <= max(scores) - min(scores) + 1e-9


def test_one_score_was_not_chosen_and_none_or_unknown_noise_has_no_answer():
    assert selection_optimism([0.9], 0.02) == 0
    assert math.isnan(selection_optimism([], 0.02))
    assert math.isnan(selection_optimism([0.9, 0.8], math.nan))


def test_own_noise_is_that_of_differences():
    generator = np.random.default_rng(0)
    labels = generator.random(400) < 0.5
    shared = generator.normal(size=400)
    scores = np.stack([labels + 2 * shared + 0.3 * generator.normal(size=400) for _ in range(4)])
    errors = delong(labels, scores)
    difference = errors.difference(0, 1)[1]
    assert own_noise(errors.covariance) == pytest.approx(difference / math.sqrt(2), rel=0.2)
    assert own_noise(errors.covariance) < 0.5 * math.sqrt(errors.covariance[0, 0])
    assert math.isnan(own_noise(np.ones((1, 1))))


def test_the_standard_error_of_an_auc_is_that_of_simulated_ones():
    from assay.measures.ranking import roc_auc

    generator = np.random.default_rng(0)
    labels = np.repeat([True, False], [40, 80])
    # The formula is exact for scores that fall off exponentially.
    aucs = [roc_auc(labels, generator.exponential(1 + 3 * labels)) for _ in range(400)]
    assert auc_noise(0.8, 40, 80) == pytest.approx(float(np.std(aucs)), rel=0.1)
    assert math.isnan(auc_noise(0.9, 0, 10))
