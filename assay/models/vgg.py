"""VGG16 and VGG19 with the notes' exact head or a pooled one (Simonyan & Zisserman 2014, arXiv:1409.1556)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from assay.models.applications import backbone_features
from assay.models.catalog import ModelOptions, Spec, register
from assay.models.geometry import Window, require_fit
from assay.models.heads import output_layer, pooled_head
from assay.models.preprocessing import BackbonePreprocessing

# The convolutions are padded, so the pools alone decide what fits.
POOLS = [Window(f"block{block}_pool", (2, 2), (2, 2)) for block in range(1, 6)]


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


def _fits(name: str, input_shape: tuple[int, ...], options: VggOptions) -> None:
    require_fit(name, input_shape, POOLS)


@register(
    "vgg16", family="vgg", options=VggOptions, pretrained=True, fits=_fits, summary="VGG16 under a flat or pooled head"
)
@register(
    "vgg19", family="vgg", options=VggOptions, pretrained=True, fits=_fits, summary="VGG19 under a flat or pooled head"
)
def vgg(inputs: Any, spec: Spec, options: VggOptions) -> Any:
    """VGG's convolutions and a head; VGG16 with the flat one has 15,895,874 parameters at 96x96x3, two classes."""
    features = backbone_features(inputs, spec, options.preprocessing)
    if options.head == "flatten":
        head = _flat_head(features, options)
    else:
        head = pooled_head(features, options, options.dense or 0, options.dropout)
    return output_layer(head, spec, options)


def _flat_head(x: Any, options: VggOptions) -> Any:
    from keras import layers

    x = layers.Flatten(name="head_flatten")(x)
    units = 256 if options.dense is None else options.dense
    if units:
        x = layers.Dense(units, use_bias=False, name="head_dense", **options.kernel_arguments())(x)
        x = layers.BatchNormalization(name="head_norm")(x)
        x = layers.Activation("relu", name="head_relu")(x)
    if options.dropout:
        x = layers.Dropout(options.dropout, name="head_dropout")(x)
    return x
