"""What an image file says of itself, read from its first bytes: format, size, colour mode, frames.

The three formats that data sets are made of (JPEG, PNG, uncompressed TIFF) are read in a few microseconds
(`assay.data.formats`), other TIFF by tifffile, everything else by Pillow. Nothing is decompressed, so that a picture
of 20,000 x 20,000 pixels costs no more than one of 96 x 96.
"""

from __future__ import annotations

import io
import struct
import warnings

from PIL import Image, UnidentifiedImageError

from assay.data.deep import jpeg2000_precision, pnm_white
from assay.data.formats import (
    PNG_SIGNATURE,
    TIFF_SIGNATURES,
    ImageInfo,
    jpeg_header,
    plain_tiff_header,
    png_header,
)
from assay.data.tiff import tiff_header
from assay.data.unusable import UnusableImage

# Sizes are checked here against data.max_pixels, before anything is decompressed; Pillow's own limit, which
# knows nothing of that setting, would refuse some images that the user allows.
Image.MAX_IMAGE_PIXELS = None

# The formats that are read, by Pillow's names. Pillow opens many more, which hold no pictures of a data set, or run
# another program, or say less in their header than their contents take to decode (ICO, ICNS).
READ_FORMATS = ("JPEG", "MPO", "PNG", "TIFF", "BMP", "DIB", "GIF", "WEBP", "JPEG2000", "PPM", "AVIF", "TGA", "PCX")
# Each scan of a progressive JPEG is a walk over the whole picture; real ones have about ten.
_MOST_JPEG_SCANS = 200
_EXTENSIONS = {
    "jpg": "JPEG", "jpeg": "JPEG", "jpe": "JPEG", "jfif": "JPEG", "png": "PNG", "apng": "PNG", "tif": "TIFF",
    "tiff": "TIFF", "bmp": "BMP", "dib": "BMP", "gif": "GIF", "webp": "WEBP", "jp2": "JPEG2000", "ppm": "PPM",
    "pgm": "PPM", "pbm": "PPM", "pnm": "PPM", "j2k": "JPEG2000", "avif": "AVIF", "tga": "TGA", "pcx": "PCX",
}  # fmt: skip
IMAGE_EXTENSIONS = frozenset(_EXTENSIONS)
_OTHER_CONTENTS = (
    (b"%PDF", "a PDF document; export its pictures as PNG"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file; export its arrays as PNG"),
    (b"\x93NUMPY", "a NumPy array; for sensor windows set data.kind to sensor, else export PNG"),
    (b"PK\x03\x04", "a ZIP archive; unpack it"),
    (b"\x1f\x8b", "a gzip file; unpack it"),
    (b"<svg", "an SVG drawing; export it as PNG"),
    (b"<!DOCTYPE html", "an HTML page, perhaps a failed download"),
    (b"<html", "an HTML page, perhaps a failed download"),
    (b"version https://git-lfs", "a Git LFS pointer; run `git lfs pull`"),
)


def read_header(data: bytes) -> ImageInfo:
    """Return what the image's header says, without decompressing a pixel.

    Args:
        data: The whole file.

    Raises:
        UnusableImage: The file is empty, or not an image.
    """
    if not data:
        raise UnusableImage("empty (0 bytes)")
    if data[:4] in TIFF_SIGNATURES:
        return _tiff_header(data)
    try:
        if data[:2] == b"\xff\xd8":
            scans = data.count(b"\xff\xda")
            if scans > _MOST_JPEG_SCANS:
                raise UnusableImage(f"a JPEG of {scans:,} scans, which would take hours to decode")
            info = jpeg_header(data)
        elif data[:8] == PNG_SIGNATURE:
            info = png_header(data)
        else:
            info = None
    except (struct.error, IndexError):
        info = None
    return info if info is not None else _pillow_header(data)


def _tiff_header(data: bytes) -> ImageInfo:
    try:
        info = plain_tiff_header(data)
    except (struct.error, KeyError):
        info = None
    return info if info is not None else tiff_header(data)


def may_be_image(start: bytes) -> bool:
    """Return whether a file's first bytes (16 or more) are those of a picture, or of one in a format not read here."""
    return (
        start.startswith((b"\xff\xd8", PNG_SIGNATURE, *TIFF_SIGNATURES, b"GIF8", b"\xff\x4f\xff\x51"))
        or (start[:2] == b"BM" and start[6:10] == bytes(4))
        or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")
        or start[4:8] in (b"ftyp", b"jP  ")
        or (start[:1] == b"P" and start[1:2] in b"123456" and start[2:3].isspace())
        or start[128:132] == b"DICM"
    )


def extension_format(name: str) -> str | None:
    """Return the format that a file's name promises, or None where it promises none.

    Args:
        name: A file name or path.
    """
    return _EXTENSIONS.get(name.rpartition(".")[2].lower())


def open_with_pillow(data: bytes) -> Image.Image:
    """Open an image with Pillow, without its warnings and without decompressing it.

    Raises:
        UnusableImage: Pillow knows no such format, or the header is broken.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(io.BytesIO(data))
        except UnidentifiedImageError as error:
            raise UnusableImage(_not_an_image(data)) from error
        except Exception as error:
            # Pillow's format readers raise whatever their parsing meets: SyntaxError, ValueError, TypeError...
            raise UnusableImage(damage(error)) from error
    if image.format not in READ_FORMATS:
        raise UnusableImage(f"not an image that is read here ({image.format}); export it as PNG")
    return image


def _pillow_header(data: bytes) -> ImageInfo:
    image = open_with_pillow(data)
    mode, deep = image.mode, False
    white = pnm_white(data) if image.format == "PPM" else None
    precision = jpeg2000_precision(data) if image.format == "JPEG2000" else None
    if white is not None and white > 255:
        mode, deep = f"{'RGB' if data[:2] in (b'P3', b'P6') else 'I'};16", True
    elif precision is not None and (precision[0] > 8 or precision[1]):
        mode, deep = f"{mode.split(';')[0]};{precision[0]}{'S' if precision[1] else ''}", True
    elif mode == "F":
        mode, deep = "F;32F", True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            frames = int(getattr(image, "n_frames", 1))
        except Exception:  # the first frame may still be whole
            frames = 1
        try:
            orientation = int(image.getexif().get(0x0112, 1) or 1)
        except Exception:
            orientation = 1
    orientation = orientation if 1 <= orientation <= 8 else 1
    return ImageInfo(
        image.format or "unknown", image.width, image.height, mode, frames, orientation=orientation, deep=deep
    )


def _not_an_image(data: bytes) -> str:
    start = data[:512].lstrip()
    if data[128:132] == b"DICM":
        return "not an image that can be read (a DICOM file; convert it to PNG)"
    for signature, what in _OTHER_CONTENTS:
        if start.lower().startswith(signature.lower()):
            return f"not an image ({what})"
    if data[:2] == b"\xff\xd8" or data[:8] == PNG_SIGNATURE or data[:4] in (*TIFF_SIGNATURES, b"GIF8", b"RIFF"):
        return f"truncated (the header is incomplete, {len(data):,} bytes)"
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"mif1", b"hevc"):
        return "not an image that can be read (HEIC; convert it to PNG or JPEG)"
    return "not an image"


def damage(error: Exception) -> str:
    """Return what a decoder's exception says of the file, as a short reason."""
    text = " ".join(str(error).split())[:120] or type(error).__name__
    return f"{'truncated' if 'truncated' in text.lower() else 'truncated or broken'} ({text})"
