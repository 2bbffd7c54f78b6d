"""Keras layers for preprocessing inside a model, registered so that a saved model loads by itself."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="assay")
class ReverseChannels(keras.layers.Layer):
    """Turns RGB into BGR, the order of the networks that were trained in Caffe. No weights."""

    def call(self, inputs: Any) -> Any:
        return keras.ops.flip(inputs, axis=-1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


@keras.saving.register_keras_serializable(package="assay")
class RepeatChannel(keras.layers.Layer):
    """Repeats the one channel of a grey image, for networks trained on colour. No weights.

    Args:
        channels: How often.
    """

    def __init__(self, channels: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.channels = channels

    def call(self, inputs: Any) -> Any:
        return keras.ops.repeat(inputs, self.channels, axis=-1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[:-1], self.channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "channels": self.channels}
