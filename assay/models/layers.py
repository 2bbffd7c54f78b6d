"""Keras layers for what a model does before and after its network, registered so that a saved model loads by itself."""

from __future__ import annotations

import math
from typing import Any

import keras

from assay.measures.calibration import Calibration


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


@keras.saving.register_keras_serializable(package="assay")
class Whiten(keras.layers.Layer):
    """ZCA whitening: values lose their mean and their correlations. Its two weights are fitted, never trained.

    Args:
        rank: Columns of the matrix where it is a factor F of the symmetric F F^T; None: the matrix itself.
    """

    def __init__(self, rank: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rank = rank

    def build(self, input_shape: Any) -> None:
        size = math.prod(input_shape[1:])
        self.mean = self.add_weight(name="mean", shape=(size,), initializer="zeros", trainable=False)
        shape = (size, self.rank or size)
        self.matrix = self.add_weight(name="matrix", shape=shape, initializer="zeros", trainable=False)

    def call(self, inputs: Any) -> Any:
        values = keras.ops.reshape(inputs, (-1, self.mean.shape[0])) - self.mean
        values = keras.ops.matmul(values, self.matrix)
        if self.rank is not None:
            values = keras.ops.matmul(values, keras.ops.transpose(self.matrix))
        return keras.ops.reshape(values, (-1, *inputs.shape[1:]))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rank": self.rank}


@keras.saving.register_keras_serializable(package="assay")
class AttentionPooling(keras.layers.Layer):
    """Averages a feature map with learnt weights: of what a position shows, and of where it lies.

    The weights are a softmax over all positions of a linear score of the features (gated attention without the gate,
    Ilse et al. 2018, arXiv:1802.04712) plus a learnt bias for each position, so that a network can learn that a label
    depends on the centre alone. At the start every position counts the same: it begins as global average pooling.
    """

    def build(self, input_shape: Any) -> None:
        _, height, width, channels = input_shape
        self.score = self.add_weight(name="score", shape=(channels,), initializer="zeros")
        self.position = self.add_weight(name="position", shape=(height * width,), initializer="zeros")

    def call(self, inputs: Any) -> Any:
        features = keras.ops.reshape(inputs, (-1, self.position.shape[0], inputs.shape[-1]))
        scores = keras.ops.matmul(features, keras.ops.cast(self.score, features.dtype)[:, None])[..., 0]
        # A softmax over many positions needs more digits than half precision has.
        scores = keras.ops.cast(scores, "float32") + keras.ops.cast(self.position, "float32")
        weights = keras.ops.cast(keras.ops.softmax(scores, axis=-1), features.dtype)
        return keras.ops.matmul(weights[:, None, :], features)[:, 0, :]

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], input_shape[-1])


@keras.saving.register_keras_serializable(package="assay")
class Calibrated(keras.layers.Layer):
    """A network's output as calibrated probabilities of every class. No weights.

    Args:
        calibration: `Calibration` as JSON.
    """

    def __init__(self, calibration: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.calibration = Calibration.model_validate(calibration)

    def call(self, inputs: Any) -> Any:
        from assay.models.serving import calibrated

        # In the precision that `Calibration.apply` has.
        values = keras.ops.cast(inputs, "float64")
        if values.shape[-1] == 1:
            values = keras.ops.concatenate([1.0 - values, values], axis=-1)
        return keras.ops.cast(calibrated(self.calibration, values), "float32")

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[:-1], max(2, input_shape[-1]))

    def compute_output_spec(self, inputs: Any) -> Any:
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), "float32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "calibration": self.calibration.model_dump(mode="json")}
