"""What stands at a classifier's end: the output layer, its loss, and its output as probabilities of every class."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from assay.models.catalog import ModelOptions, Output, Spec

HEAD_PREFIX = "head_"
OUTPUT_LAYER = "head_output"


def output_layer(features: Any, spec: Spec, options: ModelOptions) -> Any:
    """Put the output on a network: float32 probabilities, whatever precision stands before it.

    Args:
        features: Keras tensor (N, features).
        spec: Says the number of classes and which output.
        options: Initializer and L2 of the kernel.

    Returns:
        Keras tensor (N, num_classes) for softmax, (N, 1) for sigmoid.
    """
    import keras

    units = 1 if spec.output == "sigmoid" else spec.num_classes
    return keras.layers.Dense(
        units, activation=spec.output, dtype="float32", name=OUTPUT_LAYER, **options.kernel_arguments()
    )(features)


def pooled_head(features: Any, options: ModelOptions, dense: int, dropout: float) -> Any:
    """Put global average pooling, a dense layer where asked, and dropout on a feature map.

    Args:
        features: Keras tensor (N, height, width, channels).
        options: Initializer and L2 of the dense layer's kernel.
        dense: Its units; 0: no dense layer.
        dropout: Fraction dropped, 0..1.

    Returns:
        Keras tensor (N, units).
    """
    from keras import layers

    x = layers.GlobalAveragePooling2D(name="head_pool")(features)
    if dense:
        x = layers.Dense(dense, activation="relu", name="head_dense", **options.kernel_arguments())(x)
    if dropout:
        x = layers.Dropout(dropout, name="head_dropout")(x)
    return x


def loss_for(output: Output, *, label_smoothing: float = 0.0) -> Any:
    """Return the loss that belongs to an output, for labels given as class indices.

    Args:
        output: ``softmax`` or ``sigmoid``.
        label_smoothing: Probability mass moved off the given label, spread over all classes; 0..0.5.
    """
    import keras

    if output == "sigmoid":
        return keras.losses.BinaryCrossentropy(label_smoothing=label_smoothing)
    if label_smoothing == 0:
        return keras.losses.SparseCategoricalCrossentropy()
    from assay.models.losses import SmoothedSparseCrossentropy

    return SmoothedSparseCrossentropy(label_smoothing=label_smoothing)


def probabilities(model_output: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Return the probability of every class from a model's output.

    Args:
        model_output: (N, num_classes) of a softmax, or (N, 1) or (N,) of a sigmoid: the probability of class 1.

    Returns:
        float32 array (N, num_classes); each row sums to 1.
    """
    values = np.asarray(model_output, dtype=np.float32)
    if values.ndim == 1:
        values = values[:, None]
    if values.shape[1] == 1:
        values = np.concatenate([1 - values, values], axis=1)
    return values
