"""The serving signatures: pixels, encoded images or sensor windows in, calibrated probabilities and labels out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from assay.config import DataConfig
from assay.data.samples import WHOLE_RANGE, Rendering
from assay.measures.calibration import Calibration, Curve
from assay.measures.metrics import SMALLEST_PROBABILITY
from assay.models.encoded import is_deep_png, is_jpeg, is_png, refusal
from assay.models.info import BYTES_SIGNATURE, ERRORS_SIGNATURE, PIXELS_SIGNATURE, ModelInfo

if TYPE_CHECKING:
    import keras


def serving_functions(model: keras.Model, info: ModelInfo) -> dict[str, Any]:
    """Return the ``tf.function`` of each signature that a SavedModel serves.

    Each returns ``probabilities`` (N, K) float32 and ``labels`` (N,) string, the class decided at the stored
    threshold or by the stored offsets. Of images there are three:

    - ``serving_default`` takes ``images`` (N,) string, each the bytes of one JPEG, PNG or BMP file. What TensorFlow
      would decode otherwise than training did is refused with the reason (`assay.models.encoded`): the request fails.
    - ``with_errors`` takes the same and fails for none of them: ``errors`` (N,) string is the reason of each that is
      refused, which has an empty label and NaN for probabilities; empty for the others.
    - ``pixels`` takes ``pixels`` (N, H, W, C) uint8, decoded and resized by `assay.data.images`: any file.

    Of sensors ``serving_default`` takes ``windows`` (N, T, C) float32; what training took for missing (NaN, and
    ``missing_values`` and flat lines where it was told so) is filled with the channel's training mean where training
    did so, else refused. The channels of a mask are made here, too.

    Args:
        model: Raw values in, probabilities out.
        info: Gives shape, colour mode, calibration, threshold and classes; all become constants of the graph.
    """
    if info.kind == "sensor":
        signature = [tf.TensorSpec([None, *info.file_shape], tf.float32, name="windows")]

        def serve_windows(windows: tf.Tensor) -> dict[str, tf.Tensor]:
            windows = _marked(windows, info)
            gone = tf.math.is_nan(windows)
            if info.missing == "mean":
                windows = tf.where(gone, tf.constant(info.channel_means, tf.float32), windows)
            if info.missing_mask:
                windows = tf.concat([windows, tf.cast(gone, tf.float32)], axis=-1)
            finite = tf.reduce_all(tf.math.is_finite(windows))
            # Of such values a network makes a probability that is no number, and of that the negative class.
            check = tf.debugging.Assert(finite, ["windows with missing or infinite values are refused"])
            with tf.control_dependencies([check]):
                return _answer(model, info, tf.identity(windows))

        return {BYTES_SIGNATURE: tf.function(serve_windows, signature, autograph=False)}

    of_files = tf.TensorSpec([None], tf.string, name="images")
    of_pixels = tf.TensorSpec([None, *info.input_shape], tf.uint8, name="pixels")

    def decoded(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.map_fn(
            lambda data: decode_or_refuse(data, info.input_shape, info.max_pixels, Rendering.of(info)),
            images,
            fn_output_signature=(tf.TensorSpec(info.input_shape, tf.uint8), tf.TensorSpec([], tf.string)),
        )

    # One function for both signatures: a SavedModel holds it once.
    decode_all = tf.function(decoded, [of_files], autograph=False)

    def serve_images(images: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels, errors = decode_all(images)
        refused = tf.where(errors != "")[:, 0]
        named = tf.strings.join(["image ", tf.strings.as_string(refused), " is refused: ", tf.gather(errors, refused)])
        first = tf.strings.reduce_join(named[:1])
        with tf.control_dependencies([tf.debugging.Assert(tf.equal(tf.size(refused), 0), [first])]):
            return _answer(model, info, tf.cast(tf.identity(pixels), tf.float32))

    def serve_with_errors(images: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels, errors = decode_all(images)
        answer = _answer(model, info, tf.cast(pixels, tf.float32))
        usable = errors == ""
        return {
            "probabilities": tf.where(usable[:, None], answer["probabilities"], np.float32("nan")),
            "labels": tf.where(usable, answer["labels"], ""),
            "errors": errors,
        }

    def serve_pixels(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return _answer(model, info, tf.cast(pixels, tf.float32))

    return {
        BYTES_SIGNATURE: tf.function(serve_images, [of_files], autograph=False),
        ERRORS_SIGNATURE: tf.function(serve_with_errors, [of_files], autograph=False),
        PIXELS_SIGNATURE: tf.function(serve_pixels, [of_pixels], autograph=False),
    }


def _marked(windows: tf.Tensor, info: ModelInfo) -> tf.Tensor:
    """Return windows (N, T, C) as `assay.data.missing.mark_missing` does."""
    nan = np.float32("nan")
    for value in info.missing_values:
        windows = tf.where(windows == np.float32(value), nan, windows)
    steps, time = info.missing_flat_steps, info.file_shape[0]
    if steps is None or steps > time:
        return windows

    def summed(values: tf.Tensor, before: int, after: int) -> tf.Tensor:
        return tf.cumsum(tf.pad(tf.cast(values, tf.int32), [[0, 0], [before + 1, after], [0, 0]]), axis=1)

    repeats = summed(windows[:, 1:] == windows[:, :-1], 0, 0)
    begins = repeats[:, steps - 1 :] - repeats[:, : time - steps + 1] == steps - 1
    begun = summed(begins, steps - 1, steps - 1)
    return tf.where(begun[:, steps:] > begun[:, :time], nan, windows)


def decode(
    data: tf.Tensor,
    shape: tuple[int, ...],
    max_pixels: int = DataConfig.model_fields["max_pixels"].default,
    rendering: Rendering = WHOLE_RANGE,
) -> tf.Tensor:
    """Decode and resize one image file as `assay.data.images.decode` does, within a grey level or two.

    Args:
        data: Scalar string.
        shape: H, W, C wanted.
        max_pixels: A larger image is refused.
        rendering: Window and bands of the training.

    Returns:
        (H, W, C) uint8.

    Raises:
        tf.errors.InvalidArgumentError: The file is one that TensorFlow would decode otherwise, or not at all.
    """
    pixels, reason = decode_or_refuse(data, shape, max_pixels, rendering)
    message = tf.strings.join(["the image is refused: ", reason])
    with tf.control_dependencies([tf.debugging.Assert(tf.equal(reason, ""), [message])]):
        return tf.identity(pixels)


def decode_or_refuse(
    data: tf.Tensor, shape: tuple[int, ...], max_pixels: int, rendering: Rendering
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decode and resize one image file, or say why not.

    Args:
        data: Scalar string.
        shape: H, W, C wanted.
        max_pixels: A larger image is refused.
        rendering: Window and bands of the training.

    Returns:
        (H, W, C) uint8, zeros for a refused one, and the reason of the refusal, scalar string, else empty.
    """
    reason = refusal(data, max_pixels, rendering)
    pixels = tf.cond(tf.equal(reason, ""), lambda: _decoded(data, shape, rendering), lambda: tf.zeros(shape, tf.uint8))
    return tf.ensure_shape(pixels, shape), reason


