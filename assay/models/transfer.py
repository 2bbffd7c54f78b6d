"""Transfer learning: which layers are the pretrained base, freezing and unfreezing them, cutting a model in two.

A model's base is every layer between preprocessing and head; it lies flat in the graph, so each layer is addressed
by the name or index that it has in ``keras.applications`` (index 0 is the input). Batch normalisation of a base never
trains: its statistics were estimated on millions of images, and a small data set would wash them out.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assay.errors import AssayError, InputError, did_you_mean, shortened
from assay.hashing import code_version, hash_json
from assay.models.heads import HEAD_PREFIX
from assay.models.preprocessing import PREPROCESSING_PREFIX
from assay.models.summary import count_parameters, layer_flops
from assay.storage.cache import cache_folder
from assay.storage.files import new_file

# Convolutions of each block, which ends in a pool.
VGG_CONVOLUTIONS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
_PRINT_LAYERS = """
import json, sys
from assay.observability.quiet import silence_tensorflow
silence_tensorflow()
from assay.models.catalog import build_model, find_model
from assay.models.transfer import base_layers
name, options = sys.argv[1], json.loads(sys.argv[2])
shape = (160, 160, 3) if find_model(name).kind == "image" else (2000, 3)
model = build_model(name, shape, 2, options=options, channel_mean=(0.0,) * 3, channel_std=(1.0,) * 3)
print(json.dumps([layer.name for layer in base_layers(model)]))
"""


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


def layer_rates(model: Any, decay: float) -> dict[str, float]:
    """Return the factor on the learning rate of each weight of the base: the deeper it lies, the less it changes.

    Args:
        model: A model from `build_model`.
        decay: Factor from each layer with weights to the one before it, above 0; the base's last has it once, the
            head not at all.

    Returns:
        Factors by the path of the variable; the head's are left out.

    Source:
        Howard & Ruder 2018 (discriminative fine-tuning), arXiv:1801.06146; Clark et al. 2020 (layer-wise decay),
        arXiv:2003.10555.
    """
    weighted = [layer for layer in base_layers(model) if layer.weights]
    deepest = len(weighted)
    return {weight.path: decay ** (deepest - i) for i, layer in enumerate(weighted) for weight in layer.weights}


def base_index(model: Any, layer: str | int) -> int:
    """Return the index among `base_layers` of a layer given by name or index.

    Raises:
        InputError: An unknown name (the nearest are offered) or an index outside of the base.
    """
    return layer_index(model.name, [member.name for member in base_layers(model)], layer)


def base_layer_names(name: str, options: Mapping[str, Any]) -> list[str]:
    """Return the names of the layers of a registered model's base, the input first, as `base_layers` orders them.

    Those of VGG are known; any other network is built for it, once on a machine, by a process of its own: this one
    may have no other use for TensorFlow.

    Args:
        name: A registered name.
        options: The model's options by name.

    Raises:
        AssayError: The network cannot be built.
    """
    if name in VGG_CONVOLUTIONS:
        blocks = enumerate(VGG_CONVOLUTIONS[name], start=1)
        layers = [[*(f"block{b}_conv{c}" for c in range(1, count + 1)), f"block{b}_pool"] for b, count in blocks]
        return ["input", *itertools.chain.from_iterable(layers)]
    known = cache_folder("layers") / f"{name}-{hash_json([dict(options), code_version()])[:16]}.json"
    if not known.is_file():
        command = [sys.executable, "-c", _PRINT_LAYERS, name, json.dumps(dict(options))]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        if done.returncode:
            raise AssayError(f"model {name}: cannot be built ({shortened(done.stderr.strip()[-300:])}).")
        with new_file(known) as stage:
            stage.write_text(done.stdout.strip().splitlines()[-1], encoding="utf-8")
    names: list[str] = json.loads(known.read_text(encoding="utf-8"))
    return names


def layer_index(model: str, names: Sequence[str], layer: str | int) -> int:
    """Return the index of a layer among the names of a base's layers; see `base_index`."""
    if isinstance(layer, str):
        if layer in names:
            return names.index(layer)
        hint = did_you_mean(layer, names) or f" The first and last are '{names[1]}' and '{names[-1]}'."
        raise InputError(f"model {model}: its base has no layer '{layer}'.{hint}")
    if not -len(names) <= layer < len(names):
        raise InputError(
            f"model {model}: its base has {len(names)} layers, indices 0 to {len(names) - 1} "
            f"(or -{len(names)} to -1 from the end). Received: {layer}"
        )
    return layer % len(names)


