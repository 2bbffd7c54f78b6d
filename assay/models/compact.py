"""A small modern network for training from scratch: residual blocks, batch normalisation, attention pooling."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from assay.models.catalog import Initializer, ModelOptions, Spec, register
from assay.models.heads import output_layer
from assay.models.preprocessing import Preprocessing, preprocess

# Images of one epoch are few where such a network is of use: averages must follow within tens of steps.
NORM_MOMENTUM = 0.9


class CompactOptions(ModelOptions):
    """Options of the compact network."""

    kernel_initializer: Initializer = Field("he_normal", description="how new kernels start, by Keras's name")
    preprocessing: Preprocessing = Field("rescale", description="rescale to 0..1, standardize by channel, or none")
    width: int = Field(24, ge=1, le=1024, description="filters of the first stage, doubled in each further one")
    stages: int = Field(3, ge=1, le=7, description="residual stages; each after the first halves the image's sides")
    blocks: int = Field(1, ge=1, le=16, description="residual blocks in each stage")
    pooling: Literal["average", "attention"] = Field(
        "attention", description="average, or average beside an average with learnt weights"
    )
    dropout: float = Field(0.3, ge=0, lt=1, description="fraction dropped before the output")


@register("compact", family="compact", options=CompactOptions, summary="small residual network, attention pooling")
def compact(inputs: Any, spec: Spec, options: CompactOptions) -> Any:
    """A strided stem, residual stages, and attention pooling; under 200,000 parameters at any size of image.

    Padding keeps every window inside of any image, so that there is no least size.
    """
    from keras import layers

    from assay.models.layers import AttentionPooling

    x = preprocess(inputs, spec, options.preprocessing)
    x = _convolution(x, options.width, 5, 2, "stem", options)
    x = layers.Activation("relu", name="stem_relu")(x)
    for stage in range(1, options.stages + 1):
        filters = options.width * 2 ** (stage - 1)
        for block in range(1, options.blocks + 1):
            strides = 2 if stage > 1 and block == 1 else 1
            x = _residual(x, filters, strides, f"stage{stage}_block{block}", options)
    average = layers.GlobalAveragePooling2D(name="head_pool")(x)
    if options.pooling == "attention":
        attended = AttentionPooling(name="head_attention")(x)
        average = layers.Concatenate(name="head_join")([average, attended])
    if options.dropout:
        average = layers.Dropout(options.dropout, name="head_dropout")(average)
    return output_layer(average, spec, options)


def _residual(x: Any, filters: int, strides: int, name: str, options: CompactOptions) -> Any:
    """Add two 3x3 convolutions to their input (He et al. 2015, arXiv:1512.03385, basic block)."""
    from keras import layers

    shortcut = x
    if strides > 1 or x.shape[-1] != filters:
        shortcut = _convolution(x, filters, 1, strides, f"{name}_shortcut", options)
    x = _convolution(x, filters, 3, strides, f"{name}_first", options)
    x = layers.Activation("relu", name=f"{name}_relu1")(x)
    x = _convolution(x, filters, 3, 1, f"{name}_second", options)
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.Activation("relu", name=f"{name}_relu2")(x)


def _convolution(x: Any, filters: int, kernel: int, strides: int, name: str, options: CompactOptions) -> Any:
    from keras import layers

    x = layers.Conv2D(
        filters,
        kernel,
        strides=strides,
        padding="same",
        use_bias=False,
        name=f"{name}_conv",
        **options.kernel_arguments(),
    )(x)
    return layers.BatchNormalization(momentum=NORM_MOMENTUM, name=f"{name}_norm")(x)
