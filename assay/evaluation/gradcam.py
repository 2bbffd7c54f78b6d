"""Grad-CAM: where in an image a network found the evidence for its decision; saliency where nothing convolves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import keras

Array = npt.NDArray[Any]
BATCH = 8
# Half precision cannot hold small gradients; the maps are scaled to 1 anyway.
HALF_PRECISION_SCALE = 1024.0
SMALLEST_HEAT = 1e-12
# Below so many places a map hardly says where; above so many along a side it says too much.
FEWEST_PLACES = {1: 8, 2: 16}
FINE_MAP = 24


@dataclass(frozen=True)
class Explanation:
    """Where the evidence lies.

    Attributes:
        heat: 0..1 float32 (N,H,W) for images, (N,T) for windows; all 0 where nothing speaks for the class.
        method: Grad-CAM or saliency.
        layer: The layer whose maps were used; empty for saliency.
    """

    heat: npt.NDArray[np.float32]
    method: str
    layer: str


def explain(model: keras.Model, inputs: Array, classes: npt.NDArray[np.int64]) -> Explanation:
    """Return, for each input, where the evidence for a class lies.

    Args:
        model: A functional model, raw values in, probabilities of a softmax or one sigmoid out.
        inputs: (N,H,W,C) uint8 or (N,T,C) float32.
        classes: The class to speak for, int64 (N,).

    Returns:
        Grad-CAM on the last convolution's map, or the gradient's magnitude where there is no convolution.

    Source:
        Selvaraju et al. 2017, Grad-CAM; where it comes out empty, Draelos and Carin 2020, HiResCAM; Simonyan et
        al. 2013 for saliency.
    """
    maps, layer = feature_map(model)
    size = inputs.shape[1:-1]
    probe = _Probe(model, maps)
    parts = []
    for start in range(0, len(inputs), BATCH):
        some = slice(start, start + BATCH)
        values, gradients = probe.gradients(inputs[some], classes[some])
        heat = np.abs(gradients).max(axis=-1) if maps is None else _class_activation(values, gradients)
        parts.append(np.stack([_scaled(_spread(heat_map, size)) for heat_map in heat]))
    heat = np.concatenate(parts) if parts else np.zeros((0, *size), np.float32)
    return Explanation(heat.astype(np.float32), "saliency" if maps is None else "Grad-CAM", layer)


def feature_map(model: keras.Model) -> tuple[Any, str]:
    """Find the last map that still has places: the output of the last convolution, or of what follows it in place.

    What follows in place is batch normalisation, activation, the join of branches: anything that keeps the
    map's height and width. A map of fewer than 16 places (8 in time) is passed over where an earlier one has more.

    Args:
        model: A functional model, its layers flat in the graph.

    Returns:
        The Keras tensor and the name of its layer; (None, "") where nothing convolves.
    """
    import keras

    operations = list(model.operations)
    convolutions = [
        (math.prod(layer.output.shape[1:-1]), index, layer)
        for index, layer in enumerate(operations)
        if isinstance(layer, keras.layers.Layer) and _convolves(layer) and None not in layer.output.shape[1:]
    ]
    if not convolutions:
        return None, ""
    enough = FEWEST_PLACES[len(convolutions[0][2].output.shape) - 2]
    most = max(places for places, _, _ in convolutions)
    _, position, found = [places for places in convolutions if places[0] >= min(enough, most)][-1]
    tensor, name = found.output, found.name
    for operation in operations[position + 1 :]:
        takes = any(given is tensor for given in keras.tree.flatten(operation.input))
        gives = operation.output
        if takes and hasattr(gives, "shape") and gives.shape[:-1] == tensor.shape[:-1]:
            tensor, name = gives, operation.name
    return tensor, name


def _convolves(layer: Any) -> bool:
    # Every convolution of Keras, separable and depthwise ones too, has these; no other layer has.
    return hasattr(layer, "kernel_size") and hasattr(layer, "dilation_rate")


class _Probe:
    """The network cut open: maps out on the way, and the score of a class before softmax or sigmoid flatten it."""

    def __init__(self, model: keras.Model, maps: Any) -> None:
        import keras

        self.final = model.layers[-1]
        activation = keras.activations.serialize(getattr(self.final, "activation", None))
        self.activation = activation if isinstance(self.final, keras.layers.Dense) else None
        before = self.final.input if self.activation in ("softmax", "sigmoid") else model.output
        self.has_maps = maps is not None
        self.network = keras.Model(model.input, before if maps is None else [before, maps])
        half = any(layer.compute_dtype == "float16" for layer in model.layers)
        self.scale = HALF_PRECISION_SCALE if half else 1.0

    def gradients(self, inputs: Array, classes: npt.NDArray[np.int64]) -> tuple[Array, Array]:
        """Return maps and the score's gradient by them; without maps, inputs and the gradient by them."""
        import tensorflow as tf

        values = tf.convert_to_tensor(inputs.astype(np.float32))
        with tf.GradientTape() as tape:
            tape.watch(values)
            before, at = (
                self.network(values, training=False)
                if self.has_maps
                else (
                    self.network(values, training=False),
                    values,
                )
            )
            score = self._evidence(tf.cast(before, tf.float32), classes) * self.scale
        gradient = tape.gradient(score, at)
        if gradient is None:
            gradient = tf.zeros_like(at)
        return tf.cast(at, tf.float32).numpy(), tf.cast(gradient, tf.float32).numpy()

    def _evidence(self, before: Any, classes: npt.NDArray[np.int64]) -> Any:
        """Return the log-odds of each row's class against all others, summed."""
        import keras
        import tensorflow as tf

        if self.activation in ("softmax", "sigmoid"):
            logits = tf.linalg.matmul(before, tf.cast(self.final.kernel, tf.float32))
            if self.final.use_bias:
                logits += tf.cast(self.final.bias, tf.float32)
        else:
            logits = tf.math.log(tf.maximum(before, keras.backend.epsilon()))
        if logits.shape[-1] == 1:
            if self.activation != "sigmoid":
                logits -= tf.math.log(tf.maximum(1 - before, keras.backend.epsilon()))
            return tf.reduce_sum(logits[:, 0] * tf.constant(np.where(classes == 1, 1.0, -1.0), tf.float32))
        chosen = tf.one_hot(classes, logits.shape[-1], dtype=tf.float32)
        others = tf.reduce_logsumexp(logits - 1e9 * chosen, axis=1)
        return tf.reduce_sum(tf.reduce_sum(logits * chosen, axis=1) - others)