def _is_batch_norm(layer: Any) -> bool:
    import keras

    return isinstance(layer, keras.layers.BatchNormalization)


def _counts(model: Any) -> TrainableCounts:
    trainable = count_parameters(model.trainable_weights)
    return TrainableCounts(trainable, count_parameters(model.weights) - trainable)


@dataclass(frozen=True)
class CutPoint:
    """A place where a model can be cut in two, because one single tensor passes there.

    Attributes:
        layer: Name of the last layer before the cut.
        output_shape: Of that tensor, without the batch axis.
        flops: Floating-point operations of one forward pass up to here.
        frozen: Whether nothing up to here changes in training: no trainable weight and no random layer, so that its
            output can be computed once and kept.
    """

    layer: str
    output_shape: tuple[int, ...]
    flops: int
    frozen: bool


def cut_points(model: Any) -> list[CutPoint]:
    """Return every place where a model can be cut in two, in order; the network's output is not one of them.

    Args:
        model: A functional ``keras.Model`` with one input and one output.
    """
    import keras

    operations = model.operations
    position = {id(operation): index for index, operation in enumerate(operations)}
    last_use = [0] * len(operations)
    for index, operation in enumerate(operations):
        for producer in _producers(operation, position):
            last_use[producer] = max(last_use[producer], index)
    points = []
    flops, frozen, furthest = 0, True, 0
    for index, operation in enumerate(operations[:-1]):
        if isinstance(operation, keras.layers.Layer):
            flops += layer_flops(operation)
            frozen = frozen and not operation.trainable_weights and not _is_random(operation)
        # `furthest` is where the tensors made before this one are last used: beyond here, they would cross the cut.
        crosses, furthest = furthest > index, max(furthest, last_use[index])
        if crosses or isinstance(operation, keras.layers.InputLayer) or not isinstance(operation, keras.layers.Layer):
            continue
        points.append(CutPoint(operation.name, tuple(operation.output.shape[1:]), flops, frozen))
    return points


def split_at(model: Any, layer: str) -> tuple[Any, Any]:
    """Cut a model in two that share its layers and weights: training the tail trains the model.

    Args:
        model: A functional ``keras.Model`` from `build_model`.
        layer: Name of the last layer before the cut; one of `cut_points`.

    Returns:
        The prefix (raw pixels to features) and the tail (features to probabilities), both ``keras.Model``.

    Raises:
        InputError: No such layer, or more than one tensor passes there.
    """
    import keras

    legal = [point.layer for point in cut_points(model)]
    if layer not in legal:
        names = [member.name for member in model.layers]
        if layer not in names:
            hint = did_you_mean(layer, names) or f" It can be cut after {', '.join(legal)}."
            raise InputError(f"model {model.name}: it has no layer '{layer}' to be cut at.{hint}")
        where = names.index(layer)
        before = [name for name in legal if names.index(name) < where][-1:]
        after = [name for name in legal if names.index(name) > where][:1]
        nearest = " or ".join(f"'{name}'" for name in before + after)
        raise InputError(
            f"model {model.name}: it cannot be cut after '{layer}', where more than one tensor passes. "
            f"The nearest places are {nearest}."
        )
    features = model.get_layer(layer).output
    prefix = keras.Model(model.input, features, name=f"{model.name}_prefix")
    tail = keras.Model(features, model.output, name=f"{model.name}_tail")
    return prefix, tail


def _producers(operation: Any, position: dict[int, int]) -> list[int]:
    """Return the positions of the operations whose outputs an operation takes."""
    import keras

    if isinstance(operation, keras.layers.InputLayer):
        return []
    tensors = keras.tree.flatten(operation.input)
    return [position[id(tensor._keras_history.operation)] for tensor in tensors]


def _is_random(layer: Any) -> bool:
    return any("seed_generator" in variable.path for variable in layer.variables)