def _decoded(data: tf.Tensor, shape: tuple[int, ...], rendering: Rendering) -> tf.Tensor:
    height, width, channels = shape
    image = tf.case(
        [
            # The exact transform that other readers use; TensorFlow's default is a faster, coarser one.
            (is_jpeg(data), lambda: tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")),
            (
                is_deep_png(data),
                lambda: _on_white(_levels(data, rendering)),
            ),
            (is_png(data), lambda: _on_white(tf.io.decode_png(data, channels=4))),
        ],
        default=lambda: tf.io.decode_bmp(data, channels=3),
    )
    image = tf.cast(tf.ensure_shape(image, (None, None, 3)), tf.float32)
    if channels == 1:
        image = _rounded(tf.tensordot(image, tf.constant([[0.299], [0.587], [0.114]]), axes=1))
    # An axis that shrinks is averaged, one that grows is interpolated.
    size = tf.shape(image)
    shrunk = tf.minimum(size[:2], (height, width))
    image = _rounded(tf.image.resize(image, shrunk, method="area"))
    image = _rounded(tf.image.resize(image, (height, width), method="bilinear"))
    return tf.cast(image, tf.uint8)


def _levels(data: tf.Tensor, rendering: Rendering) -> tf.Tensor:
    """Return (H, W, 4) uint8 of a PNG of 16 bits: colours by the window, opacity by its whole range."""
    low, high = rendering.window if isinstance(rendering.window, tuple) else (0.0, 65535.0)
    values = tf.cast(tf.io.decode_png(data, channels=4, dtype=tf.uint16), tf.float64)
    colours = tf.clip_by_value((values[..., :3] - low) * (255.0 / (high - low)), 0.0, 255.0)
    levels = tf.concat([colours, values[..., 3:] / 257.0], axis=-1)
    return tf.cast(_rounded(levels), tf.uint8)


def _on_white(image: tf.Tensor) -> tf.Tensor:
    """Lay (H, W, 4) uint8 on white; (H, W, 3) uint8."""
    image = tf.cast(image, tf.float32)
    alpha = image[..., 3:] / 255.0
    return tf.cast(_rounded(image[..., :3] * alpha + 255.0 * (1.0 - alpha)), tf.uint8)


def _rounded(values: tf.Tensor) -> tf.Tensor:
    # Halves go up: OpenCV halves a side with (a + b + c + d + 2) >> 2.
    return tf.floor(values + 0.5)


def _answer(model: keras.Model, info: ModelInfo, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
    # What is done to probabilities is done in the precision that `Calibration.apply` has.
    outputs = tf.cast(tf.cast(model(inputs, training=False), tf.float32), tf.float64)
    if outputs.shape[-1] == 1:
        outputs = tf.concat([1.0 - outputs, outputs], axis=1)
    probabilities = tf.cast(calibrated(info.calibration, outputs), tf.float32)
    if len(info.classes) == 2:
        positive = probabilities[:, info.positive_index] >= info.threshold
        decided = tf.where(positive, info.positive_index, 1 - info.positive_index)
    else:
        # As float64, the precision that `decide` has.
        factors = tf.exp(tf.constant(info.class_offsets or (0.0,) * len(info.classes), tf.float64))
        decided = tf.argmax(tf.cast(probabilities, tf.float64) * factors, axis=1)
    return {"probabilities": probabilities, "labels": tf.gather(tf.constant(info.classes), decided)}


def calibrated(calibration: Calibration, probabilities: tf.Tensor) -> tf.Tensor:
    """Do in the graph what `Calibration.apply` does; float64 (N, K) both."""
    if calibration.is_identity:
        return probabilities
    logs = tf.math.log(tf.maximum(probabilities, SMALLEST_PROBABILITY))
    if calibration.prior_shift:
        logs = tf.nn.log_softmax(logs - tf.constant(calibration.prior_shift, tf.float64))
    if calibration.curves:
        odds = _log_odds(logs)
        along = [_along(curve, odds[:, index]) for index, curve in enumerate(calibration.curves)]
        logs = tf.math.log_sigmoid(tf.stack(along, axis=1))
    if calibration.slopes:
        logs *= tf.constant(calibration.slopes, tf.float64)
    if calibration.intercepts:
        logs += tf.constant(calibration.intercepts, tf.float64)
    return tf.nn.softmax(logs)


def _log_odds(logs: tf.Tensor) -> tf.Tensor:
    if logs.shape[1] == 2:
        return logs - logs[:, ::-1]
    return logs - tf.math.log(tf.maximum(-tf.math.expm1(tf.minimum(logs, 0.0)), SMALLEST_PROBABILITY))


def _along(curve: Curve, values: tf.Tensor) -> tf.Tensor:
    at, to = (tf.constant(axis, tf.float64) for axis in zip(*curve, strict=True))
    if len(curve) == 1:
        return values - at[0] + to[0]
    inside = tf.clip_by_value(values, at[0], at[-1])
    left = tf.clip_by_value(tf.searchsorted(at, inside, side="right") - 1, 0, len(curve) - 2)
    x, y = tf.gather(at, left), tf.gather(to, left)
    slope = (tf.gather(to, left + 1) - y) / (tf.gather(at, left + 1) - x)
    return y + slope * (inside - x) + (values - inside)
