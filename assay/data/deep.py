"""More than 8 bits a channel outside of TIFF: PNG, JPEG 2000 and the Netpbm formats, in the file's own values."""

from __future__ import annotations

import re
import struct

import numpy as np
import numpy.typing as npt

from assay.data.samples import Samples
from assay.data.unusable import UnusableImage

_JPEG2000_SIZE = b"\xff\x4f\xff\x51"
_PNM_HEADER = re.compile(rb"\s*(?:#[^\n]*\n\s*)*(\d+)")


def read_png(data: bytes) -> Samples:
    """Return what a PNG of 16 bits stores.

    Raises:
        Exception: Whatever the decoder met in broken data.
    """
    import imagecodecs

    values = _three_axes(imagecodecs.png_decode(data))
    bands = values.shape[2]
    # Even numbers of bands end in opacity; a transparent colour (tRNS) has become one.
    return Samples(values, 65535, 3 if bands > 2 else 1, alpha=bands - 1 if bands in (2, 4) else None)


def jpeg2000_precision(data: bytes) -> tuple[int, bool] | None:
    """Return the bits of a JPEG 2000 image's first channel and whether they are signed; None where it says neither."""
    start = data.find(_JPEG2000_SIZE)
    if start < 0:
        return None
    try:
        # Marker, its length and capabilities, eight sizes, the number of channels; then a byte for each.
        (depth,) = struct.unpack_from(">B", data, start + 42)
    except struct.error:
        return None
    return (depth & 0x7F) + 1, bool(depth & 0x80)


def read_jpeg2000(data: bytes) -> Samples:
    """Return what a JPEG 2000 image of more than 8 bits stores.

    Raises:
        Exception: Whatever the decoder met in broken data.
    """
    import imagecodecs

    values = _three_axes(imagecodecs.jpeg2k_decode(data))
    bits, signed = jpeg2000_precision(data) or (8 * values.dtype.itemsize, values.dtype.kind == "i")
    bands = values.shape[2]
    alpha = bands - 1 if bands in (2, 4) else None
    return Samples(values, None if signed or bits > 16 else 2**bits - 1, 3 if bands > 2 else 1, alpha)


def pnm_white(data: bytes) -> int | None:
    """Return the white of a Netpbm file of grey or colour (P2, P3, P5, P6), or None where this is none."""
    header = _pnm_header(data)
    return header[2] if header is not None else None


def read_pnm(data: bytes) -> Samples:
    """Return what a Netpbm file with a white above 255 stores; its white need not be a power of two.

    Raises:
        UnusableImage: It ends early or holds values above its white.
    """
    header = _pnm_header(data)
    if header is None:
        raise UnusableImage("truncated or broken (no Netpbm header)")
    width, height, white, start = header
    bands = 3 if data[:2] in (b"P3", b"P6") else 1
    count = width * height * bands
    if data[:2] in (b"P5", b"P6"):
        values = np.frombuffer(data, ">u2", min(count, (len(data) - start) // 2), start).astype(np.uint16)
    else:
        text = re.sub(rb"#[^\n]*", b"", data[start:])
        values = np.array(text.split(maxsplit=count)[:count], np.uint16)
    if len(values) != count:
        raise UnusableImage(f"truncated ({len(values):,} values, its size needs {count:,})")
    if values.max() > white:
        raise UnusableImage(f"broken (a value of {values.max():,}, its white is {white:,})")
    return Samples(values.reshape(height, width, bands), white, bands)


def _pnm_header(data: bytes) -> tuple[int, int, int, int] | None:
    """Return width, height, white, and where the values begin."""
    if data[:2] not in (b"P2", b"P3", b"P5", b"P6"):
        return None
    numbers, position = [], 2
    for _ in range(3):
        found = _PNM_HEADER.match(data, position)
        if found is None:
            return None
        numbers.append(int(found[1]))
        position = found.end()
    width, height, white = numbers
    return (width, height, white, position + 1) if 0 < white < 65536 else None


def _three_axes(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    return values if values.ndim == 3 else values[..., np.newaxis]
