"""Preprocessing inside the model: raw pixels in, what the network was made for out, in float32.

It has no weights, so that parameter counts are the network's own; ZCA whitening alone has two, which are not trained.
"""

from __future__ import annotations

from typing import Any, Literal

from assay.augmentation.whitening import Whitening
from assay.errors import InputError
from assay.models.catalog import Spec

PREPROCESSING_PREFIX = "preprocess_"

# What a pretrained backbone expects: `caffe` is BGR minus the ImageNet mean, `tf` is -1..1, `torch` is 0..1
# standardised with ImageNet's statistics, `included` means that the backbone's own first layers do it.
BackboneMode = Literal["caffe", "tf", "torch", "included"]
Preprocessing = Literal["rescale", "standardize", "none"]
BackbonePreprocessing = Literal["backbone", "rescale", "standardize", "none"]

CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def preprocess(inputs: Any, spec: Spec, how: BackbonePreprocessing, mode: BackboneMode | None = None) -> Any:
    """Put the preprocessing on the raw inputs.

    Args:
        inputs: Keras tensor of raw values: pixels 0..255 (N, height, width, channels) or windows (N, time, channels).
        spec: Says the channels and, for ``standardize``, their mean and standard deviation.
        how: ``rescale`` divides by 255; ``standardize`` uses the training split's statistics; ``backbone`` is what
            the pretrained network was trained with; ``none`` hands the values on.
        mode: For a pretrained network, what ``backbone`` means; None for others.

    Returns:
        Keras tensor of the same shape; with three channels where a pretrained network is shown grey images.

    Raises:
        InputError: A number of channels that cannot be shown to the network, or statistics that are missing.
    """
    values = inputs
    if mode is not None:
        values = _to_color(values, spec)
        if mode == "included" and how != "backbone":
            raise InputError(
                f"model {spec.name}: its first layers hold its own preprocessing. "
                f"Received: preprocessing {how}; leave it at backbone."
            )
    if spec.whitening is not None and (how != "rescale" or mode is not None):
        raise InputError(
            f"model {spec.name}: ZCA whitening is for networks from scratch with preprocessing rescale. "
            f"Received: preprocessing {how}; set augment.policy.zca_whitening to false, or choose another network."
        )
    if how == "rescale":
        rescaled = _rescale(values, 1 / 255)
        return rescaled if spec.whitening is None else _whiten(rescaled, spec.whitening)
    if how == "standardize":
        return _standardize(values, spec)
    if how == "backbone" and mode is not None:
        return _for_backbone(values, mode)
    return values


def _to_color(values: Any, spec: Spec) -> Any:
    from assay.models.layers import RepeatChannel

    channels = spec.input_shape[-1]
    if channels == 3:
        return values
    if channels == 1:
        return RepeatChannel(3, dtype="float32", name=f"{PREPROCESSING_PREFIX}color")(values)
    raise InputError(
        f"model {spec.name}: a pretrained network sees colour or grey images. Received: {channels} channels; "
        "set data.color_mode to rgb or grayscale, or choose a network that starts from scratch."
    )


def _for_backbone(values: Any, mode: BackboneMode) -> Any:
    from assay.models.layers import ReverseChannels

    if mode == "caffe":
        reversed_values = ReverseChannels(dtype="float32", name=f"{PREPROCESSING_PREFIX}bgr")(values)
        return _rescale(reversed_values, 1.0, [-mean for mean in CAFFE_MEAN_BGR])
    if mode == "tf":
        return _rescale(values, 1 / 127.5, -1.0)
    if mode == "torch":
        scale = [1 / (255 * std) for std in IMAGENET_STD]
        return _rescale(values, scale, [-mean / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)])
    return values


def _whiten(values: Any, whitening: Whitening) -> Any:
    from assay.models.layers import Whiten

    rows, columns = whitening.matrix.shape
    layer = Whiten(
        None if rows == columns else columns, dtype="float32", trainable=False, name=f"{PREPROCESSING_PREFIX}whiten"
    )
    whitened = layer(values)
    layer.set_weights([whitening.mean, whitening.matrix])
    return whitened


def _standardize(values: Any, spec: Spec) -> Any:
    channels = int(values.shape[-1])
    if spec.channel_mean is None or spec.channel_std is None:
        raise InputError(
            f"model {spec.name}: preprocessing standardize needs the training split's mean and standard deviation. "
            "Give channel_mean and channel_std, or choose rescale."
        )
    mean, std = list(spec.channel_mean), list(spec.channel_std)
    if len(mean) != spec.input_shape[-1] or len(std) != spec.input_shape[-1]:
        raise InputError(
            f"model {spec.name}: standardize needs a mean and a standard deviation for each of "
            f"{spec.input_shape[-1]} channels. Received: {len(mean)} and {len(std)}."
        )
    if len(mean) == 1 and channels > 1:
        mean, std = mean * channels, std * channels
    # A constant channel has no spread to divide by.
    scale = [1 / deviation if deviation > 0 else 1.0 for deviation in std]
    return _rescale(values, scale, [-level * factor for level, factor in zip(mean, scale, strict=True)])


def _rescale(values: Any, scale: float | list[float], offset: float | list[float] = 0.0) -> Any:
    import keras

    return keras.layers.Rescaling(scale, offset, dtype="float32", name=f"{PREPROCESSING_PREFIX}rescale")(values)
