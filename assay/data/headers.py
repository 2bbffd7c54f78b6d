"""What an image file says of itself, read from its first bytes: format, size, colour mode, frames.

The three formats that data sets are made of (JPEG, PNG, uncompressed TIFF) are read here in a few
microseconds; everything else goes through Pillow. Nothing is decompressed, so that a picture of
20,000 x 20,000 pixels costs no more than one of 96 x 96.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from assay.data.unusable import UnusableImage

# Sizes are checked here against data.max_pixels, before anything is decompressed; Pillow's own limit, which
# knows nothing of that setting, would refuse some images that the user allows.
Image.MAX_IMAGE_PIXELS = None

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_MODES = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}
_PNG_END = b"IEND\xaeB`\x82"
_JPEG_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
_JPEG_END = b"\xff\xd9"
# SOF0 to SOF15 without DHT (C4), JPG (C8) and DAC (CC).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_BITS, _TIFF_PHOTOMETRIC, _TIFF_CHANNELS, _TIFF_TILE = 256, 257, 258, 262, 277, 322
# Uncompressed, bits in order, upright, channels interleaved, unsigned: each of these tags is 1, or absent.
_TIFF_ONES = (259, 266, 274, 284, 339)
# Formats that Pillow reads through another program or that are no pictures; a data set has no use for them.
_REFUSED_FORMATS = frozenset({"EPS", "WMF", "EMF", "MPEG", "PDF"})
_EXTENSIONS = {
    "jpg": "JPEG", "jpeg": "JPEG", "jpe": "JPEG", "jfif": "JPEG", "png": "PNG", "apng": "PNG", "tif": "TIFF",
    "tiff": "TIFF", "bmp": "BMP", "dib": "BMP", "gif": "GIF", "webp": "WEBP", "jp2": "JPEG2000", "ppm": "PPM",
    "pgm": "PPM", "pbm": "PPM", "pnm": "PPM",
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


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What the header says.

    Attributes:
        format: Pillow's name of the format: JPEG, PNG, TIFF...
        width: Pixels, as stored (before the EXIF orientation is applied).
        height: Pixels, as stored.
        mode: Pillow's colour mode; ``;16`` is added where a channel has 16 bits (``RGB;16``).
        frames: Pictures in the file; only the first is used.
        plain: Eight bits, grey or RGB, one frame, complete as far as its end tells: OpenCV decodes it exactly
            as Pillow would, and faster.
        oriented: The file asks to be turned or mirrored for display.
    """

    format: str
    width: int
    height: int
    mode: str
    frames: int = 1
    plain: bool = False
    oriented: bool = False


def read_header(data: bytes) -> ImageInfo:
    """Return what the image's header says, without decompressing a pixel.

    Args:
        data: The whole file.

    Raises:
        UnusableImage: The file is empty, or not an image.
    """
    if not data:
        raise UnusableImage("empty (0 bytes)")
    try:
        if data[:2] == b"\xff\xd8":
            info = _jpeg_header(data)
        elif data[:8] == PNG_SIGNATURE:
            info = _png_header(data)
        elif data[:4] in (b"II*\x00", b"MM\x00*"):
            info = _tiff_header(data)
        else:
            info = None
    except (struct.error, IndexError, KeyError):
        info = None
    return info if info is not None else _pillow_header(data)


def png_is_intact(data: bytes) -> bool:
    """Return whether the checksums of a PNG's chunks are right, up to its end chunk."""
    position = 8
    try:
        while True:
            length, kind = struct.unpack_from(">I4s", data, position)
            (stored,) = struct.unpack_from(">I", data, position + 8 + length)
            if zlib.crc32(memoryview(data)[position + 4 : position + 8 + length]) != stored:
                return False
            if kind == b"IEND":
                return True
            position += 12 + length
    except struct.error:
        return False


def extension_format(name: str) -> str | None:
    """Return the format that a file's name promises, or None where it promises none.

    Args:
        name: A file name or path.
    """
    return _EXTENSIONS.get(name.rpartition(".")[2].lower())


def _jpeg_header(data: bytes) -> ImageInfo | None:
    position = 2
    oriented = False
    while True:
        if data[position] != 0xFF:
            return None
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        if marker in _JPEG_FRAMES:
            precision, height, width, components = struct.unpack_from(">BHHB", data, position + 4)
            mode = _JPEG_MODES.get(components)
            if mode is None or not height:
                return None
            complete = data.endswith(_JPEG_END) or data.rstrip(b"\x00").endswith(_JPEG_END)
            plain = precision == 8 and components != 4 and complete
            return ImageInfo("JPEG", width, height, mode, plain=plain, oriented=oriented)
        if marker == 0xE1 and data[position + 4 : position + 8] == b"Exif":
            oriented = _exif_orientation(data[position + 10 : position + 2 + length]) != 1
        if marker == 0xDA:  # pixels begin, and no frame header came before
            return None
        position += 2 + length


