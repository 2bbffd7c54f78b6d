"""Areas under curves by counting are those of scikit-learn, for any resample, ties included."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score, roc_auc_score

from assay.measures.ranking import SortedScores, average_precision, roc_auc


@st.composite
def scored_cases(draw):
    count = draw(st.integers(2, 60))
    positive = draw(hnp.arrays(bool, count))
    # Few distinct values: ties between and within classes.
    scores = draw(hnp.arrays(np.float32, count, elements=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0])))
    counts = draw(hnp.arrays(np.int64, count, elements=st.integers(0, 4)))
    return positive, scores, counts


@settings(deadline=None)
@given(scored_cases())
def test_the_areas_of_a_resample_are_those_of_scikit_learn_on_its_rows(cases):
    positive, scores, counts = cases
    ranking = SortedScores(positive, scores)
    rows = np.repeat(np.arange(len(scores)), counts)
    drawn = positive[rows]
    if len(rows) == 0 or drawn.all() or not drawn.any():
        assert math.isnan(ranking.auc(counts))
        assert math.isnan(ranking.auc_of_rows(rows))
    else:
        assert ranking.auc(counts) == pytest.approx(roc_auc_score(drawn, scores[rows]), abs=1e-12)
        assert ranking.auc_of_rows(rows) == ranking.auc(counts)
    if drawn.any():
        expected = average_precision_score(drawn, scores[rows])
        assert ranking.average_precision(counts) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("decimals", [1, 7])
def test_the_areas_of_many_cases_are_those_of_scikit_learn(decimals):
    generator = np.random.default_rng(0)
    positive = generator.random(5000) < 0.3
    scores = np.round(generator.normal(size=5000) + positive, decimals)
    assert roc_auc(positive, scores) == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)
    assert average_precision(positive, scores) == pytest.approx(average_precision_score(positive, scores), abs=1e-12)


def test_an_area_without_both_classes_is_undefined():
    scores = np.array([0.1, 0.9])
    assert math.isnan(roc_auc(np.array([True, True]), scores))
    assert math.isnan(roc_auc(np.array([False, False]), scores))
    assert math.isnan(average_precision(np.array([False, False]), scores))


def test_the_curve_counts_the_cases_at_or_above_each_threshold():
    ranking = SortedScores(np.array([True, False, True, False]), np.array([0.9, 0.9, 0.4, 0.2]))
    found, alarms = ranking.curve()
    assert ranking.thresholds.tolist() == [0.9, 0.4, 0.2]
    assert found.tolist() == [1, 2, 2]
    assert alarms.tolist() == [1, 1, 2]
