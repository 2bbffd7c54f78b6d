"""TIFF as instruments, scanners and archives write it, read by tifffile: any bits, bands, byte order, compression.

What the file says of its own values is honoured at every depth: which colour zero is (tag 262), which bands are
opacity (338), whether values are signed (339), planes apart or together (284), palettes, orientation (274).
"""

from __future__ import annotations

import io
import logging
import math
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from assay.data.formats import ImageInfo, jpeg_header
from assay.data.samples import Samples, oriented, show
from assay.data.unusable import UnusableImage

if TYPE_CHECKING:
    from tifffile import TiffPage

# What it finds wrong becomes a reason; the terminal is not its place.
logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _SEPARATED, _YCBCR, _LAB = 0, 1, 2, 3, 5, 6, 8
_PHOTOMETRIC, _ORIENTATION, _INK_SET = 262, 274, 332
_ASSOCIATED, _UNASSOCIATED = 1, 2
_UNSIGNED, _SIGNED, _FLOAT, _UNDEFINED = 1, 2, 3, 4
_JPEG = 7
# 1 and 32773: none, PackBits; 2 to 4: fax; 5: LZW; 8 and 32946: deflate; 34925: LZMA; 50000: Zstandard.
_COMPRESSIONS = frozenset({1, 2, 3, 4, 5, _JPEG, 8, 32773, 32946, 34925, 50000})
_BYTES_PER_PIXEL = 8  # of what is decoded, at most: four channels of 16 bits
_NAMES = {_SEPARATED: "CMYK", _YCBCR: "YCbCr", _LAB: "LAB", _PALETTE: "P"}


def tiff_header(data: bytes) -> ImageInfo:
    """Describe the first page of a TIFF.

    Args:
        data: The whole file.

    Raises:
        UnusableImage: It is broken, or no picture of grey levels or colours.
    """
    page, frames = _first_page(data)
    extra = _extra_bands(page)
    colour = _colour_bands(page)
    alpha = next((kind for kind in extra if kind in (_ASSOCIATED, _UNASSOCIATED)), None)
    return ImageInfo(
        format="TIFF",
        width=page.imagewidth,
        height=page.imagelength,
        mode=_mode(page, alpha is not None),
        frames=frames,
        orientation=_orientation(page),
        deep=page.bitspersample > 8 or page.sampleformat in (_SIGNED, _FLOAT),
        bands=page.samplesperpixel,
        dropped=page.samplesperpixel - colour - (alpha is not None),
    )


def needs_pillow(data: bytes) -> bool:
    """Return whether the first page is of a kind that Pillow reads and tifffile does not.

    That is YCbCr without JPEG, CIE LAB, and JPEG of the old style, all of 8 bits.
    """
    page, _ = _first_page(data)
    old_jpeg = page.compression == 6
    return old_jpeg or page.photometric == _LAB or (page.photometric == _YCBCR and page.compression != _JPEG)


def read_tiff(data: bytes, max_pixels: int) -> Samples:
    """Return what the first page of a TIFF stores, upright.

    Args:
        data: The whole file.
        max_pixels: What is decoded may take 8 bytes for each of so many pixels.

    Raises:
        UnusableImage: It is broken, too large, or of a kind that is not read.
    """
    page, _ = _first_page(data)
    _refuse_bombs(page, max_pixels)
    if page.compression not in _COMPRESSIONS:
        name = getattr(page.compression, "name", page.compression)
        raise UnusableImage(f"TIFF compression {name} is not read; save it uncompressed or with deflate")
    return _samples(page, _values(page, data))


