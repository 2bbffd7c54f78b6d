"""Dropout by bytes: the right share, the right scale, repeatable, and Keras's own in all else."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from assay.models.dropout import ByteDropout


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_the_share_dropped_and_the_scale_fit_each_other(rate: float, dtype: str) -> None:
    layer = ByteDropout(rate, seed=1, dtype=dtype)
    out = np.asarray(keras.ops.cast(layer(np.ones((40, 50, 51), np.float32), training=True), "float32"))
    exact = round(rate * 256) / 256
    assert abs((out == 0).mean() - exact) < 4 * np.sqrt(exact * (1 - exact) / out.size)
    values = np.unique(out)
    assert values == pytest.approx([0, 1 / (1 - exact)], rel=4e-3 if dtype != "float32" else 1e-6)
    assert abs(exact - rate) <= 1 / 512


def test_masks_are_new_each_time_and_repeat_with_the_seed() -> None:
    ones = np.ones((8, 9), np.float32)
    first, second = ByteDropout(0.5, seed=3), ByteDropout(0.5, seed=3)
    masks = [np.asarray(first(ones, training=True)) for _ in range(3)]
    assert not np.array_equal(masks[0], masks[1])
    for mask in masks:
        np.testing.assert_array_equal(mask, np.asarray(second(ones, training=True)))
    (state,) = first.variables
    state.assign(np.asarray(ByteDropout(0.5, seed=3).variables[0]))
    np.testing.assert_array_equal(masks[0], np.asarray(first(ones, training=True)))


def test_rows_and_neighbours_are_dropped_independently() -> None:
    out = np.asarray(ByteDropout(0.5, seed=0)(np.ones((2000, 64), np.float32), training=True)) > 0
    correlations = np.corrcoef(out[:, :8].T.astype(float))[~np.eye(8, dtype=bool)]
    assert np.abs(correlations).max() < 0.12


def test_the_gradient_passes_where_the_value_passed() -> None:
    layer = ByteDropout(0.25, seed=2)
    x = tf.Variable(np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32))
    with tf.GradientTape() as tape:
        out = layer(x, training=True)
    np.testing.assert_allclose(tape.gradient(out, x), out / x, rtol=1e-5)


@pytest.mark.parametrize("rate", [0.0, 0.001, 1.0])
def test_rates_that_a_byte_cannot_tell_are_left_to_keras(rate: float) -> None:
    out = np.asarray(ByteDropout(rate, seed=0)(np.ones((100, 100), np.float32), training=True))
    assert abs((out == 0).mean() - rate) < 0.002


def test_nothing_happens_outside_of_training() -> None:
    x = np.arange(6, dtype=np.float32)
    np.testing.assert_array_equal(ByteDropout(0.5)(x), x)


def test_it_survives_saving(tmp_path: Path) -> None:
    inputs = keras.Input((4,))
    model = keras.Model(inputs, ByteDropout(0.25, seed=5, name="drop")(inputs))
    model.save(tmp_path / "model.keras")
    layer = keras.models.load_model(tmp_path / "model.keras").get_layer("drop")
    assert isinstance(layer, ByteDropout)
    assert (layer.rate, layer.seed) == (0.25, 5)
