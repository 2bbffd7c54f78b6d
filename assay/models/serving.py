"""The serving signature: encoded images (or sensor windows) in, calibrated probabilities and labels out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from assay.measures.metrics import SMALLEST_PROBABILITY

if TYPE_CHECKING:
    import keras

    from assay.models.info import ModelInfo


def serving_function(model: keras.Model, info: ModelInfo) -> Any:
    """Return the ``tf.function`` that a SavedModel serves.

    Images: ``images`` (N,) string, each the bytes of one JPEG, PNG, BMP or GIF file, decoded and resized as in
    training. TensorFlow reads no TIFF: convert such files, or use `assay.predict`. Sensors: ``windows``
    (N, T, C) float32; a missing value (NaN) is filled with the channel's training mean where training filled values.
    Returned are ``probabilities`` (N, K) float32 and ``labels`` (N,) string, the class decided at
    the stored threshold.

    Args:
        model: Raw values in, probabilities out.
        info: Gives shape, colour mode, temperature, threshold and classes; all become constants of the graph.
    """
    if info.kind == "sensor":
        signature = [tf.TensorSpec([None, *info.input_shape], tf.float32, name="windows")]

        def serve_windows(windows: tf.Tensor) -> dict[str, tf.Tensor]:
            if info.missing != "error":
                windows = tf.where(tf.math.is_nan(windows), tf.constant(info.channel_means, tf.float32), windows)
            return _answer(model, info, windows)

        return tf.function(serve_windows, input_signature=signature)

    def serve_images(images: tf.Tensor) -> dict[str, tf.Tensor]:
        shape = info.input_shape
        pixels = tf.map_fn(lambda data: decode(data, shape), images, fn_output_signature=tf.TensorSpec(shape, tf.uint8))
        return _answer(model, info, tf.cast(pixels, tf.float32))

    return tf.function(serve_images, input_signature=[tf.TensorSpec([None], tf.string, name="images")])


def decode(data: tf.Tensor, shape: tuple[int, ...]) -> tf.Tensor:
    """Decode and resize one image file as `assay.data.images.decode` does, within a grey level or two.

    What TensorFlow cannot do: the EXIF orientation of a JPEG file is not applied.

    Args:
        data: Scalar string.
        shape: H, W, C wanted.

    Returns:
        (H, W, C) uint8.
    """
    height, width, channels = shape
    is_png = tf.strings.substr(data, 0, 4) == b"\x89PNG"
    image = tf.case(
        [
            # The exact transform that other readers use; TensorFlow's default is a faster, coarser one.
            (tf.io.is_jpeg(data), lambda: tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")),
            (is_png, lambda: _on_white(tf.io.decode_png(data, channels=4))),
        ],
        default=lambda: tf.io.decode_image(data, channels=3, expand_animations=False),
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


def _on_white(image: tf.Tensor) -> tf.Tensor:
    """Lay (H, W, 4) uint8 on white; (H, W, 3) uint8."""
    image = tf.cast(image, tf.float32)
    alpha = image[..., 3:] / 255.0
    return tf.cast(_rounded(image[..., :3] * alpha + 255.0 * (1.0 - alpha)), tf.uint8)


def _rounded(values: tf.Tensor) -> tf.Tensor:
    # Halves go up: OpenCV halves a side with (a + b + c + d + 2) >> 2.
    return tf.floor(values + 0.5)


def _answer(model: keras.Model, info: ModelInfo, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
    outputs = tf.cast(model(inputs, training=False), tf.float32)
    if outputs.shape[-1] == 1:
        outputs = tf.concat([1.0 - outputs, outputs], axis=1)
    probabilities = tf.nn.softmax(tf.math.log(tf.maximum(outputs, SMALLEST_PROBABILITY)) / info.temperature)
    if len(info.classes) == 2:
        positive = probabilities[:, info.positive_index] >= info.threshold
        decided = tf.where(positive, info.positive_index, 1 - info.positive_index)
    else:
        decided = tf.argmax(probabilities, axis=1)
    return {"probabilities": probabilities, "labels": tf.gather(tf.constant(info.classes), decided)}
