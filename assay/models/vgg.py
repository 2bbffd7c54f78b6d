"""VGG16 and VGG19 with the notes' exact head or a pooled one (Simonyan & Zisserman 2014, arXiv:1409.1556)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from assay.models.geometry import Window, require_fit
from assay.models.heads import output_layer
from assay.models.preprocessing import BackbonePreprocessing, preprocess
from assay.models.registry import ModelOptions, Spec, register

POOLS = 5


class VggOptions(ModelOptions):
    """Options of the head on VGG's convolutions; initializer and L2 are of the head alone."""

    head: Literal["flatten", "pooled"] = Field(
        "flatten", description="flatten: the notes' head; pooled: global average pooling, for fine-tuning"
    )
    preprocessing: BackbonePreprocessing = Field(
        "backbone", description="backbone: as VGG was trained; rescale, standardize, none: to compare"
    )
    dense: int | None = Field(
        None, ge=0, le=65_536, description="units before the output; 0: none; null: 256 for flatten, none for pooled"
    )
    dropout: float = Field(0.5, ge=0, lt=1, description="fraction dropped before the output")


def _vgg(inputs: Any, spec: Spec, options: VggOptions, constructor: str) -> Any:
    import keras

    pools = [Window(f"block{block}_pool", (2, 2), (2, 2)) for block in range(1, POOLS + 1)]
    require_fit(spec.name, spec.input_shape, pools)
    x = preprocess(inputs, spec, options.preprocessing, "caffe")
    base = getattr(keras.applications, constructor)(
        include_top=False, weights=None, input_tensor=x, input_shape=(*spec.input_shape[:2], 3)
    )
    return output_layer(_head(base.output, options), spec, options)


def _head(x: Any, options: VggOptions) -> Any:
    from keras import layers

    arguments = options.kernel_arguments()
    if options.head == "flatten":
        x = layers.Flatten(name="head_flatten")(x)
        units = 256 if options.dense is None else options.dense
        if units:
            x = layers.Dense(units, use_bias=False, name="head_dense", **arguments)(x)
            x = layers.BatchNormalization(name="head_norm")(x)
            x = layers.Activation("relu", name="head_relu")(x)
    else:
        x = layers.GlobalAveragePooling2D(name="head_pool")(x)
        if options.dense:
            x = layers.Dense(options.dense, activation="relu", name="head_dense", **arguments)(x)
    if options.dropout:
        x = layers.Dropout(options.dropout, name="head_dropout")(x)
    return x


@register(
    "vgg16",
    family="vgg",
    options=VggOptions,
    pretrained=True,
    summary="VGG16, flat or pooled head",
)
def vgg16(inputs: Any, spec: Spec, options: VggOptions) -> Any:
    """VGG16; with the flat head 15,895,874 parameters at 96x96x3 with two classes."""
    return _vgg(inputs, spec, options, "VGG16")


@register(
    "vgg19",
    family="vgg",
    options=VggOptions,
    pretrained=True,
    summary="VGG19, flat or pooled head",
)
def vgg19(inputs: Any, spec: Spec, options: VggOptions) -> Any:
    """VGG19 under the same heads."""
    return _vgg(inputs, spec, options, "VGG19")
