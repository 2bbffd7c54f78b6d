"""The notes' networks for fetal heart-rate images: large, rectangular, one channel (240x1201x1)."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from assay.models.catalog import ModelOptions, Spec, register
from assay.models.geometry import Window, require_fit
from assay.models.heads import output_layer
from assay.models.preprocessing import Preprocessing, preprocess

Side = Annotated[int, Field(ge=1, le=4096)]
Pair = tuple[Side, Side]


class FhrOptions(ModelOptions):
    """Options that the three networks share."""

    preprocessing: Preprocessing = Field("rescale", description="rescale to 0..1, standardize by channel, or none")


class FhrCnn1Options(FhrOptions):
    """One wide convolution and a pool."""

    filters: int = Field(3, ge=1, le=2048, description="filters of the convolution")
    kernel: Pair = Field((10, 20), description="height and width of the convolution, pixels")
    strides: Pair = Field((4, 8), description="steps of the convolution along height and width, pixels")
    pool: Pair = Field((4, 4), description="height and width of the pool")
    dense: int = Field(0, ge=0, le=65_536, description="units before the output; 0: none")
    dropout: float = Field(0.0, ge=0, lt=1, description="fraction dropped before the output")


class FhrCnn2Options(FhrOptions):
    """Two convolutions and an overlapping pool."""

    filters: int = Field(4, ge=1, le=2048, description="filters of the first convolution")
    kernel: Pair = Field((10, 20), description="height and width of the first convolution, pixels")
    strides: Pair = Field((4, 8), description="steps of the first convolution along height and width, pixels")
    second_filters: int = Field(8, ge=1, le=2048, description="filters of the second convolution")
    second_kernel: Pair = Field((10, 20), description="height and width of the second convolution")
    pool: Pair = Field((4, 4), description="height and width of the pool, which moves by one")
    pool_dropout: float = Field(0.25, ge=0, lt=1, description="fraction dropped after the pool")
    dense: int = Field(128, ge=0, le=65_536, description="units before the output; 0: none")
    dropout: float = Field(0.2, ge=0, lt=1, description="fraction dropped before the output")


class FhrMlpOptions(FhrOptions):
    """Two dense layers on the pixels."""

    dense: int = Field(512, ge=1, le=65_536, description="units of each of the two layers")
    dropout: float = Field(0.4, ge=0, lt=1, description="fraction dropped after each of them")


def _fits_1(name: str, input_shape: tuple[int, ...], options: FhrCnn1Options) -> None:
    windows = [Window("conv1", options.kernel, options.strides), Window("pool", options.pool, options.pool)]
    require_fit(name, input_shape, windows)


@register(
    "fhr_cnn1",
    family="fhr",
    options=FhrCnn1Options,
    fits=_fits_1,
    summary="one 10x20 convolution, stride 4x8, and a pool",
)
def fhr_cnn1(inputs: Any, spec: Spec, options: FhrCnn1Options) -> Any:
    """Conv 3 (10,20) stride (4,8); MaxPool (4,4); output. 3,713 parameters at 240x1201x1 with two classes."""
    from keras import layers

    x = preprocess(inputs, spec, options.preprocessing)
    x = _convolution(options.filters, options.kernel, options.strides, "conv1", options)(x)
    x = layers.MaxPooling2D(options.pool, name="pool")(x)
    x = layers.Flatten(name="head_flatten")(x)
    return output_layer(_dense(x, options, options.dense, options.dropout), spec, options)


def _fits_2(name: str, input_shape: tuple[int, ...], options: FhrCnn2Options) -> None:
    windows = [Window("conv1", options.kernel, options.strides), Window("conv2", options.second_kernel, (1, 1))]
    require_fit(name, input_shape, windows)


@register(
    "fhr_cnn2", family="fhr", options=FhrCnn2Options, fits=_fits_2, summary="two 10x20 convolutions, a pool, Dense 128"
)
def fhr_cnn2(inputs: Any, spec: Spec, options: FhrCnn2Options) -> Any:
    """Conv 4 (10,20) stride (4,8); Conv 8 (10,20); MaxPool (4,4) stride 1 same; Dense 128; output.

    6,480,302 parameters at 240x1201x1 with two classes.
    """
    from keras import layers

    x = preprocess(inputs, spec, options.preprocessing)
    x = _convolution(options.filters, options.kernel, options.strides, "conv1", options)(x)
    x = _convolution(options.second_filters, options.second_kernel, (1, 1), "conv2", options)(x)
    x = layers.MaxPooling2D(options.pool, strides=1, padding="same", name="pool")(x)
    if options.pool_dropout:
        x = layers.Dropout(options.pool_dropout, name="pool_dropout")(x)
    x = layers.Flatten(name="head_flatten")(x)
    return output_layer(_dense(x, options, options.dense, options.dropout), spec, options)


@register("fhr_mlp", family="fhr", options=FhrMlpOptions, summary="two Dense 512 on the pixels, which overfit")
def fhr_mlp(inputs: Any, spec: Spec, options: FhrMlpOptions) -> Any:
    """Dense 512, dropout 0.4, Dense 512, dropout 0.4, output. 147,843,074 parameters at 240x1201x1, two classes."""
    from keras import layers

    x = preprocess(inputs, spec, options.preprocessing)
    x = layers.Flatten(name="flatten")(x)
    for layer in (1, 2):
        x = layers.Dense(options.dense, activation="relu", name=f"dense{layer}", **options.kernel_arguments())(x)
        if options.dropout:
            x = layers.Dropout(options.dropout, name=f"dropout{layer}")(x)
    return output_layer(x, spec, options)


def _convolution(filters: int, kernel: Pair, strides: Pair, name: str, options: FhrOptions) -> Any:
    from keras import layers

    return layers.Conv2D(filters, kernel, strides=strides, activation="relu", name=name, **options.kernel_arguments())


def _dense(x: Any, options: FhrOptions, units: int, dropout: float) -> Any:
    from keras import layers

    if units:
        x = layers.Dense(units, activation="relu", name="head_dense", **options.kernel_arguments())(x)
    if dropout:
        x = layers.Dropout(dropout, name="head_dropout")(x)
    return x