def _first_page(data: bytes) -> tuple[TiffPage, int]:
    """Return the first page and the number of pages.

    Raises:
        UnusableImage: The file is broken.
    """
    from tifffile import TiffFile

    try:
        file = TiffFile(io.BytesIO(data))
        page: Any = file.pages.first
        frames = len(file.pages)
        if frames == 1 and file.is_imagej:
            frames = int((file.imagej_metadata or {}).get("images", 1))
    except Exception as error:  # whatever parsing broken data led to
        raise UnusableImage(f"truncated or broken ({' '.join(str(error).split())[:120]})") from error
    sides = (page.imagewidth, page.imagelength)
    if not all(isinstance(side, int) and side > 0 for side in sides):
        raise UnusableImage("truncated or broken (the TIFF says no size)")
    once = ("photometric", "compression", "planarconfig", "samplesperpixel", "predictor")
    several = [name for name in once if not isinstance(getattr(page, name), int)]
    if several or not all(isinstance(kind, int) for kind in page.extrasamples):
        raise UnusableImage(f"truncated or broken (the TIFF says {(several or ['extrasamples'])[0]} wrongly)")
    if not isinstance(page.bitspersample, int) or not isinstance(page.sampleformat, int) or page.imagedepth != 1:
        raise UnusableImage("TIFF channels of different kinds are not read; save it with 8 or 16 bits a channel")
    return page, frames


def _photometric(page: TiffPage) -> int:
    """Return what the values mean; a file that says nothing has black zeros, as readers agree."""
    return int(page.photometric) if _PHOTOMETRIC in page.tags else _BLACK_IS_ZERO


def _colour_bands(page: TiffPage) -> int:
    """Return how many leading bands are colour.

    Raises:
        UnusableImage: They are no grey levels and no colours.
    """
    photometric = _photometric(page)
    wanted = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _SEPARATED: 4, _YCBCR: 3, _LAB: 3}
    if photometric not in wanted or (photometric == _SEPARATED and page.tags.valueof(_INK_SET, 1) != 1):
        name = getattr(page.photometric, "name", photometric)
        raise UnusableImage(f"TIFF colours of kind {name} are not read; export it as grey or RGB")
    if page.samplesperpixel < wanted[photometric]:
        raise UnusableImage(
            f"truncated or broken ({page.samplesperpixel} channels, its colours need {wanted[photometric]})"
        )
    return wanted[photometric]


def _extra_bands(page: TiffPage) -> tuple[int, ...]:
    """Return for each band beyond the colours what the file says it is: 0 (nothing), 1 or 2 (opacity)."""
    count = page.samplesperpixel - _colour_bands(page)
    said = [int(kind) for kind in page.extrasamples]
    return tuple((said + [0] * count)[:count])


def _orientation(page: TiffPage) -> int:
    value = page.tags.valueof(_ORIENTATION, 1)
    return int(value) if isinstance(value, int) and 1 <= value <= 8 else 1


def _mode(page: TiffPage, alpha: bool) -> str:
    """Return Pillow's name of the colour mode, with the depth where it is above 8."""
    photometric, bits = _photometric(page), page.bitspersample
    if photometric in _NAMES:
        name = _NAMES[photometric]
    elif photometric == _RGB:
        name = "RGBA" if alpha else "RGB"
    elif alpha:
        name = "LA"
    else:
        name = "1" if bits == 1 else "L" if bits <= 8 else "I"
    suffix = {_SIGNED: "S", _FLOAT: "F"}.get(page.sampleformat, "")
    return f"{name};{bits}{suffix}" if bits > 8 or suffix else name


def _refuse_bombs(page: TiffPage, max_pixels: int) -> None:
    """Look at what decoding will take before it takes it.

    Raises:
        UnusableImage: A tile or the whole is larger than ``max_pixels`` allows.
    """
    pixel_bytes = page.samplesperpixel * max(1, math.ceil(page.bitspersample / 8))
    across, down = page.imagewidth, page.imagelength
    if page.is_tiled:
        across, down = max(across, page.tilewidth), max(down, page.tilelength)
    if across * down * pixel_bytes > max_pixels * _BYTES_PER_PIXEL:
        raise UnusableImage(
            f"too large: {across:,} x {down:,} pixels of {pixel_bytes:,} bytes, data.max_pixels is {max_pixels:,} "
            f"(of {_BYTES_PER_PIXEL} bytes)"
        )


