"""Outputs become probabilities of every class, and each output has the loss that belongs to it."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from assay.models.catalog import build_model
from assay.models.heads import loss_for, probabilities


def test_a_sigmoid_becomes_two_columns() -> None:
    np.testing.assert_allclose(probabilities(np.array([[0.25], [1.0]])), [[0.75, 0.25], [0.0, 1.0]])
    np.testing.assert_allclose(probabilities(np.array([0.25])), [[0.75, 0.25]])


def test_a_softmax_stays_as_it_is() -> None:
    values = np.array([[0.2, 0.3, 0.5]])
    result = probabilities(values)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, values, rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_sigmoid_and_softmax_losses_agree_on_two_classes(smoothing: float) -> None:
    positive = np.array([[0.9], [0.2], [0.6]], dtype="float32")
    labels = np.array([1, 0, 0])
    both = np.concatenate([1 - positive, positive], axis=1)
    sigmoid = loss_for("sigmoid", label_smoothing=smoothing)(labels[:, None], positive)
    softmax = loss_for("softmax", label_smoothing=smoothing)(labels, both)
    np.testing.assert_allclose(sigmoid, softmax, rtol=1e-5)


def test_the_smoothed_loss_is_the_cross_entropy_with_smoothed_labels() -> None:
    predicted = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]], dtype="float32")
    target = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
    expected = -(target * np.log(predicted)).sum(axis=1).mean()
    np.testing.assert_allclose(
        loss_for("softmax", label_smoothing=0.3)(np.array([0, 1]), predicted), expected, rtol=1e-5
    )


def test_a_model_compiled_with_the_smoothed_loss_is_saved_and_loaded(tmp_path: Path) -> None:
    model = build_model("cnn3", (24, 24, 1), 2)
    model.compile("sgd", loss_for("softmax", label_smoothing=0.1))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.loss.label_smoothing == 0.1
