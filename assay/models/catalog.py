"""The model registry: every architecture by name, with options that are checked before anything is built."""

from __future__ import annotations

import functools
import importlib
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from assay.config import Section, parse_section
from assay.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import keras

    from assay.augmentation.whitening import Whitening
    from assay.models.summary import ModelDescription

Output = Literal["softmax", "sigmoid"]
Kind = Literal["image", "sensor"]

Initializer = Literal[
    "glorot_uniform",
    "glorot_normal",
    "he_uniform",
    "he_normal",
    "lecun_uniform",
    "lecun_normal",
    "random_normal",
    "random_uniform",
    "truncated_normal",
    "orthogonal",
]

# The modules that register models when imported. They import Keras only inside their builders, so that
# names and options can be listed and checked without it.
_FAMILIES = ("cnn", "compact", "fhr", "sensors", "vgg", "inception", "applications")


class ModelOptions(Section):
    """Options that every model has."""

    kernel_initializer: Initializer = Field("glorot_uniform", description="how new kernels start, by Keras's name")
    l2: float = Field(0.0, ge=0, le=1, description="L2 penalty on the kernels that are trained from scratch")

    def kernel_arguments(self) -> dict[str, Any]:
        """Return the keyword arguments that these options mean for a layer with a kernel."""
        import keras

        return {
            "kernel_initializer": self.kernel_initializer,
            "kernel_regularizer": keras.regularizers.L2(self.l2) if self.l2 else None,
        }


@dataclass(frozen=True)
class Spec:
    """What a builder is told besides its options.

    Attributes:
        name: Registered name of the model.
        input_shape: (height, width, channels), or (time, channels).
        num_classes: Number of classes, at least 2.
        output: ``softmax`` over the classes, or one ``sigmoid`` for two classes.
        channel_mean: Mean of each channel over the training split, in the units of the input, or None.
        channel_std: Standard deviation likewise.
        whitening: ZCA whitening of the rescaled pixels, or None.
    """

    name: str
    input_shape: tuple[int, ...]
    num_classes: int
    output: Output
    channel_mean: tuple[float, ...] | None = None
    channel_std: tuple[float, ...] | None = None
    whitening: Whitening | None = None


# (raw inputs, specification, checked options) -> probabilities. Keras tensors are of type Any to the type checker.
Builder = Callable[[Any, Spec, Any], Any]
# (name, input shape, checked options): raises InputError where such an input is too small for the network.
Fits = Callable[[str, tuple[int, ...], Any], None]


@dataclass(frozen=True)
class Entry:
    """One registered architecture.

    Attributes:
        name: Its name, as in a config.
        family: The file it is in.
        kind: What it takes: ``image`` (height, width, channels) or ``sensor`` (time, channels).
        summary: What it is, in one line.
        pretrained: Whether ImageNet weights exist for it.
        options: The class of its options.
        builder: The function that builds it.
        fits: The function that refuses an input which is too small, without Keras; None: any will do.
    """

    name: str
    family: str
    kind: Kind
    summary: str
    pretrained: bool
    options: type[ModelOptions]
    builder: Builder
    fits: Fits | None = None


_ENTRIES: dict[str, Entry] = {}


def register(
    name: str,
    *,
    family: str,
    options: type[ModelOptions],
    summary: str,
    kind: Kind = "image",
    pretrained: bool = False,
    fits: Fits | None = None,
) -> Callable[[Builder], Builder]:
    """Return a decorator that registers a builder under ``name``; see `Entry` for the arguments."""

    def decorate(builder: Builder) -> Builder:
        if name in _ENTRIES:
            raise ValueError(f"Two models are registered as '{name}'.")
        _ENTRIES[name] = Entry(name, family, kind, summary, pretrained, options, builder, fits)
        return builder

    return decorate


@functools.cache
def _load_families() -> None:
    for family in _FAMILIES:
        importlib.import_module(f"assay.models.{family}")


def list_models() -> list[Entry]:
    """Return every registered model, by family and in order of registration."""
    _load_families()
    return list(_ENTRIES.values())


def find_model(name: str) -> Entry:
    """Return the model registered under ``name``; capitals, dashes and underscores make no difference.

    Raises:
        InputError: There is none; the nearest names are offered.
    """
    _load_families()
    if name in _ENTRIES:
        return _ENTRIES[name]
    plain = {_plain(known): entry for known, entry in _ENTRIES.items()}
    if _plain(name) in plain:
        return plain[_plain(name)]
    hint = did_you_mean(name.lower(), _ENTRIES) or " `assay models list` names them all."
    raise InputError(f"model '{name}': there is no such model.{hint}")


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def check_options(name: str, options: Mapping[str, Any]) -> ModelOptions:
    """Return the options of a model, resolved, without building it.

    Raises:
        InputError: Unknown model, unknown option (the nearest is offered) or a value out of range.
    """
    entry = find_model(name)
    return parse_section(entry.options, options, origin=f"model {entry.name}: options")


