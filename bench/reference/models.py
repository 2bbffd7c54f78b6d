"""The notes' networks, compiled by Keras in float32."""

from __future__ import annotations

import time
from typing import Any

import keras
from keras import layers

from bench.harness import Timed
from bench.reference.generator import BATCH


def float32() -> None:
    """Make Keras build what follows in float32, whatever was measured before."""
    keras.mixed_precision.set_global_policy("float32")


def cnn3(side: int) -> keras.Model:
    """Three convolutions with pools and dropout, Dense 64."""
    float32()
    model = keras.Sequential([keras.Input((side, side, 3))])
    for filters in (32, 64, 128):
        for layer in (layers.Conv2D(filters, 3, activation="relu"), layers.MaxPooling2D(2), layers.Dropout(0.25)):
            model.add(layer)
    for layer in (layers.Flatten(), layers.Dense(64, activation="relu"), layers.Dropout(0.5)):
        model.add(layer)
    model.add(layers.Dense(2, activation="softmax"))
    return _compiled(model)


def vgg16(side: int, first_trained: str | None) -> keras.Model:
    """VGG16 with a pooled head; the base is frozen below a layer, or wholly (None). Weights are random."""
    float32()
    base = keras.applications.VGG16(include_top=False, weights=None, input_shape=(side, side, 3))
    trained = False
    for layer in base.layers:
        trained = trained or layer.name == first_trained
        layer.trainable = trained
    pooled = layers.GlobalAveragePooling2D()(base.output)
    return _compiled(keras.Model(base.input, layers.Dense(2, activation="softmax")(pooled)))


def _compiled(model: keras.Model) -> keras.Model:
    model.compile(optimizer=keras.optimizers.Adam(1e-4), loss="sparse_categorical_crossentropy", jit_compile=False)
    return model


def train(model: keras.Model, batches: Any, images: int) -> Timed:
    """Train on so many images by ``fit``, as the notes do, and return the time of the steps."""
    steps = max(1, images // BATCH)
    started = time.perf_counter()
    model.fit(batches, steps_per_epoch=steps, epochs=1, verbose=0)
    return Timed(steps * BATCH, time.perf_counter() - started)
