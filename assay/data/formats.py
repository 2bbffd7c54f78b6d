"""JPEG, PNG and plain TIFF as their first bytes describe them: read in microseconds, nothing decompressed."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from assay.data.unusable import UnusableImage

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Little and big endian, each in the classic form and in that of files above 4 GB.
TIFF_SIGNATURES = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_PNG_MODES = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}
_PNG_END = b"IEND\xaeB`\x82"
_JPEG_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
_JPEG_END = b"\xff\xd9"
# SOF0 to SOF15 without DHT (C4), JPG (C8) and DAC (CC).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_BITS, _TIFF_PHOTOMETRIC, _TIFF_CHANNELS, _TIFF_TILE = 256, 257, 258, 262, 277, 322
# Uncompressed, bits in order, upright, channels interleaved, unsigned: each of these tags is 1, or absent.
_TIFF_ONES = (259, 266, 274, 284, 339)
_ORIENTATION = 0x0112


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What the header says.

    Attributes:
        format: Pillow's name of the format: JPEG, PNG, TIFF...
        width: Pixels, as stored (before the EXIF orientation is applied).
        height: Pixels, as stored.
        mode: Pillow's colour mode; ``;16`` is added where a channel has 16 bits (``RGB;16``), ``;16S`` where they
            are signed, ``;32F`` for floats.
        frames: Pictures in the file; only the first is used.
        plain: Eight bits, grey or RGB, one frame, complete as far as its end tells: OpenCV decodes it exactly
            as Pillow would, and faster.
        orientation: How the file asks to be turned or mirrored for display, 1 to 8 as in EXIF; 1: not at all.
        deep: A channel has more than 8 bits.
        bands: Channels in the file; 0 where the format tells them by the mode alone.
        dropped: How many of them are neither colour nor transparency, and are not looked at unless asked for.
    """

    format: str
    width: int
    height: int
    mode: str
    frames: int = 1
    plain: bool = False
    orientation: int = 1
    deep: bool = False
    bands: int = 0
    dropped: int = 0

    @property
    def oriented(self) -> bool:
        """Whether the file asks to be turned or mirrored."""
        return self.orientation != 1


def jpeg_header(data: bytes) -> ImageInfo | None:
    """Describe a JPEG, or return None where it is for another reader to say what it is.

    Raises:
        struct.error, IndexError: It ends within its header.
    """
    position = 2
    orientation = 1
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
            return ImageInfo("JPEG", width, height, mode, plain=plain, orientation=orientation)
        if marker == 0xE1 and data[position + 4 : position + 8] == b"Exif":
            orientation = _exif_orientation(data[position + 10 : position + 2 + length])
        if marker == 0xDA:  # pixels begin, and no frame header came before
            return None
        position += 2 + length


def png_header(data: bytes) -> ImageInfo | None:
    """Describe a PNG, or return None where it is for another reader to say what it is.

    Raises:
        struct.error, IndexError: It ends within its header.
    """
    if data[12:16] != b"IHDR":
        return None
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    mode = _PNG_MODES.get(colour)
    if mode is None:
        return None
    if mode == "L" and depth == 1:
        mode = "1"
    frames = orientation = 1
    plain = depth == 8 and colour in (0, 2) and data.endswith(_PNG_END)
    position, pixels = 8, False
    while True:
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"IDAT":
            pixels = True
        elif kind == b"acTL" and not pixels:
            (frames,) = struct.unpack_from(">I", data, position + 8)
            plain = plain and frames == 1
        elif kind == b"tRNS":
            plain = False
        elif kind == b"eXIf":  # before the pixels or after them
            orientation = _exif_orientation(data[position + 8 : position + 8 + length])
            plain = plain and orientation == 1
        elif kind == b"IEND":
            break
        position += 12 + length
        if pixels and position + 8 > len(data):  # cut off: the decoder says so
            break
    deep = depth == 16
    return ImageInfo("PNG", width, height, mode + (";16" if deep else ""), frames, plain, orientation, deep)


def plain_tiff_header(data: bytes) -> ImageInfo | None:
    """Describe an uncompressed 8-bit grey or RGB TIFF of one page; return None for any other.

    Raises:
        struct.error, KeyError: It ends within its header, or lacks its size.
    """
    if data[:4] not in TIFF_SIGNATURES[:2]:
        return None
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
            if tag == _ORIENTATION:
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def intact_png(data: bytes) -> bytes:
    """Return a PNG without the parts that are damaged and not needed; the same object where none is.

    Each part (chunk) has a checksum. The small first letter of a part's name says that the picture can be shown
    without it: libpng, and with it TensorFlow, passes over such a part where its checksum is wrong.

    Args:
        data: The whole file.

    Raises:
        UnusableImage: A part that is needed is damaged, or missing.
    """
    position, damaged = 8, []
    try:
        while True:
            length, kind = struct.unpack_from(">I4s", data, position)
            (stored,) = struct.unpack_from(">I", data, position + 8 + length)
            after = position + 12 + length
            if zlib.crc32(memoryview(data)[position + 4 : after - 4]) != stored:
                if kind[:1] < b"a":
                    raise UnusableImage("broken (a checksum of the PNG is wrong)")
                damaged.append(slice(position, after))
            if kind == b"IEND":
                break
            position = after
    except struct.error as error:
        raise UnusableImage("truncated (the end of the PNG is missing)") from error
    for part in reversed(damaged):
        data = data[: part.start] + data[part.stop :]
    return data