def build_model(
    name: str,
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    output: Output = "softmax",
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    channel_mean: tuple[float, ...] | None = None,
    channel_std: tuple[float, ...] | None = None,
    whitening: Whitening | None = None,
) -> keras.Model:
    """Build a registered model with freshly drawn weights.

    The model takes raw values (pixels 0..255, float32 or uint8) and holds its own preprocessing. Pretrained
    weights are loaded afterwards, by `assay.models.weights.load_weights`.

    Args:
        name: A registered name.
        input_shape: (height, width, channels) of an image or (time, channels) of a sensor window.
        num_classes: Number of classes, at least 2.
        output: ``softmax``: probabilities (N, num_classes); ``sigmoid``: (N, 1), the probability of class 1 of two.
        options: The model's options by name.
        seed: Of the initial weights and of dropout; the same seed gives the same model.
        channel_mean: Per channel mean of the training split, in the input's units; for ``preprocessing: standardize``.
        channel_std: Likewise the standard deviation.
        whitening: From `assay.augmentation.whitening.fit_whitening`; it follows ``preprocessing: rescale``.

    Returns:
        The uncompiled model.

    Raises:
        InputError: Unknown name or option, or an input that does not suit the network.
    """
    import keras

    entry = find_model(name)
    resolved = check_options(entry.name, options or {})
    shape = check_input(entry.name, input_shape, options or {})
    check_classes(entry.name, num_classes, output)
    spec = Spec(entry.name, shape, num_classes, output, channel_mean, channel_std, whitening)
    with _seeded(seed):
        inputs = keras.Input(shape, name="input", dtype="float32")
        return keras.Model(inputs, entry.builder(inputs, spec, resolved), name=entry.name)


def check_input(name: str, input_shape: tuple[int, ...], options: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the shape of a model's input, checked without building the model.

    Args:
        name: A registered name.
        input_shape: (height, width, channels) of an image or (time, channels) of a sensor window.
        options: The model's options by name.

    Raises:
        InputError: The model takes the other kind of input, or a larger one.
    """
    entry = find_model(name)
    shape = _check_shape(entry, input_shape)
    if entry.fits is not None:
        entry.fits(entry.name, shape, check_options(name, options))
    return shape


def check_classes(name: str, num_classes: int, output: Output) -> None:
    """Check that a model can tell so many classes apart with such an output.

    Raises:
        InputError: It cannot.
    """
    entry = find_model(name)
    if num_classes < 2:
        raise InputError(f"model {entry.name}: a classifier needs at least two classes. Received: {num_classes}")
    if output not in ("softmax", "sigmoid"):
        raise InputError(f"model {entry.name}: output must be softmax or sigmoid. Received: {output!r}")
    if output == "sigmoid" and num_classes != 2:
        raise InputError(
            f"model {entry.name}: a sigmoid output is for two classes. Received: {num_classes} classes; use softmax."
        )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draw the seeds of Keras's initializers and dropout from ``seed``, by a generator of their own.

    Keras draws them from Python's, which other threads draw from as well: the waits of a client of object storage,
    that renews a lease meanwhile, would change the weights.
    """
    from keras.src.random import seed_generator

    shared = seed_generator.python_random
    seed_generator.python_random = random.Random(seed)
    try:
        yield
    finally:
        seed_generator.python_random = shared


def _check_shape(entry: Entry, input_shape: tuple[int, ...]) -> tuple[int, ...]:
    shape = tuple(int(side) for side in input_shape)
    axes = ("height", "width", "channels") if entry.kind == "image" else ("time", "channels")
    if len(shape) == len(axes) and all(side >= 1 for side in shape):
        return shape
    others = ", ".join(known.name for known in list_models() if known.kind != entry.kind)
    takes = "images" if entry.kind == "image" else "sensor windows"
    way_out = f" For such input: {others}." if others and len(shape) in (2, 3) and len(shape) != len(axes) else ""
    raise InputError(f"model {entry.name}: it takes {takes} ({', '.join(axes)}). Received shape: {shape}.{way_out}")


def describe(
    name: str,
    input_shape: tuple[int, ...],
    *,
    num_classes: int = 2,
    output: Output = "softmax",
    options: Mapping[str, Any] | None = None,
) -> ModelDescription:
    """Return the layers, output shapes and parameter counts of a model for a given input shape.

    Args:
        name: A registered name.
        input_shape: (height, width, channels) or (time, channels).
        num_classes: Number of classes.
        output: ``softmax`` or ``sigmoid``.
        options: The model's options by name.
    """
    from assay.models.summary import summarize

    # No number of layers or parameters depends on the statistics of the data.
    channels = input_shape[-1] if input_shape else 0
    mean, std = (0.0,) * channels, (1.0,) * channels
    return summarize(
        build_model(name, input_shape, num_classes, output=output, options=options, channel_mean=mean, channel_std=std)
    )
