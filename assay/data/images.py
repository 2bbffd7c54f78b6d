"""From an encoded image to the uint8 pixels that a network is shown: the one decode and resize of the project.

Ingestion, preprocessing and prediction all call `decode`, so that nothing is seen in training otherwise than in
use. It is a pure function of the file and the settings. What is done to the less usual files, in this order:

- *Animated files and several pages*: the first.
- *More than 8 bits a channel*: the whole range that the file can hold is scaled (16 bits: value / 257, rounded);
  or `data.window` says which values become black and white. Never the image's own extremes unasked, since
  brightness can carry the diagnosis. Signed values, floats and 32 bits need a window: nothing else tells.
- *Zero is white* (TIFF): inverted, at every depth.
- *More bands than colours*: dropped, or `data.bands` says which to show. Opacity is what the file calls so.
- *CMYK, palette, YCbCr, LAB*: converted to RGB. Colour profiles are not applied.
- *Transparency*: laid on white, the background of a slide and of a page.
- *EXIF orientation*: applied, so that the network sees what a person sees.
- *Grey wanted from colour*: 0.299 R + 0.587 G + 0.114 B. *Colour wanted from grey*: three equal channels.
- *Resize*: to the exact size; the aspect ratio changes where it differs. An axis that shrinks is averaged over its
  area (no aliasing), one that grows is interpolated linearly.
"""

from __future__ import annotations

import dataclasses
import threading
import warnings

import cv2
import numpy as np
from PIL import Image

from assay.data.deep import read_jpeg2000, read_png, read_pnm
from assay.data.formats import ImageInfo, intact_png
from assay.data.headers import damage, open_with_pillow, read_header
from assay.data.samples import WHOLE_RANGE, Range, Rendering, Samples, oriented, range_in_use, show
from assay.data.tiff import needs_pillow, read_tiff
from assay.data.unusable import UnusableImage

__all__ = [
    "MIN_SIDE", "ImageInfo", "Rendering", "UnusableImage", "decode", "decode_native", "decode_with_range", "resize",
    "to_color_mode",
]  # fmt: skip

MIN_SIDE = 8
_LARGE_PIXELS = 16_000_000
# Several threads decode at once; large images one after another, so that memory stays bounded.
_one_large_image = threading.Lock()

# The reasons go into the quarantine list; OpenCV would print them to the terminal as well.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def decode(
    data: bytes,
    color_mode: str,
    size: tuple[int, int] | None,
    max_pixels: int,
    rendering: Rendering = WHOLE_RANGE,
) -> np.ndarray:
    """Return the pixels of an encoded image as a network is shown them.

    Args:
        data: The whole file.
        color_mode: ``rgb`` or ``grayscale``.
        size: Height and width in pixels; None keeps the image's own.
        max_pixels: A larger image is refused before it is decompressed.
        rendering: Window and bands, for files that need them.

    Returns:
        uint8 array (H, W, C), C = 3 or 1, contiguous.

    Raises:
        UnusableImage: The file is empty, truncated, not an image, too small or too large, or needs a window.
    """
    pixels, _ = decode_native(data, max_pixels, rendering)
    return resize(to_color_mode(pixels, color_mode), size)


def decode_native(data: bytes, max_pixels: int, rendering: Rendering = WHOLE_RANGE) -> tuple[np.ndarray, ImageInfo]:
    """Return the pixels at the file's own size and channels, and what its header says.

    Args:
        data: The whole file.
        max_pixels: A larger image is refused before it is decompressed.
        rendering: Window and bands, for files that need them.

    Returns:
        uint8 array (H, W, 3) or (H, W, 1), and the header.

    Raises:
        UnusableImage: As for `decode`.
    """
    pixels, info, _ = decode_with_range(data, max_pixels, rendering)
    return pixels, info


def decode_with_range(
    data: bytes, max_pixels: int, rendering: Rendering = WHOLE_RANGE
) -> tuple[np.ndarray, ImageInfo, Range | None]:
    """Return what `decode_native` does, and for files of more than 8 bits the values that they use.

    Args:
        data: The whole file.
        max_pixels: A larger image is refused before it is decompressed.
        rendering: Window and bands, for files that need them.
    """
    info = read_header(data)
    pixels = info.width * info.height
    if pixels > max_pixels:
        raise UnusableImage(
            f"too large: {info.width:,} x {info.height:,} = {pixels:,} pixels, data.max_pixels is {max_pixels:,}"
        )
    if min(info.width, info.height) < MIN_SIDE:
        raise UnusableImage(f"too small: {info.width} x {info.height} pixels, each side needs {MIN_SIDE}")
    if info.format == "PNG":
        # libpng prints what it thinks of damaged parts, Pillow refuses some and passes over others: one rule for all.
        intact = intact_png(data)
        if intact is not data:
            data, info = intact, read_header(intact)
    if pixels > _LARGE_PIXELS:
        with _one_large_image:
            return _decode(data, info, max_pixels, rendering)
    return _decode(data, info, max_pixels, rendering)


