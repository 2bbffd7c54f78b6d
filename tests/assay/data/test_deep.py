"""More than 8 bits a channel in PNG, JPEG 2000 and Netpbm files, each against another reader."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from assay.data.headers import read_header
from assay.data.images import Rendering, UnusableImage, decode, decode_native

MANY = 1_000_000
SHAPE = (20, 27)


def values(bands: int = 1, largest: int = 65535) -> np.ndarray:
    return np.random.default_rng(bands).integers(0, largest, (*SHAPE, bands), np.uint16, endpoint=True).squeeze()


def eight_bits(array: np.ndarray, white: int = 65535) -> np.ndarray:
    return np.floor(array.astype(np.float64) * 255 / white + 0.5).astype(np.uint8)


def shown(data: bytes, **rendering: Any) -> np.ndarray:
    return decode_native(data, MANY, Rendering(**rendering))[0].squeeze()


def with_chunk(png: bytes, kind: bytes, content: bytes, before: bytes = b"IDAT") -> bytes:
    place = png.index(before) - 4
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return png[:place] + chunk + png[place:]


def exif(orientation: int) -> bytes:
    return struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)


@pytest.mark.parametrize("bands", [1, 3])
def test_png_of_16_bits_with_and_without_a_window(bands: int) -> None:
    stored = values(bands)
    data = imagecodecs.png_encode(stored)
    if bands == 1:
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), stored)
    np.testing.assert_array_equal(shown(data), eight_bits(stored))
    expected = np.clip((stored - 1000.0) / 3095, 0, 1) * 255
    assert np.abs(shown(data, window=(1000, 4095)) - expected).max() <= 0.51


@pytest.mark.parametrize("bands", [2, 4])
def test_png_of_16_bits_is_laid_on_white(bands: int) -> None:
    stored = values(bands)
    opacity = stored[..., -1:] / 65535
    expected = stored[..., :-1] / 257 * opacity + 255 * (1 - opacity)
    assert np.abs(shown(imagecodecs.png_encode(stored)) - expected.squeeze()).max() <= 1.5


@pytest.mark.parametrize("bands", [1, 3])
def test_a_transparent_colour_of_16_bits_becomes_white(bands: int) -> None:
    stored = values(bands).reshape(*SHAPE, bands)
    colour = stored[4, 5].tolist()
    data = with_chunk(imagecodecs.png_encode(stored.squeeze()), b"tRNS", struct.pack(f">{bands}H", *colour))
    expected = np.where((stored == stored[4, 5]).all(axis=2, keepdims=True), 255, eight_bits(stored))
    np.testing.assert_array_equal(shown(data), expected.squeeze())


@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_orientation_of_a_png_is_applied_wherever_it_stands(before: bytes, dtype: Any) -> None:
    stored = values(3).astype(dtype)
    data = with_chunk(imagecodecs.png_encode(stored), b"eXIf", exif(6), before)
    upright = stored.transpose(1, 0, 2)[:, ::-1]
    np.testing.assert_array_equal(shown(data), eight_bits(upright, np.iinfo(dtype).max))
    assert read_header(data).orientation == 6


def pnm(stored: np.ndarray, white: int, *, text: bool = False, comment: bytes = b"") -> bytes:
    kind = {(True, 2): b"P2", (True, 3): b"P3", (False, 2): b"P5", (False, 3): b"P6"}[text, stored.ndim]
    head = kind + b"\n" + comment + b"%d %d\n%d\n" % (stored.shape[1], stored.shape[0], white)
    if text:
        return head + b"\n".join(b"%d" % value for value in stored.ravel())
    return head + stored.astype(">u2" if white > 255 else "u1").tobytes()


@pytest.mark.parametrize("white", [65535, 4095, 1000, 256])
@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("text", [True, False])
def test_netpbm_files_are_scaled_by_their_own_white(white: int, bands: int, text: bool) -> None:
    stored = values(bands, white)
    data = pnm(stored, white, text=text, comment=b"# made by a scanner\n")
    np.testing.assert_array_equal(shown(data), eight_bits(stored, white))
    if bands == 1:
        other = np.asarray(Image.open(io.BytesIO(data))).astype(np.float64)
        assert np.abs(shown(data) - other / 257).max() <= 0.51
    info = read_header(data)
    assert (info.format, info.mode, info.deep) == ("PPM", "I;16" if bands == 1 else "RGB;16", True)


def test_a_netpbm_file_that_was_cut_off_is_refused() -> None:
    data = pnm(values(), 65535)
    for broken in (data[:-3], pnm(values(), 65535, text=True)[:-600]):
        with pytest.raises(UnusableImage, match="truncated"):
            shown(broken)
    with pytest.raises(UnusableImage, match="its white is 4,095"):
        shown(pnm(values(), 4095))


@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("codec", ["jp2", "j2k"])
def test_jpeg_2000_is_scaled_by_its_own_bits(bits: int, bands: int, codec: str) -> None:
    white = 2**bits - 1
    stored = values(bands, white)
    data = imagecodecs.jpeg2k_encode(stored, level=0, bitspersample=bits, codecformat=codec)
    np.testing.assert_array_equal(shown(data), eight_bits(stored, white))
    np.testing.assert_array_equal(shown(data, window=(0, white)), eight_bits(stored, white))
    if bands == 1:
        other = np.asarray(Image.open(io.BytesIO(data))).astype(np.float64)
        assert np.abs(shown(data) - other / 257).max() <= 1


def test_signed_jpeg_2000_needs_a_window() -> None:
    units = np.random.default_rng(0).integers(-1024, 3071, SHAPE, np.int16)
    data = imagecodecs.jpeg2k_encode(units, level=0)
    with pytest.raises(UnusableImage, match=r"needs data\.window: 16-bit signed"):
        shown(data)
    expected = np.clip((units + 160.0) / 400, 0, 1) * 255
    assert np.abs(shown(data, window=(-160, 240)) - expected).max() <= 0.51


def test_floats_of_a_portable_float_map_need_a_window() -> None:
    stored = np.random.default_rng(0).random(SHAPE, np.float32)
    data = b"Pf\n%d %d\n-1.0\n" % (SHAPE[1], SHAPE[0]) + stored[::-1].tobytes()
    with pytest.raises(UnusableImage, match=r"needs data\.window: 32-bit floats"):
        shown(data)
    assert np.abs(shown(data, window=(0, 1)) - stored * 255).max() <= 0.51


def test_bands_choose_among_the_channels_of_any_format() -> None:
    stored = values(3).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(stored).save(file, "PNG")
    for data in (file.getvalue(), imagecodecs.png_encode(stored.astype(np.uint16) * 257)):
        np.testing.assert_array_equal(shown(data, bands=(2,)), stored[..., 1])
        np.testing.assert_array_equal(shown(data, bands=(3, 1, 1)), stored[..., [2, 0, 0]])
    grey = imagecodecs.png_encode(stored[..., 0].copy())
    with pytest.raises(UnusableImage, match="has 1 band, "):
        decode(grey, "rgb", None, MANY, Rendering(bands=(3, 2, 1)))