def _values(page: TiffPage, data: bytes) -> npt.NDArray[Any]:
    """Return (H, W, S) of one page; every part of it was there, or it is refused.

    Raises:
        UnusableImage: A part is missing or broken.
    """
    separate, _, height, width, together = page.shaped
    try:
        if page.dtype is None:
            kind = f"{page.bitspersample}-bit values of format {page.sampleformat}"
            raise UnusableImage(f"{kind} are not read; save it with 8 or 16 bits a channel")
        if any(offset + size > len(data) for offset, size in zip(page.dataoffsets, page.databytecounts, strict=False)):
            raise UnusableImage("truncated (a part of the picture lies beyond the file's end)")
        if page.compression == _JPEG:
            _check_jpeg(page, data)
        # Zeros, not whatever the memory held: a part that is missing must not make chance of the picture.
        out = np.zeros((separate, height, width, together), page.dtype)
        covered = 0
        for part, (plane, _, top, left, _), (_, rows, columns, _) in page.segments(maxworkers=1, _fullsize=False):
            rows, columns = min(rows, height - top), min(columns, width - left)
            if part is None or rows <= 0 or columns <= 0 or part.shape[1] < rows or part.shape[2] < columns:
                raise UnusableImage("truncated (a part of the picture is missing)")
            out[plane, top : top + rows, left : left + columns] = part[0, :rows, :columns]
            covered += rows * columns
    except UnusableImage:
        raise
    except MemoryError as error:
        raise UnusableImage("too large for the memory there is; lower data.max_pixels") from error
    except Exception as error:  # the decoders raise whatever they met in broken data
        raise UnusableImage(f"truncated or broken ({' '.join(str(error).split())[:120]})") from error
    if covered != separate * height * width:
        raise UnusableImage("truncated (a part of the picture is missing)")
    return np.moveaxis(out, 0, -2).reshape(height, width, separate * together)


def _check_jpeg(page: TiffPage, data: bytes) -> None:
    """Refuse a strip or tile whose JPEG claims to be larger than its place: memory is taken by that claim."""
    down = page.tilelength if page.is_tiled else page.rowsperstrip
    across = page.tilewidth if page.is_tiled else page.imagewidth
    for offset, size in zip(page.dataoffsets, page.databytecounts, strict=False):
        try:
            header = jpeg_header(data[offset : offset + size])
        except (struct.error, IndexError):
            header = None
        if header is not None and header.width * header.height > 2 * across * max(down, 8):
            raise UnusableImage(f"broken (a part of {across} x {down} pixels claims {header.width} x {header.height})")


def _samples(page: TiffPage, values: npt.NDArray[Any]) -> Samples:
    values = values.view(np.uint8) if values.dtype == bool else values
    values = oriented(values, _orientation(page))
    photometric, bits = _photometric(page), page.bitspersample
    unsigned = page.sampleformat in (_UNSIGNED, _UNDEFINED)
    white = 2**bits - 1 if unsigned and bits <= 16 else None
    colour, extra = _colour_bands(page), _extra_bands(page)
    if photometric == _PALETTE:
        return Samples(_palette(page, values[..., 0]), 255, 3)
    if photometric == _SEPARATED:
        return Samples(_from_cmyk(values[..., :4], white), 255, 3)
    alpha = next((colour + at for at, kind in enumerate(extra) if kind in (_ASSOCIATED, _UNASSOCIATED)), None)
    premultiplied = alpha is not None and extra[alpha - colour] == _ASSOCIATED
    return Samples(values, white, colour, alpha, premultiplied, inverted=photometric == _WHITE_IS_ZERO)


def _palette(page: TiffPage, indices: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return the colours of indices; a palette has 16 bits, save where its writer put 8."""
    if page.colormap is None:
        raise UnusableImage("truncated or broken (its palette is missing)")
    colours = page.colormap.T  # (entries, 3)
    if int(indices.max()) >= len(colours):
        raise UnusableImage("broken (a pixel names a colour that the palette lacks)")
    if colours.max() > 255:
        colours = colours >> 8
    return colours.astype(np.uint8)[indices]


def _from_cmyk(values: npt.NDArray[Any], white: int | None) -> npt.NDArray[np.uint8]:
    """Return RGB as Pillow makes it of four inks; colour profiles are not applied."""
    from PIL import Image

    if white is None:
        raise UnusableImage("CMYK of signed values or floats is not read; export it as RGB")
    inks = np.concatenate([show(Samples(values[..., ink : ink + 1], white, 1)) for ink in range(4)], axis=2)
    height, width = inks.shape[:2]
    return np.asarray(Image.frombytes("CMYK", (width, height), inks.tobytes()).convert("RGB"))
