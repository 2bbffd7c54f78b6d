"""Transfer learning: which layers are the pretrained base, freezing and unfreezing them, cutting a model in two.

A model's base is every layer between preprocessing and head; it lies flat in the graph, so each layer is addressed
by the name or index that it has in ``keras.applications`` (index 0 is the input). Batch normalisation of a base never
trains: its statistics were estimated on millions of images, and a small data set would wash them out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from assay.errors import InputError, did_you_mean
from assay.models.heads import HEAD_PREFIX
from assay.models.preprocessing import PREPROCESSING_PREFIX
from assay.models.summary import count_parameters


@dataclass(frozen=True)
class TrainableCounts:
    """Parameters of a model by whether training changes them."""

    trainable: int
    frozen: int


def base_layers(model: Any) -> list[Any]:
    """Return the layers of a model's base, the input first, without preprocessing and head.

    Args:
        model: A functional ``keras.Model`` from `build_model`.
    """
    return [layer for layer in model.layers if not layer.name.startswith((HEAD_PREFIX, PREPROCESSING_PREFIX))]


def freeze_base(model: Any) -> TrainableCounts:
    """Freeze the whole base: training changes the head alone. Compile the model afterwards."""
    for layer in base_layers(model):
        layer.trainable = False
    return _counts(model)


def unfreeze_from(model: Any, layer: str | int | None) -> TrainableCounts:
    """Let the base train from one layer on and freeze what stands before it. Compile the model afterwards.

    Args:
        model: A model from `build_model`.
        layer: Name or index of the first layer to train; a negative index counts from the base's end, so -8 means
            the last eight layers. None: the whole base.

    Raises:
        InputError: An unknown name (the nearest are offered) or an index outside of the base.
    """
    first = 0 if layer is None else base_index(model, layer)
    for index, member in enumerate(base_layers(model)):
        member.trainable = index >= first and not _is_batch_norm(member)
    return _counts(model)


def base_index(model: Any, layer: str | int) -> int:
    """Return the index among `base_layers` of a layer given by name or index.

    Raises:
        InputError: An unknown name (the nearest are offered) or an index outside of the base.
    """
    names = [member.name for member in base_layers(model)]
    if isinstance(layer, str):
        if layer in names:
            return names.index(layer)
        hint = did_you_mean(layer, names) or f" The first and last are '{names[1]}' and '{names[-1]}'."
        raise InputError(f"model {model.name}: its base has no layer '{layer}'.{hint}")
    if not -len(names) <= layer < len(names):
        raise InputError(
            f"model {model.name}: its base has {len(names)} layers, indices 0 to {len(names) - 1} "
            f"(or -{len(names)} to -1 from the end). Received: {layer}"
        )
    return layer % len(names)


def _is_batch_norm(layer: Any) -> bool:
    import keras

    return isinstance(layer, keras.layers.BatchNormalization)


def _counts(model: Any) -> TrainableCounts:
    trainable = count_parameters(model.trainable_weights)
    return TrainableCounts(trainable, count_parameters(model.weights) - trainable)
