"""The space that is searched: the configured values that this data set can take, and the size of each network."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from assay.config import SearchConfig
from assay.errors import InputError

if TYPE_CHECKING:
    import keras_tuner

Values = dict[str, Any]

# Of a head on a pretrained base these alone have a meaning.
HEAD_FIELDS = ("pooling", "dense", "dropout", "optimizer", "batch_size")
CNN_FIELDS = ("width", "depth", "kernel", *HEAD_FIELDS)
# Windows are searched with `conv1d`, whose two pairs of convolutions around a pool are fixed.
SENSOR_FIELDS = ("width", "kernel", "dropout", "optimizer", "batch_size")
CONV1D_POOL = 3
SECOND_FILTERS = 1.6  # of conv1d: 160 in the second pair for 100 in the first
# A larger image is reduced by the first convolution's stride, or its first feature map alone would fill the memory.
LARGEST_FEATURE_MAP = 128 * 128
SMALLEST_VGG16_SIDE = 32
VGG16_PARAMETERS = 14_714_688


@dataclass(frozen=True)
class SearchSpace:
    """The values that trials may take.

    Args:
        choices: Field to its possible values, in the order of the columns of every table.
        learning_rate: Low and high; drawn on a log scale.
        removed: What was taken out of the configured space and why, a sentence each.
    """

    choices: dict[str, tuple[Any, ...]]
    learning_rate: tuple[float, float]
    removed: tuple[str, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of all hyperparameters, in the order of the columns of every table."""
        return (*self.choices, "learning_rate")

    def hyperparameters(self) -> keras_tuner.HyperParameters:
        """Return the space in KerasTuner's terms."""
        import keras_tuner

        space = keras_tuner.HyperParameters()
        for field, values in self.choices.items():
            space.Choice(field, list(values))
        space.Float("learning_rate", *self.learning_rate, sampling="log")
        return space

    def values(self, drawn: dict[str, Any]) -> Values:
        """Return a trial's own values: without the tuner's bookkeeping, the rate rounded to three digits.

        The rounded rate is the one trained with and shown, so that a table's row can be repeated by hand.
        """
        values = {field: drawn[field] for field in self.choices}
        values["learning_rate"] = float(f"{drawn['learning_rate']:.3g}")
        return values


def resolve_space(search: SearchConfig, input_shape: tuple[int, ...], images: int) -> SearchSpace:
    """Return the configured space without the values that this data set cannot take.

    Args:
        search: The search's section of the config.
        input_shape: H, W, C of images in pixels, or T, C of sensor windows.
        images: Examples in the training split.

    Raises:
        InputError: Nothing is left of a field, or the hypermodel cannot take such inputs.
    """
    _check_input(search, input_shape)
    if search.hypermodel == "vgg16_head":
        fields: tuple[str, ...] = HEAD_FIELDS
    else:
        fields = SENSOR_FIELDS if is_window(input_shape) else CNN_FIELDS
    choices: dict[str, tuple[Any, ...]] = {}
    removed = []
    for field in fields:
        # The same value twice would be drawn twice as often; KerasTuner wants one type a field.
        configured = tuple(dict.fromkeys(getattr(search.space, field)))
        kept, why = configured, ""
        if field == "depth":
            deepest = largest_depth(input_shape)
            kept = tuple(value for value in configured if value <= deepest)
            size = " x ".join(str(side) for side in input_shape[:-1])
            why = f"an input of {size} leaves nothing to pool after {deepest} blocks"
        elif field == "kernel" and is_window(input_shape):
            kept = tuple(value for value in configured if shortest_window(value) <= input_shape[0])
            why = f"windows of {input_shape[0]} steps are too short for four such convolutions and a pool"
        elif field == "batch_size":
            kept = tuple(value for value in configured if value <= images)
            why = f"the training split holds {images} examples"
        gone = [value for value in configured if value not in kept]
        if gone:
            removed.append(f"search.space.{field}: {', '.join(map(str, gone))} removed: {why}")
        if not kept:
            raise InputError(
                f"search.space.{field}: no value fits this data set: {why}. Received: {list(configured)}. "
                "Add a smaller value."
            )
        choices[field] = kept
    return SearchSpace(choices, search.space.learning_rate, tuple(removed))


