"""Small convolutional networks from scratch: cnn3, cnn4, cnn6, cnn9 of the lab notes, and a general `cnn`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from assay.models.catalog import Fits, ModelOptions, Spec, register
from assay.models.geometry import Window, require_fit
from assay.models.heads import output_layer
from assay.models.preprocessing import Preprocessing, preprocess

POOL = 2


class CnnOptions(ModelOptions):
    """Options of the notes' networks: 3x3 convolutions without padding, a 2x2 pool after each block."""

    preprocessing: Preprocessing = Field("rescale", description="rescale to 0..1, standardize by channel, or none")
    width: int = Field(32, ge=1, le=2048, description="filters of the first block, doubled in each further one")
    kernel: int = Field(3, ge=1, le=31, description="side of the convolutions, pixels")
    pool_dropout: float = Field(0.25, ge=0, lt=1, description="fraction dropped after each pool")
    dense: int = Field(64, ge=0, le=65_536, description="units before the output; 0: none")
    dropout: float = Field(0.5, ge=0, lt=1, description="fraction dropped before the output")


class GeneralCnnOptions(CnnOptions):
    """Options of `cnn`, whose depth and padding are free as well: what the search varies."""

    depth: int = Field(3, ge=1, le=8, description="blocks, each with a pool")
    convolutions: int = Field(1, ge=1, le=8, description="convolutions in each block")
    padding: Literal["valid", "same"] = Field("same", description="same: convolutions keep the image's size")
    stride: int = Field(1, ge=1, le=64, description="of the first convolution: more shrinks a large image at once")
    batch_norm: bool = Field(False, description="batch normalisation after each convolution")
    norm_momentum: float = Field(
        0.99, gt=0, lt=1, description="of its running statistics; 0.9 settles within a short run"
    )
    pooling: Literal["flatten", "average"] = Field("flatten", description="how the last block meets the dense layer")


def _fits(blocks: tuple[int, ...] | None) -> Fits:
    """Return what refuses too small an image; ``blocks`` as for `_plain`, None: as the options say."""

    def fits(name: str, input_shape: tuple[int, ...], options: CnnOptions) -> None:
        general = options if isinstance(options, GeneralCnnOptions) else None
        own = (general.convolutions,) * general.depth if general else blocks or ()
        kernel, windows = (options.kernel, options.kernel), []
        for block, convolutions in enumerate(own, start=1):
            for convolution in range(1, convolutions + 1):
                stride = general.stride if general and block == convolution == 1 else 1
                padding = general.padding if general else "valid"
                windows.append(Window(f"block{block}_conv{convolution}", kernel, (stride, stride), padding))
            windows.append(Window(f"block{block}_pool", (POOL, POOL), (POOL, POOL)))
        require_fit(name, input_shape, windows)

    return fits


def _plain(inputs: Any, spec: Spec, options: CnnOptions, blocks: tuple[int, ...]) -> Any:
    """Build one of the notes' networks: ``blocks`` says how many convolutions stand before each pool."""
    general = GeneralCnnOptions(**options.model_dump(), depth=len(blocks), padding="valid")
    return _build(inputs, spec, general, blocks)


def _build(inputs: Any, spec: Spec, options: GeneralCnnOptions, blocks: tuple[int, ...]) -> Any:
    from keras import layers

    from assay.models.dropout import ByteDropout

    kernel = (options.kernel, options.kernel)
    x = preprocess(inputs, spec, options.preprocessing)
    for block, convolutions in enumerate(blocks, start=1):
        filters = options.width * 2 ** (block - 1)
        # The largest of four values rectified is the rectified largest: rectifying after the pool gives the same maps
        # and gradients for a quarter of the work. The last block's convolution, which Grad-CAM shows, keeps its own.
        after_pool = block < len(blocks)
        for convolution in range(1, convolutions + 1):
            rectified = not (after_pool and convolution == convolutions)
            arguments = {
                "name": f"block{block}_conv{convolution}",
                "strides": options.stride if block == convolution == 1 else 1,
                "padding": options.padding,
                **options.kernel_arguments(),
            }
            if options.batch_norm:
                x = layers.Conv2D(filters, kernel, use_bias=False, **arguments)(x)
                x = layers.BatchNormalization(momentum=options.norm_momentum, name=f"block{block}_norm{convolution}")(x)
                x = layers.Activation("relu", name=f"block{block}_relu{convolution}")(x) if rectified else x
            else:
                x = layers.Conv2D(filters, kernel, activation="relu" if rectified else None, **arguments)(x)
        x = layers.MaxPooling2D(POOL, name=f"block{block}_pool")(x)
        if after_pool:
            x = layers.Activation("relu", name=f"block{block}_relu{convolutions}")(x)
        if options.pool_dropout:
            x = ByteDropout(options.pool_dropout, name=f"block{block}_dropout")(x)
    if options.pooling == "average":
        x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    else:
        x = layers.Flatten(name="head_flatten")(x)
    if options.dense:
        x = layers.Dense(options.dense, activation="relu", name="head_dense", **options.kernel_arguments())(x)
    if options.dropout:
        x = layers.Dropout(options.dropout, name="head_dropout")(x)
    return output_layer(x, spec, options)


@register(
    "cnn3",
    family="cnn",
    options=CnnOptions,
    fits=_fits((1, 1, 1)),
    summary="three convolutions, a pool after each, Dense 64",
)
def cnn3(inputs: Any, spec: Spec, options: CnnOptions) -> Any:
    """Conv 32 / 64 / 128. 912,642 parameters at 96x96x3 with two classes."""
    return _plain(inputs, spec, options, (1, 1, 1))


@register(
    "cnn4", family="cnn", options=CnnOptions, fits=_fits((1, 2, 1)), summary="four convolutions (1, 2, 1), Dense 64"
)
def cnn4(inputs: Any, spec: Spec, options: CnnOptions) -> Any:
    """Conv 32 / 64 64 / 128. 793,922 parameters at 96x96x3 with two classes."""
    return _plain(inputs, spec, options, (1, 2, 1))


@register(
    "cnn6",
    family="cnn",
    options=CnnOptions,
    fits=_fits((2, 2, 2)),
    summary="six convolutions, two before each pool, Dense 64",
)
def cnn6(inputs: Any, spec: Spec, options: CnnOptions) -> Any:
    """Conv 32 32 / 64 64 / 128 128. 811,490 parameters at 96x96x3 with two classes."""
    return _plain(inputs, spec, options, (2, 2, 2))


@register(
    "cnn9",
    family="cnn",
    options=CnnOptions,
    fits=_fits((3, 3, 3)),
    summary="nine convolutions, three before each pool, Dense 64",
)
def cnn9(inputs: Any, spec: Spec, options: CnnOptions) -> Any:
    """Conv 32x3 / 64x3 / 128x3. 775,874 parameters at 96x96x3 with two classes."""
    return _plain(inputs, spec, options, (3, 3, 3))


@register(
    "cnn",
    family="cnn",
    options=GeneralCnnOptions,
    fits=_fits(None),
    summary="a CNN of any width, depth and kernel (searched)",
)
def cnn(inputs: Any, spec: Spec, options: GeneralCnnOptions) -> Any:
    """A plain CNN whose shape is given by its options."""
    return _build(inputs, spec, options, (options.convolutions,) * options.depth)
