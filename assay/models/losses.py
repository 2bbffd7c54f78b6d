"""Losses that Keras lacks."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="assay")
class SmoothedSparseCrossentropy(keras.losses.Loss):
    """Cross-entropy for class indices with label smoothing, which Keras has for one-hot labels only.

    Args:
        label_smoothing: Probability mass that is spread evenly over all classes, 0..1.
    """

    def __init__(self, label_smoothing: float = 0.0, name: str = "smoothed_sparse_crossentropy", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        indices = keras.ops.cast(keras.ops.reshape(y_true, (-1,)), "int32")
        one_hot = keras.ops.one_hot(indices, y_pred.shape[-1], dtype=y_pred.dtype)
        return keras.losses.categorical_crossentropy(one_hot, y_pred, label_smoothing=self.label_smoothing)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "label_smoothing": self.label_smoothing}