def _check_input(search: SearchConfig, input_shape: tuple[int, ...]) -> None:
    if search.hypermodel != "vgg16_head":
        return
    if is_window(input_shape):
        raise InputError(
            f"search.hypermodel vgg16_head needs images. Received: windows of shape {input_shape}. Use hypermodel: cnn."
        )
    if min(input_shape[:2]) < SMALLEST_VGG16_SIDE:
        raise InputError(
            f"search.hypermodel vgg16_head needs sides of {SMALLEST_VGG16_SIDE} pixels or more. "
            f"Received: {input_shape[0]} x {input_shape[1]}. Set data.image_size, or use hypermodel: cnn."
        )


def is_window(input_shape: tuple[int, ...]) -> bool:
    """Return whether a shape is that of sensor windows."""
    return len(input_shape) == 2


def shortest_window(kernel: int) -> int:
    """Return the fewest steps that conv1d takes with such a kernel: two convolutions, a pool, two convolutions."""
    return CONV1D_POOL * (2 * kernel - 1) + 2 * (kernel - 1)


def second_filters(width: int) -> int:
    """Return the filters of conv1d's second pair of convolutions."""
    return round(SECOND_FILTERS * width)


def stem_stride(input_shape: tuple[int, ...]) -> int:
    """Return the stride of the first convolution: 1 up to 128 x 128 pixels, more for larger images."""
    return math.ceil(math.sqrt(math.prod(input_shape[:-1]) / LARGEST_FEATURE_MAP))


def largest_depth(input_shape: tuple[int, ...]) -> int:
    """Return how many blocks, each halving every side, an input allows (0: not even one)."""
    stride = stem_stride(input_shape)
    return int(math.log2(min(math.ceil(side / stride) for side in input_shape[:-1])))


def count_parameters(search: SearchConfig, values: Values, input_shape: tuple[int, ...], classes: int) -> int:
    """Return the weights of a trial's network, counted without building it.

    Args:
        search: Says which hypermodel.
        values: A trial's values; optimizer, rate and batch size do not matter.
        input_shape: H, W, C of images in pixels, or T, C of sensor windows.
        classes: Number of classes.
    """
    if is_window(input_shape):
        filters = [input_shape[-1], *[values["width"]] * 2, *[second_filters(values["width"])] * 2]
        convolutions = sum((values["kernel"] * before + 1) * after for before, after in itertools.pairwise(filters))
        return convolutions + (filters[-1] + 1) * classes
    if search.hypermodel == "vgg16_head":
        base, sides, channels = VGG16_PARAMETERS, [side // 32 for side in input_shape[:-1]], 512
    else:
        base, sides, channels = _count_blocks(values, input_shape)
    features = channels * math.prod(sides) if values["pooling"] == "flatten" else channels
    head = 0
    if values["dense"]:
        # VGG16's flat head has batch normalisation, four values a unit, in place of the bias.
        flat_vgg = search.hypermodel == "vgg16_head" and values["pooling"] == "flatten"
        head = (features + (4 if flat_vgg else 1)) * values["dense"]
        features = values["dense"]
    return base + head + (features + 1) * classes


def _count_blocks(values: Values, input_shape: tuple[int, ...]) -> tuple[int, list[int], int]:
    """Return the weights of all blocks, and the sides and channels of what leaves the last one."""
    stride = stem_stride(input_shape)
    sides, channels = [math.ceil(side / stride) for side in input_shape[:-1]], input_shape[-1]
    total = 0
    for block in range(values["depth"]):
        filters = values["width"] * 2**block
        # The convolution has no bias; batch normalisation has four values a filter.
        total += (values["kernel"] ** 2 * channels + 4) * filters
        channels = filters
        sides = [side // 2 for side in sides]
    return total, sides, channels