def _png_header(data: bytes) -> ImageInfo | None:
    if data[12:16] != b"IHDR":
        return None
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    mode = _PNG_MODES.get(colour)
    if mode is None:
        return None
    if mode == "L" and depth == 1:
        mode = "1"
    frames = 1
    plain = depth == 8 and colour in (0, 2) and data.endswith(_PNG_END)
    oriented = False
    position = 8
    while True:
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"IDAT":
            break
        if kind == b"acTL":
            (frames,) = struct.unpack_from(">I", data, position + 8)
            plain = plain and frames == 1
        elif kind == b"tRNS":
            plain = False
        elif kind == b"eXIf":
            oriented = _exif_orientation(data[position + 8 : position + 8 + length]) != 1
            plain = plain and not oriented
        position += 12 + length
    return ImageInfo("PNG", width, height, mode + (";16" if depth == 16 else ""), frames, plain, oriented)


def _tiff_header(data: bytes) -> ImageInfo | None:
    """Read an uncompressed 8-bit grey or RGB TIFF of one page; anything else is Pillow's to describe."""
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, start)
    tags: dict[int, int] = {}
    for index in range(count):
        position = start + 2 + 12 * index
        tag, kind, number, value = struct.unpack_from(order + "HHII", data, position)
        if kind == 3 and number == 1:  # a short lies in the first half of its four bytes
            (value,) = struct.unpack_from(order + "H", data, position + 8)
        elif kind == 3 and number == 3:  # one value a channel lies elsewhere
            value, *others = struct.unpack_from(order + "3H", data, value)
            if others != [value, value]:
                return None
        tags[tag] = value
    (next_page,) = struct.unpack_from(order + "I", data, start + 2 + 12 * count)
    channels = tags.get(_TIFF_CHANNELS, 1)
    usual = (
        not next_page
        and tags.get(_TIFF_BITS, 1) == 8
        and (channels, tags.get(_TIFF_PHOTOMETRIC)) in ((1, 1), (3, 2))
        and all(tags.get(tag, 1) == 1 for tag in _TIFF_ONES)
        and _TIFF_TILE not in tags
    )
    if not usual:
        return None
    return ImageInfo("TIFF", tags[_TIFF_WIDTH], tags[_TIFF_HEIGHT], "L" if channels == 1 else "RGB", plain=True)


def _exif_orientation(tiff: bytes) -> int:
    """Return the orientation (1 to 8) in the first directory of an EXIF block; 1 where it says nothing."""
    try:
        order = "<" if tiff[:2] == b"II" else ">"
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, start)
        for index in range(count):
            tag, _, _, value = struct.unpack_from(order + "HHIH", tiff, start + 2 + 12 * index)
            if tag == 0x0112:
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


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
    if image.format in _REFUSED_FORMATS:
        raise UnusableImage(f"not a picture of pixels ({image.format}); export it as PNG")
    return image


def _pillow_header(data: bytes) -> ImageInfo:
    image = open_with_pillow(data)
    mode = image.mode
    if image.format == "TIFF":
        bits = image.tag_v2.get(258, (8,))  # type: ignore[attr-defined]
        if mode in ("RGB", "RGBA", "RGBX", "CMYK") and max(bits) == 16:
            mode += ";16"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            frames = int(getattr(image, "n_frames", 1))
        except Exception:  # the first frame may still be whole
            frames = 1
        try:
            oriented = image.getexif().get(0x0112, 1) not in (None, 1)
        except Exception:
            oriented = False
    return ImageInfo(image.format or "unknown", image.width, image.height, mode, frames, oriented=oriented)


def _not_an_image(data: bytes) -> str:
    start = data[:512].lstrip()
    if data[128:132] == b"DICM":
        return "not an image that can be read (a DICOM file; convert it to PNG)"
    for signature, what in _OTHER_CONTENTS:
        if start.lower().startswith(signature.lower()):
            return f"not an image ({what})"
    if data[:2] == b"\xff\xd8" or data[:8] == PNG_SIGNATURE or data[:4] in (b"II*\x00", b"MM\x00*", b"GIF8", b"RIFF"):
        return f"truncated (the header is incomplete, {len(data):,} bytes)"
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"mif1", b"hevc"):
        return "not an image that can be read (HEIC; convert it to PNG or JPEG)"
    return "not an image"


def damage(error: Exception) -> str:
    """Return what a decoder's exception says of the file, as a short reason."""
    text = " ".join(str(error).split())[:120] or type(error).__name__
    return f"{'truncated' if 'truncated' in text.lower() else 'truncated or broken'} ({text})"
