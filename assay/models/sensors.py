"""The notes' networks for sensor windows (time, channels): conv1d and lstm."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from assay.models.catalog import ModelOptions, Spec, register
from assay.models.geometry import Window, require_fit
from assay.models.heads import output_layer
from assay.models.preprocessing import preprocess


class SensorOptions(ModelOptions):
    """Options that both networks share."""

    preprocessing: Literal["standardize", "none"] = Field(
        "standardize", description="standardize each channel by the training split's statistics, or none"
    )
    dropout: float = Field(0.5, ge=0, lt=1, description="fraction dropped before the output")


class Conv1dOptions(SensorOptions):
    """Two pairs of convolutions along time with a pool between them."""

    kernel: int = Field(10, ge=1, le=4096, description="length of the convolutions, time steps")
    filters: int = Field(100, ge=1, le=8192, description="filters of the first pair")
    second_filters: int = Field(160, ge=1, le=8192, description="filters of the second pair")
    pool: int = Field(3, ge=1, le=4096, description="length of the pool, time steps")


class LstmOptions(SensorOptions):
    """One recurrent layer."""

    units: int = Field(128, ge=1, le=8192, description="units of the LSTM")


def _fits(name: str, input_shape: tuple[int, ...], options: Conv1dOptions) -> None:
    windows = [
        Window("conv1", (options.kernel,), (1,)),
        Window("conv2", (options.kernel,), (1,)),
        Window("pool", (options.pool,), (options.pool,)),
        Window("conv3", (options.kernel,), (1,)),
        Window("conv4", (options.kernel,), (1,)),
    ]
    require_fit(name, input_shape, windows)


@register(
    "conv1d", family="sensors", kind="sensor", options=Conv1dOptions, fits=_fits, summary="four convolutions along time"
)
def conv1d(inputs: Any, spec: Spec, options: Conv1dOptions) -> Any:
    """Conv1D 100x10 twice, MaxPool 3, Conv1D 160x10 twice, average pooling, dropout 0.5, output.

    520,486 parameters for 80 steps of 3 channels with six classes.
    """
    from keras import layers

    x = preprocess(inputs, spec, options.preprocessing)
    for number in (1, 2, 3, 4):
        filters = options.filters if number <= 2 else options.second_filters
        x = layers.Conv1D(
            filters, options.kernel, activation="relu", name=f"conv{number}", **options.kernel_arguments()
        )(x)
        if number == 2:
            x = layers.MaxPooling1D(options.pool, name="pool")(x)
    x = layers.GlobalAveragePooling1D(name="head_pool")(x)
    if options.dropout:
        x = layers.Dropout(options.dropout, name="head_dropout")(x)
    return output_layer(x, spec, options)


@register("lstm", family="sensors", kind="sensor", options=LstmOptions, summary="one LSTM of 128 units")
def lstm(inputs: Any, spec: Spec, options: LstmOptions) -> Any:
    """LSTM 128, dropout 0.5, output. 68,358 parameters for windows of 3 channels with six classes."""
    from keras import layers

    x = preprocess(inputs, spec, options.preprocessing)
    x = layers.LSTM(options.units, name="lstm", **options.kernel_arguments())(x)
    if options.dropout:
        x = layers.Dropout(options.dropout, name="head_dropout")(x)
    return output_layer(x, spec, options)
