"""The temperature undoes overconfidence, never adds to the loss, and the reliability curve counts rightly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import log_loss

from assay.measures.calibration import apply_temperature, fit_temperature, reliability_curve


def _softmax(logits):
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def _renormalised(probabilities):
    return probabilities / probabilities.astype(float).sum(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_found_again(classes, temperature):
    generator = np.random.default_rng(0)
    logits = 2 * generator.normal(size=(20_000, classes))
    labels = (_softmax(logits).cumsum(axis=1) < generator.random((20_000, 1))).sum(axis=1)
    found = fit_temperature(labels, _softmax(logits * temperature).astype(np.float32))
    assert found.value == pytest.approx(temperature, rel=0.06)


@settings(deadline=None)
@given(
    hnp.arrays(np.float32, (12, 3), elements=st.floats(0, 1, width=32)),
    hnp.arrays(np.int64, 12, elements=st.integers(0, 2)),
)
def test_the_loss_of_the_validation_split_never_rises(weights, labels):
    probabilities = (weights.astype(float) + 1e-6) / (weights.astype(float) + 1e-6).sum(axis=1, keepdims=True)
    found = fit_temperature(labels, probabilities)
    assert found.loss_after <= found.loss_before
    before = log_loss(labels, probabilities.astype(float), labels=[0, 1, 2])
    after = log_loss(labels, _renormalised(apply_temperature(probabilities, found.value)), labels=[0, 1, 2])
    assert after <= before + 1e-5


def test_a_split_without_errors_sets_no_temperature():
    labels = np.array([0, 1] * 20)
    probabilities = np.where(labels[:, None] == [0, 1], 0.8, 0.2)
    found = fit_temperature(labels, probabilities)
    assert found.value == 1.0
    assert "no limit" in found.note


def test_certain_and_wrong_is_survived():
    probabilities = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], dtype=np.float32)
    found = fit_temperature(np.array([0, 1, 1]), probabilities)
    assert found.value > 1
    assert np.isfinite(found.loss_after)


def test_the_reliability_curve_counts_every_case_once():
    generator = np.random.default_rng(0)
    claimed = generator.random(1000)
    happened = generator.random(1000) < claimed
    curve = reliability_curve(happened, claimed)
    assert len(curve) == 10
    assert sum(part.count for part in curve) == 1000
    assert [part.claimed for part in curve] == sorted(part.claimed for part in curve)
    # Wilson intervals at 95%: of ten calibrated bins at least seven hold their claim.
    assert sum(part.low <= part.claimed <= part.high for part in curve) >= 7


def test_the_reliability_curve_of_tied_or_few_probabilities_has_fewer_bins():
    assert len(reliability_curve(np.array([True, False] * 50), np.full(100, 0.5))) == 1
    assert len(reliability_curve(np.array([True, False, True]), np.array([0.1, 0.5, 0.9]))) == 1
