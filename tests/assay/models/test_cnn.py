"""The notes' networks, computed in another order than the notes write them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from assay.models.catalog import build_model

SHAPE = (40, 40, 3)
DRY = {"pool_dropout": 0.0, "dropout": 0.0}


def as_written(blocks: tuple[int, ...], *, batch_norm: bool) -> keras.Model:
    """Each convolution rectified before its pool."""
    inputs = keras.Input(SHAPE)
    x = layers.Rescaling(1 / 255)(inputs)
    for block, convolutions in enumerate(blocks):
        for _ in range(convolutions):
            x = layers.Conv2D(32 * 2**block, 3, use_bias=not batch_norm, padding="same" if batch_norm else "valid")(x)
            if batch_norm:
                x = layers.BatchNormalization()(x)
            x = layers.Activation("relu")(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.Dense(64, activation="relu")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(2, activation="softmax")(x))


def gradients(model: keras.Model, pixels: Any) -> list[Any]:
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(pixels, training=True)[:, 0] ** 2)
    return [np.asarray(one) for one in tape.gradient(loss, [weight.value for weight in model.trainable_variables])]


@pytest.mark.parametrize(
    ("name", "options", "blocks"), [("cnn4", {}, (1, 2, 1)), ("cnn", {"batch_norm": True, "depth": 3}, (1, 1, 1))]
)
def test_rectifying_after_the_pool_changes_neither_outputs_nor_gradients(
    name: str, options: dict[str, Any], blocks: tuple[int, ...]
) -> None:
    ours = build_model(name, SHAPE, 2, options={**DRY, **options}, seed=0)
    written = as_written(blocks, batch_norm="batch_norm" in options)
    for theirs, mine in zip(written.weights, ours.weights, strict=True):
        theirs.assign(mine)
    pixels = tf.constant(np.random.default_rng(0).integers(0, 256, (4, *SHAPE)).astype(np.float32))
    # float32 reads its sums in another order on some processors
    np.testing.assert_allclose(ours(pixels), written(pixels), rtol=0, atol=1e-6)
    for mine, theirs in zip(gradients(ours, pixels), gradients(written, pixels), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-6 * max(1.0, float(np.abs(theirs).max())))
