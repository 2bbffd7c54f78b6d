"""Dropout whose masks cost a third of Keras's on a processor, where drawing them is a hidden cost of every step."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

LEVELS = 256  # one byte decides about each value


@keras.saving.register_keras_serializable(package="assay")
class ByteDropout(keras.layers.Dropout):
    """Keras's ``Dropout`` with one random byte for each value instead of one random float.

    The rate is rounded to the nearest multiple of 1/256 and kept values are scaled by the exact inverse, so that
    the mean of a value stays what it was. State is the same seed generator: a seed gives the same masks again.
    On GPUs, and with a noise shape, it is Keras's own.
    """

    def call(self, inputs: Any, training: bool = False) -> Any:
        dropped = round(self.rate * LEVELS)
        ours = 0 < dropped < LEVELS and self.noise_shape is None and not tf.config.list_logical_devices("GPU")
        if not training or not ours:
            return super().call(inputs, training=training)
        size = tf.size(inputs)
        seed = tf.cast(self.seed_generator.next(), tf.int32)
        words = tf.random.stateless_uniform([(size + 3) // 4], seed, minval=None, maxval=None, dtype=tf.uint32)
        bytes_ = tf.reshape(tf.bitcast(words, tf.uint8), [-1])[:size]
        kept = tf.cast(tf.reshape(bytes_, tf.shape(inputs)) >= dropped, inputs.dtype)
        # The mask is scaled before it meets the values: one product of each for the way back.
        return inputs * (kept * tf.cast(LEVELS / (LEVELS - dropped), inputs.dtype))
