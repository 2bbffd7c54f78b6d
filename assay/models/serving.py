"""The serving signature: encoded images (or sensor windows) in, calibrated probabilities and labels out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

if TYPE_CHECKING:
    import keras

    from assay.models.artifact import ModelInfo


def serving_function(model: keras.Model, info: ModelInfo) -> Any:
    """Return the ``tf.function`` that a SavedModel serves.

    Images: ``images`` (N,) string, each the bytes of one JPEG, PNG, BMP or GIF file, decoded and resized as in
    training. TensorFlow reads no TIFF: convert such files, or use `assay.predict`. Sensors: ``windows``
    (N, T, C) float32. Returned are ``probabilities`` (N, K) float32 and ``labels`` (N,) string, the class decided at
    the stored threshold.

    Args:
        model: Raw values in, probabilities out.
        info: Gives shape, colour mode, temperature, threshold and classes; all become constants of the graph.
    """
    if info.kind == "sensor":
        signature = [tf.TensorSpec([None, *info.input_shape], tf.float32, name="windows")]

        def serve_windows(windows: tf.Tensor) -> dict[str, tf.Tensor]:
            return _answer(model, info, windows)

        return tf.function(serve_windows, input_signature=signature)

    def serve_images(images: tf.Tensor) -> dict[str, tf.Tensor]:
        shape = info.input_shape
        pixels = tf.map_fn(lambda data: decode(data, shape), images, fn_output_signature=tf.TensorSpec(shape, tf.uint8))
        return _answer(model, info, tf.cast(pixels, tf.float32))

    return tf.function(serve_images, input_signature=[tf.TensorSpec([None], tf.string, name="images")])


def decode(data: tf.Tensor, shape: tuple[int, ...]) -> tf.Tensor:
    """Decode and resize one image file as `assay.data.images.decode` does.

    Args:
        data: Scalar string.
        shape: H, W, C wanted.

    Returns:
        (H, W, C) uint8.
    """
    height, width, channels = shape
    image = tf.cond(
        tf.io.is_jpeg(data),
        # The exact transform that other readers use; TensorFlow's default is a faster, coarser one.
        lambda: tf.io.decode_jpeg(data, channels=channels, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_image(data, channels=channels, expand_animations=False),
    )
    image = tf.ensure_shape(image, (None, None, channels))
    larger = tf.logical_or(tf.shape(image)[0] > height, tf.shape(image)[1] > width)
    resized = tf.cond(
        larger,
        lambda: tf.image.resize(image, (height, width), method="area"),
        lambda: tf.image.resize(image, (height, width), method="bilinear"),
    )
    # Halves go up: OpenCV halves a side with (a + b + c + d + 2) >> 2.
    return tf.cast(tf.floor(resized + 0.5), tf.uint8)


def _answer(model: keras.Model, info: ModelInfo, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
    from assay.models.artifact import SMALLEST_PROBABILITY

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