def _decode(
    data: bytes, info: ImageInfo, max_pixels: int, rendering: Rendering
) -> tuple[np.ndarray, ImageInfo, Range | None]:
    if info.plain and rendering.bands is None:
        flag = cv2.IMREAD_GRAYSCALE if info.mode == "L" else cv2.IMREAD_COLOR_RGB
        pixels = _opencv(data, flag | cv2.IMREAD_IGNORE_ORIENTATION)
        if pixels is not None:
            pixels = oriented(pixels, info.orientation)
            return np.ascontiguousarray(pixels).reshape(*pixels.shape[:2], -1), info, None
    samples = _samples(data, info, max_pixels)
    return show(samples, rendering), info, range_in_use(samples, rendering)


def _opencv(data: bytes, flag: int) -> np.ndarray | None:
    """Decode with OpenCV; None where it cannot, so that another reader finds out why."""
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error:
        return None


def _samples(data: bytes, info: ImageInfo, max_pixels: int) -> Samples:
    """Return what the file stores, upright."""
    try:
        if info.format == "TIFF" and not needs_pillow(data):
            return read_tiff(data, max_pixels)
        if not info.deep:
            return _with_pillow(data, info)
        if info.format == "PNG":
            found = read_png(data)
        elif info.format == "JPEG2000":
            found = read_jpeg2000(data)
        elif info.format == "PPM" and info.mode != "F;32F":
            found = read_pnm(data)
        else:
            return _with_pillow(data, info)
    except UnusableImage:
        raise
    except MemoryError as error:
        raise UnusableImage("too large for the memory there is; lower data.max_pixels") from error
    except Exception as error:
        # Decoders raise whatever they met in broken data: OSError, ValueError, SyntaxError...
        raise UnusableImage(damage(error)) from error
    if found.values.shape[:2] != (info.height, info.width):
        height, width = found.values.shape[:2]
        raise UnusableImage(f"broken (its header says {info.width} x {info.height}, its content {width} x {height})")
    return dataclasses.replace(found, values=oriented(found.values, info.orientation))


def _with_pillow(data: bytes, info: ImageInfo) -> Samples:
    image = open_with_pillow(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image.load()
        orientation = info.orientation
        if info.format == "TIFF":  # Pillow turns these itself
            orientation = 1 if image.size != (info.width, info.height) else image.getexif().get(0x0112, 1)
        samples = _pillow_samples(image)
    return dataclasses.replace(samples, values=oriented(samples.values, orientation))


def _pillow_samples(image: Image.Image) -> Samples:
    mode = image.mode
    if mode in ("I", "F") or mode.startswith("I;16"):
        return Samples(np.asarray(image)[..., np.newaxis], 65535 if mode.startswith("I;16") else None, 1)
    if image.has_transparency_data:
        if mode in ("LA", "La"):
            return Samples(np.asarray(image.convert("LA")), 255, 1, alpha=1)
        return Samples(np.asarray(image if mode == "RGBA" else image.convert("RGBA")), 255, 3, alpha=3)
    if mode in ("1", "L"):
        return Samples(np.asarray(image.convert("L"))[..., np.newaxis], 255, 1)
    return Samples(np.asarray(image.convert("RGB")), 255, 3)


def to_color_mode(pixels: np.ndarray, color_mode: str) -> np.ndarray:
    """Return uint8 pixels (H, W, 3) for ``rgb``, (H, W, 1) for ``grayscale``.

    Args:
        pixels: uint8 array (H, W, 3) or (H, W, 1).
        color_mode: ``rgb`` or ``grayscale``.
    """
    channels = pixels.shape[2]
    if color_mode == "rgb":
        return pixels if channels == 3 else cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    if color_mode == "grayscale":
        return pixels if channels == 1 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[..., np.newaxis]
    raise ValueError(f"color_mode must be rgb or grayscale. Received: {color_mode!r}")


def resize(pixels: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """Return the image at exactly this size, averaging an axis that shrinks, interpolating one that grows.

    Args:
        pixels: uint8 array (H, W, C).
        size: Height and width in pixels; None keeps the image as it is.

    Returns:
        uint8 array (H, W, C), contiguous.
    """
    height, width, channels = pixels.shape
    if size is not None and size != (height, width):
        # INTER_AREA averages only where both axes shrink; elsewhere it would fall back to another rule.
        shrunk = (min(height, size[0]), min(width, size[1]))
        if shrunk != (height, width):
            pixels = cv2.resize(pixels, shrunk[::-1], interpolation=cv2.INTER_AREA)
        if shrunk != size:
            pixels = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(pixels).reshape(*pixels.shape[:2], channels)
