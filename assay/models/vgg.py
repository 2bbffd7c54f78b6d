"""VGG16 and VGG19 under the notes' exact head, a pooled one or one on several layers.

Source: Simonyan & Zisserman 2014, arXiv:1409.1556. That earlier layers see what the last one has lost, textures and
cell borders, and that a head on several of them transfers better: Evci et al. 2022 (Head2Toe), arXiv:2201.03529.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from assay.models.applications import backbone
from assay.models.catalog import ModelOptions, Spec, register
from assay.models.geometry import Window, require_fit
from assay.models.heads import output_layer, pooled_head
from assay.models.preprocessing import BackbonePreprocessing

# The convolutions are padded, so the pools alone decide what fits.
POOLS = [Window(f"block{block}_pool", (2, 2), (2, 2)) for block in range(1, 6)]

HEAD_BLOCKS = (3, 4, 5)  # what a multilayer head sees


class VggOptions(ModelOptions):
    """Options of the head on VGG's convolutions; initializer and L2 are of the head alone."""

    head: Literal["flatten", "pooled", "multilayer"] = Field(
        "flatten",
        description="flatten: the notes' head; pooled: averages of the last block's channels, for fine-tuning; "
        "multilayer: those of the last three blocks, normalised",
    )
    preprocessing: BackbonePreprocessing = Field(
        "backbone", description="backbone: as VGG was trained; rescale, standardize, none: to compare"
    )
    dense: int | None = Field(
        None, ge=0, le=65_536, description="units before the output; 0: none; null: 256 for flatten, else none"
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
    base = backbone(inputs, spec, options.preprocessing)
    if options.head == "flatten":
        head = _flat_head(base.output, options)
    elif options.head == "pooled":
        head = pooled_head(base.output, options, options.dense or 0, options.dropout)
    else:
        head = _multilayer_head(base, options)
    return output_layer(head, spec, options)


def _multilayer_head(base: Any, options: VggOptions) -> Any:
    from keras import layers

    pooled = [
        layers.GlobalAveragePooling2D(name=f"head_pool{block}")(base.get_layer(f"block{block}_pool").output)
        for block in HEAD_BLOCKS
    ]
    # The blocks' activations differ in size by more than ten; the whole is one tensor, so that features can be cached.
    x = layers.Concatenate(name="head_features")(pooled)
    x = layers.BatchNormalization(name="head_norm")(x)
    if options.dense:
        x = layers.Dense(options.dense, activation="relu", name="head_dense", **options.kernel_arguments())(x)
    if options.dropout:
        x = layers.Dropout(options.dropout, name="head_dropout")(x)
    return x


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