def _class_activation(maps: Array, gradients: Array) -> Array:
    places = tuple(range(1, maps.ndim - 1))
    weights = gradients.mean(axis=places, keepdims=True)
    heat = np.maximum((maps * weights).sum(axis=-1), 0.0)
    # A dense layer on the flattened map weighs each place by itself; the mean over places can then cancel out and
    # leave nothing. There, multiply place by place (the same thing for a head that averages over places).
    empty = heat.max(axis=places) <= SMALLEST_HEAT
    heat[empty] = np.maximum((maps[empty] * gradients[empty]).sum(axis=-1), 0.0)
    return heat


def _spread(heat: Array, size: tuple[int, ...]) -> Array:
    """Bring a map to the input's size; of a fine one, show neighbourhoods: its single places mean little."""
    import cv2

    flat = heat[None] if heat.ndim == 1 else heat
    height, width = (1, size[0]) if heat.ndim == 1 else size
    spread = cv2.resize(flat, (width, height), interpolation=cv2.INTER_LINEAR)
    if max(flat.shape) > FINE_MAP:
        spread = cv2.GaussianBlur(spread, (0, 0), max(1.0, max(height, width) / 60))
    return spread[0] if heat.ndim == 1 else spread


def _scaled(heat: Array) -> Array:
    highest = float(heat.max(initial=0.0))
    return heat / highest if highest > SMALLEST_HEAT and np.isfinite(highest) else np.zeros_like(heat)


def overlay(image: npt.NDArray[np.uint8], heat: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Lay heat over an image: the more evidence, the more of the colour, so that cold tissue stays as it is.

    Args:
        image: (H,W,3) or (H,W,1) uint8, RGB.
        heat: (H,W) 0..1.

    Returns:
        (H,W,3) uint8, RGB.
    """
    import cv2

    base = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
    colors = cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_TURBO)[:, :, ::-1].astype(np.float32)
    share = (0.7 * np.clip(heat, 0, 1) ** 0.8)[:, :, None]
    return np.round(base * (1 - share) + colors * share).astype(np.uint8)
