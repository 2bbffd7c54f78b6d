"""From an encoded image to the uint8 pixels that a network is shown: the one decode and resize of the project.

Ingestion, preprocessing and prediction all call `decode`, so that nothing is seen in training otherwise than in
use. What is done to the less usual files, in this order:

- *Animated files and several pages*: the first.
- *16 bits a channel*: the whole range is scaled, 65,535 becomes 255 (value / 257, rounded); never the image's own
  extremes, since brightness can carry the diagnosis. Images of 32 bits and of floats are refused: nothing says
  what their white is.
- *CMYK, palette, YCbCr, LAB*: converted to RGB. Colour profiles are not applied.
- *Transparency*: laid on white, the background of a slide and of a page.
- *EXIF orientation*: applied, so that the network sees what a person sees.
- *Grey wanted from colour*: 0.299 R + 0.587 G + 0.114 B. *Colour wanted from grey*: three equal channels.
- *Resize*: to the exact size; the aspect ratio changes where it differs. An axis that shrinks is averaged over its
  area (no aliasing), one that grows is interpolated linearly.
"""

from __future__ import annotations

import threading
import warnings

import cv2
import numpy as np
from PIL import Image, ImageOps

from assay.data.headers import ImageInfo, damage, open_with_pillow, png_is_intact, read_header
from assay.data.unusable import UnusableImage

__all__ = ["MIN_SIDE", "ImageInfo", "UnusableImage", "decode", "decode_native", "resize", "to_color_mode"]

MIN_SIDE = 8
_LARGE_PIXELS = 16_000_000
# Several threads decode at once; large images one after another, so that memory stays bounded.
_one_large_image = threading.Lock()

# The reasons go into the quarantine list; OpenCV would print them to the terminal as well.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def decode(data: bytes, color_mode: str, size: tuple[int, int] | None, max_pixels: int) -> np.ndarray:
    """Return the pixels of an encoded image as a network is shown them.

    Args:
        data: The whole file.
        color_mode: ``rgb`` or ``grayscale``.
        size: Height and width in pixels; None keeps the image's own.
        max_pixels: A larger image is refused before it is decompressed.

    Returns:
        uint8 array (H, W, C), C = 3 or 1, contiguous.

    Raises:
        UnusableImage: The file is empty, truncated, not an image, too small or too large.
    """
    pixels, _ = decode_native(data, max_pixels)
    return resize(to_color_mode(pixels, color_mode), size)


def decode_native(data: bytes, max_pixels: int) -> tuple[np.ndarray, ImageInfo]:
    """Return the pixels at the file's own size and channels, and what its header says.

    Args:
        data: The whole file.
        max_pixels: A larger image is refused before it is decompressed.

    Returns:
        uint8 array (H, W, 3) or (H, W, 1), and the header.

    Raises:
        UnusableImage: The file is empty, truncated, not an image, too small or too large.
    """
    info = read_header(data)
    pixels = info.width * info.height
    if pixels > max_pixels:
        raise UnusableImage(
            f"too large: {info.width:,} x {info.height:,} = {pixels:,} pixels, data.max_pixels is {max_pixels:,}"
        )
    if min(info.width, info.height) < MIN_SIDE:
        raise UnusableImage(f"too small: {info.width} x {info.height} pixels, each side needs {MIN_SIDE}")
    if pixels > _LARGE_PIXELS:
        with _one_large_image:
            return _decode(data, info), info
    return _decode(data, info), info


def _decode(data: bytes, info: ImageInfo) -> np.ndarray:
    # A broken PNG would be found by libpng too, which prints what it thinks of it.
    intact = info.format != "PNG" or png_is_intact(data)
    if info.plain and intact:
        flag = cv2.IMREAD_GRAYSCALE if info.mode == "L" else cv2.IMREAD_COLOR_RGB
        pixels = _opencv(data, flag)
        if pixels is not None:
            return pixels if pixels.ndim == 3 else pixels[..., np.newaxis]
    elif intact and info.mode.endswith(";16") and info.mode != "I;16" and "CMYK" not in info.mode:
        pixels = _opencv(data, cv2.IMREAD_UNCHANGED)
        if pixels is not None and pixels.dtype == np.uint16 and not info.oriented:
            return _flatten(_scale_16_bits(pixels))
    return _decode_with_pillow(data)


def _opencv(data: bytes, flag: int) -> np.ndarray | None:
    """Decode with OpenCV; None where it cannot, so that Pillow finds out why."""
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error:
        return None


def _scale_16_bits(values: np.ndarray) -> np.ndarray:
    # (v + 128) // 257 is v / 257 rounded, in integers.
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _flatten(pixels: np.ndarray) -> np.ndarray:
    """Turn OpenCV's grey, BGR or BGRA into grey or RGB, transparency laid on white."""
    if pixels.ndim == 2:
        return pixels[..., np.newaxis]
    if pixels.shape[2] == 3:
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return _on_white(Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA)))


def _on_white(image: Image.Image) -> np.ndarray:
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(white, rgba))[..., :3].copy()


def _decode_with_pillow(data: bytes) -> np.ndarray:
    image = open_with_pillow(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image.load()
            image = ImageOps.exif_transpose(image)
            return _pillow_pixels(image)
        except UnusableImage:
            raise
        except MemoryError as error:
            raise UnusableImage("too large for the memory there is; lower data.max_pixels") from error
        except Exception as error:
            # Pillow's decoders raise whatever they meet in broken data: OSError, ValueError, SyntaxError...
            raise UnusableImage(damage(error)) from error


def _pillow_pixels(image: Image.Image) -> np.ndarray:
    mode = image.mode
    if mode.startswith("I;16"):
        return _scale_16_bits(np.asarray(image))[..., np.newaxis]
    if mode == "I" and image.format == "PPM":  # Pillow has scaled its white to 65,535
        return _scale_16_bits(np.asarray(image))[..., np.newaxis]
    if mode in ("I", "F"):
        what = "32-bit integers" if mode == "I" else "32-bit floats"
        raise UnusableImage(f"pixels are {what}, whose white level nothing tells; convert it to 8 or 16 bits")
    if image.has_transparency_data:
        if mode in ("LA", "La"):
            return _on_white(image)[..., :1]
        return _on_white(image)
    if mode in ("1", "L"):
        return np.asarray(image.convert("L"))[..., np.newaxis]
    return np.asarray(image.convert("RGB"))


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
