"""What a model consists of: layers, output shapes, parameters and arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LayerRow:
    """One layer of a model.

    Attributes:
        index: Position in ``model.layers``.
        name: The layer's name.
        kind: Its class.
        output_shape: Without the batch axis.
        parameters: All of them.
        trainable: Those that training changes.
        flops: Floating-point operations of one forward pass of one input, a multiplication and an addition being two.
    """

    index: int
    name: str
    kind: str
    output_shape: tuple[int | None, ...]
    parameters: int
    trainable: int
    flops: int


@dataclass(frozen=True)
class ModelDescription:
    """A model's layers with the totals.

    Attributes:
        name: The model's name.
        input_shape: Without the batch axis.
        rows: One a layer, in order.
        total: Parameters.
        trainable: Parameters that training changes.
        frozen: The others: of frozen layers, and moving averages.
        flops: Floating-point operations of one forward pass of one input.
    """

    name: str
    input_shape: tuple[int, ...]
    rows: tuple[LayerRow, ...]
    total: int
    trainable: int
    frozen: int
    flops: int


def summarize(model: Any) -> ModelDescription:
    """Return the description of a built Keras model.

    Args:
        model: A functional ``keras.Model``.
    """
    rows = tuple(
        LayerRow(
            index=index,
            name=layer.name,
            kind=type(layer).__name__,
            output_shape=tuple(layer.output.shape[1:]),
            parameters=count_parameters(layer.weights),
            trainable=count_parameters(layer.trainable_weights),
            flops=layer_flops(layer),
        )
        for index, layer in enumerate(model.layers)
    )
    total, trainable = count_parameters(model.weights), count_parameters(model.trainable_weights)
    return ModelDescription(
        name=model.name,
        input_shape=tuple(model.input_shape[1:]),
        rows=rows,
        total=total,
        trainable=trainable,
        frozen=total - trainable,
        flops=sum(row.flops for row in rows),
    )


def count_parameters(weights: list[Any]) -> int:
    """Return the number of values in a list of Keras variables."""
    return sum(math.prod(weight.shape) for weight in weights)


def layer_flops(layer: Any) -> int:
    """Return the operations of a layer's kernels in one forward pass of one input; other layers count as none.

    Args:
        layer: A built Keras layer with one input and one output.
    """
    kernels = sum(math.prod(weight.shape) for weight in layer.weights if "kernel" in weight.name)
    if type(layer).__name__ in ("LSTM", "GRU", "SimpleRNN"):
        positions = layer.input.shape[1]
    else:
        positions = math.prod(layer.output.shape[1:-1])
    return 2 * kernels * positions
