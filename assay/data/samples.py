"""What a file stores, before anything of it is shown, and the rules that make 8 bits of it.

The values of a file are turned into what a network sees here alone: which bands, which values become black and
white, whether zero is white, what lies behind transparency.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from assay.data.unusable import UnusableImage

Window = tuple[float, float] | Literal["percentile"] | None

# Large images are converted in blocks of rows, so that no intermediate array is as large as they are.
_BLOCK_VALUES = 2**22
# Enough values to know an image's range from; every so-many-th is looked at.
_RANGE_VALUES = 2**17
_LARGEST_SHARE_OF_AN_EXTREME = 0.2
_RANGE_PERCENTILES = (2.0, 98.0)


class _HasRendering(Protocol):
    @property
    def window(self) -> Window: ...
    @property
    def window_percentiles(self) -> tuple[float, float]: ...
    @property
    def bands(self) -> tuple[int, ...] | None: ...


@dataclass(frozen=True)
class Rendering:
    """How stored values become the 8 bits that a network is shown; a part of the config and of each model.

    Attributes:
        window: The values that become black and white, in the file's own units, for files of more than 8 bits;
            ``percentile``: percentiles of each image's own values; None: the whole range that the file can hold.
        window_percentiles: Which, in percent.
        bands: Bands of the file to show, counted from 1: one (grey) or three (red, green, blue); None: those that
            the file calls colour.
    """

    window: Window = None
    window_percentiles: tuple[float, float] = (0.5, 99.5)
    bands: tuple[int, ...] | None = None

    @classmethod
    def of(cls, described: _HasRendering) -> Rendering:
        """Return the rendering that a config or a model asks for."""
        return cls(described.window, described.window_percentiles, described.bands)


WHOLE_RANGE = Rendering()


@dataclass(frozen=True)
class Samples:
    """The values of one picture as a file stores them.

    Attributes:
        values: (H, W, S), any number type, in this machine's byte order.
        white: The largest value that the file's own scale has, its smallest being 0; None: nothing tells, as with
            signed values and floats.
        colour: Leading bands that are colour: 1 (grey) or 3 (red, green, blue).
        alpha: Which band is opacity, or None.
        premultiplied: The colours have been multiplied by the opacity.
        inverted: Zero is white.
    """

    values: npt.NDArray[Any]
    white: int | None
    colour: int
    alpha: int | None = None
    premultiplied: bool = False
    inverted: bool = False

    @property
    def deep(self) -> bool:
        """Whether a value needs more than 8 bits, or a window."""
        return self.white is None or self.white > 255


@dataclass(frozen=True)
class Range:
    """The values that an image of more than 8 bits really uses, its few brightest and darkest left out.

    Attributes:
        low: Second percentile.
        high: Ninety-eighth percentile.
        white: What the file could hold; None where nothing tells.
    """

    low: float
    high: float
    white: int | None

    def levels(self, rendering: Rendering) -> float:
        """Return between how many of the 255 steps of grey the values in use lie, as a network is shown them."""
        if rendering.window == "percentile":
            return 255.0
        low, high = (0.0, float(self.white or 1)) if rendering.window is None else rendering.window
        ends = np.clip([(self.low - low) / (high - low), (self.high - low) / (high - low)], 0, 1)
        return float(255 * (ends[1] - ends[0]))


def show(samples: Samples, rendering: Rendering = WHOLE_RANGE) -> npt.NDArray[np.uint8]:
    """Return the picture as uint8 (H, W, 3) or (H, W, 1).

    Args:
        samples: What the file stores.
        rendering: What to make of it.

    Raises:
        UnusableImage: The values need a window and there is none, or a band is not there.
    """
    chosen = _chosen(samples, rendering)
    levels = _levels(samples, chosen, rendering)
    if samples.alpha is None or rendering.bands is not None:
        return levels
    return _on_white(levels, samples)


def range_in_use(samples: Samples, rendering: Rendering = WHOLE_RANGE) -> Range | None:
    """Return the values that an image uses, or None for one of 8 bits.

    A single value that fills less than a fifth of the picture and is its largest or smallest (a burnt-in marker,
    a frame) does not count, nor do the two percent at either end.
    """
    if not samples.deep:
        return None
    values = samples.values[..., _chosen(samples, rendering)].ravel()
    values = values[:: max(1, values.size // _RANGE_VALUES)]
    for extreme in (values.max(), values.min()):
        others = values[values != extreme]
        if others.size > (1 - _LARGEST_SHARE_OF_AN_EXTREME) * values.size:
            values = others
    low, high = np.percentile(values, _RANGE_PERCENTILES)
    return Range(float(low), float(high), samples.white)


def _chosen(samples: Samples, rendering: Rendering) -> slice | list[int]:
    if rendering.bands is None:
        return slice(samples.colour)
    there = samples.values.shape[2]
    if max(rendering.bands) > there:
        raise UnusableImage(
            f"has {there} band{'s' if there > 1 else ''}, data.bands asks for band {max(rendering.bands)}"
        )
    return [band - 1 for band in rendering.bands]


def _levels(samples: Samples, chosen: slice | list[int], rendering: Rendering) -> npt.NDArray[np.uint8]:
    """Return the chosen bands as grey levels 0..255."""
    values = samples.values[..., chosen]
    if samples.white == 255 and values.dtype == np.uint8:
        return np.ascontiguousarray(255 - values if samples.inverted else values)
    low, high = _black_and_white(samples, values, rendering)
    out = np.empty(values.shape, np.uint8)
    table = _table(values.dtype, low, high, samples.inverted) if values.dtype.itemsize <= 2 else None
    for rows in _blocks(values):
        if table is not None:
            out[rows] = table[values[rows].view(f"u{values.dtype.itemsize}")]
        else:
            out[rows] = _scaled(values[rows], low, high, samples.inverted)
    return out


def _black_and_white(samples: Samples, values: npt.NDArray[Any], rendering: Rendering) -> tuple[float, float]:
    """Return the values that become black and white.

    Raises:
        UnusableImage: Nothing tells.
    """
    kind = values.dtype.kind
    if kind == "f" and not np.isfinite(values).all():
        raise UnusableImage("holds values that are no numbers (NaN or infinite)")
    if samples.white is not None and (rendering.window is None or not samples.deep):
        return 0.0, float(samples.white)
    if rendering.window is None:
        what = {"i": "signed integers", "u": "integers", "f": "floats"}[kind]
        used = range_in_use(samples, rendering)
        told = f"; most lie in {used.low:,.5g} to {used.high:,.5g}" if used is not None else ""
        raise UnusableImage(
            f"needs data.window: {8 * values.dtype.itemsize}-bit {what} do not tell what is black and what is "
            f"white{told}. Set it to [low, high] or to percentile"
        )
    if rendering.window == "percentile":
        low, high = np.percentile(values, rendering.window_percentiles)
        return float(low), float(high)
    return rendering.window


def _scaled(values: npt.NDArray[Any], low: float, high: float, inverted: bool) -> npt.NDArray[np.uint8]:
    if high > low:
        levels = np.clip((values.astype(np.float64) - low) * (255.0 / (high - low)), 0, 255)
    else:  # one value alone: what lies above it is white
        levels = np.where(values > low, 255.0, 0.0)
    # Halves go up, whatever the byte order of the rounding rule.
    grey: npt.NDArray[np.uint8] = np.floor(levels + 0.5).astype(np.uint8)
    return np.subtract(255, grey, dtype=np.uint8) if inverted else grey


def _table(dtype: np.dtype[Any], low: float, high: float, inverted: bool) -> npt.NDArray[np.uint8]:
    """Return the grey level of every value that a type of at most 16 bits has, by its bits."""
    if dtype.kind == "b":
        dtype = np.dtype(np.uint8)
    codes = np.arange(2 ** (8 * dtype.itemsize), dtype=f"u{dtype.itemsize}")
    values = codes.view(dtype)
    if dtype.kind == "f":
        values = np.where(np.isfinite(values), values, 0)
    return _scaled(values, low, high, inverted)


def _blocks(values: npt.NDArray[Any]) -> Iterator[slice]:
    rows = max(1, _BLOCK_VALUES // max(1, values[0].size))
    for start in range(0, len(values), rows):
        yield slice(start, start + rows)


def _on_white(levels: npt.NDArray[np.uint8], samples: Samples) -> npt.NDArray[np.uint8]:
    """Lay the picture on white, the background of a slide and of a page."""
    assert samples.alpha is not None
    opacity = Samples(samples.values[..., samples.alpha : samples.alpha + 1], samples.white, 1)
    for rows in _blocks(samples.values):
        part = Samples(opacity.values[rows], opacity.white, 1)
        alpha = _levels(part, slice(1), WHOLE_RANGE)
        if samples.premultiplied:
            levels[rows] = np.minimum(levels[rows].astype(np.uint16) + (255 - alpha), 255)
            continue
        colour = np.broadcast_to(levels[rows], (*levels[rows].shape[:2], 3))
        image = Image.fromarray(np.concatenate([colour, alpha], axis=2))
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        levels[rows] = np.asarray(Image.alpha_composite(white, image))[..., : levels.shape[2]]
    return levels


def oriented(pixels: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Return an image turned and mirrored as EXIF's orientation asks.

    Args:
        pixels: (H, W, ...).
        orientation: 1 to 8, as in EXIF and TIFF.
    """
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels
