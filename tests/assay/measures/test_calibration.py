"""Known distortions are undone, the loss never rises, and the reliability curve counts rightly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import log_loss, roc_auc_score

from assay.measures.calibration import fit_calibration, reliability_curve


def _softmax(logits):
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def _drawn(probabilities, generator):
    return (probabilities.cumsum(axis=1) < generator.random((len(probabilities), 1))).sum(axis=1)


def _rare(count, prevalence, generator):
    """True probabilities (N, 2) of a binormal score with an AUC of .9, and labels."""
    labels = (generator.random(count) < prevalence).astype(np.int64)
    distance = 1.81
    scores = generator.normal(size=count) + distance * labels
    odds = np.log(prevalence / (1 - prevalence)) + distance * scores - distance**2 / 2
    return _softmax(np.stack([np.zeros(count), odds], axis=1)), labels


def _renormalised(probabilities):
    return probabilities / probabilities.astype(float).sum(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_found_again(classes, temperature):
    generator = np.random.default_rng(0)
    logits = 2 * generator.normal(size=(20_000, classes))
    labels = _drawn(_softmax(logits), generator)
    found = fit_calibration(labels, _softmax(logits * temperature).astype(np.float32), "temperature")
    assert 1 / (found.map.slopes or (1.0,))[0] == pytest.approx(temperature, rel=0.06)


@pytest.mark.parametrize("classes", [2, 4])
def test_known_slopes_and_intercepts_are_found_again(classes):
    generator = np.random.default_rng(1)
    logits = 1.5 * generator.normal(size=(20_000, classes))
    slopes = np.full(2, 0.6) if classes == 2 else np.array([0.6, 1.0, 1.4, 0.8])
    intercepts = np.append(0.0, generator.normal(size=classes - 1))
    raw = _softmax(logits)
    true = _softmax(np.log(raw) * slopes + intercepts)
    found = fit_calibration(_drawn(true, generator), raw, "scaling")
    assert found.map.slopes == pytest.approx(slopes, rel=0.1)
    assert found.map.intercepts == pytest.approx(intercepts, abs=0.12)
    assert np.abs(found.map.apply(raw) - true).mean() < 0.01


@pytest.mark.parametrize("method", ["none", "scaling", "isotonic"])
@pytest.mark.parametrize("valid", [300, 2000])
def test_class_weights_leave_probabilities_that_are_frequencies(method, valid):
    """At 5 % prevalence the mean gap to the true probability is at most .02; a temperature leaves .4."""
    shift = np.log([0.5 / 0.95, 0.5 / 0.05])
    gaps = {method: [], "temperature": []}
    for seed in range(10):
        generator = np.random.default_rng(seed)
        true, labels = _rare(valid, 0.05, generator)
        raw = _softmax(np.log(true) + shift).astype(np.float32)
        later, _ = _rare(4000, 0.05, generator)
        seen = _softmax(np.log(later) + shift).astype(np.float32)
        found = fit_calibration(labels, raw, method, shift)
        gaps[method].append(np.abs(found.map.apply(seen) - later)[:, 1].mean())
        without = fit_calibration(labels, raw, "temperature")
        gaps["temperature"].append(np.abs(without.map.apply(seen) - later)[:, 1].mean())
    assert np.mean(gaps[method]) <= (0.03 if (method, valid) == ("isotonic", 300) else 0.02)
    assert np.mean(gaps["temperature"]) > 0.2


@settings(deadline=None, max_examples=40)
@given(
    hnp.arrays(np.float32, (12, 3), elements=st.floats(0, 1, width=32)),
    hnp.arrays(np.int64, 12, elements=st.integers(0, 2)),
    st.sampled_from(["temperature", "scaling", "isotonic"]),
)
def test_the_loss_of_the_validation_split_never_rises(weights, labels, method):
    probabilities = (weights.astype(float) + 1e-6) / (weights.astype(float) + 1e-6).sum(axis=1, keepdims=True)
    found = fit_calibration(labels, probabilities, method)
    assert found.loss_after <= found.loss_before
    before = log_loss(labels, probabilities.astype(float), labels=[0, 1, 2])
    after = log_loss(labels, _renormalised(found.map.apply(probabilities)), labels=[0, 1, 2])
    assert after <= before + 1e-5


@pytest.mark.parametrize("method", ["scaling", "isotonic"])
def test_two_classes_keep_their_order(method):
    generator = np.random.default_rng(3)
    true, labels = _rare(1500, 0.2, generator)
    raw = _softmax(0.4 * np.log(true))
    calibrated = fit_calibration(labels, raw, method).map.apply(raw)
    assert roc_auc_score(labels, calibrated[:, 1]) == pytest.approx(roc_auc_score(labels, raw[:, 1]), abs=1e-3)
    assert np.allclose(calibrated.sum(axis=1), 1, atol=1e-6)


def test_a_split_without_mistakes_sets_finite_limits():
    labels = np.array([0, 1] * 20)
    probabilities = np.where(labels[:, None] == [0, 1], 0.8, 0.2)
    found = fit_calibration(labels, probabilities, "temperature")
    assert found.map.is_identity
    assert "no limit" in found.note
    scaled = fit_calibration(labels, probabilities)
    assert scaled.map.apply(probabilities).max() == pytest.approx(21 / 22, abs=1e-3)


def test_scores_that_say_nothing_end_at_a_bound_which_is_said():
    generator = np.random.default_rng(0)
    scores = generator.random(2000)
    labels = (generator.random(2000) > scores).astype(np.int64)
    raw = np.stack([1 - scores, scores], axis=1)
    assert fit_calibration(labels, raw).at_bound == ("a slope is at its lower bound of 0.05",)
    assert fit_calibration(labels, raw, "temperature").at_bound == ("the temperature is at its upper bound of 20",)


def test_one_class_fits_nothing_and_the_shift_is_taken_off_all_the_same():
    found = fit_calibration(np.zeros(5, np.int64), np.full((5, 2), 0.5), "scaling", np.log([1.0, 3.0]))
    assert "holds one class" in found.note
    assert found.map.apply(np.full((1, 2), 0.5))[0] == pytest.approx([0.75, 0.25])


def test_certain_and_wrong_is_survived():
    probabilities = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], dtype=np.float32)
    for method in ("temperature", "scaling", "isotonic"):
        found = fit_calibration(np.array([0, 1, 1]), probabilities, method)
        assert np.isfinite(found.loss_after)
        assert found.loss_after < found.loss_before


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
