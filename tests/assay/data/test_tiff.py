"""TIFF of every kind gives the picture that its own tags describe; tifffile writes, and reads beside us."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from assay.data.headers import read_header
from assay.data.images import Rendering, UnusableImage, decode, decode_native

MANY = 1_000_000
HEIGHT, WIDTH = 24, 33


def values(dtype: Any = np.uint16, bands: int = 1, *, largest: int | None = None, seed: int = 0) -> np.ndarray:
    """Noise over the whole range of a type, or up to a value."""
    top = np.iinfo(dtype).max if largest is None else largest
    return np.random.default_rng(seed).integers(0, top, (HEIGHT, WIDTH, bands), dtype, endpoint=True).squeeze()


def tiff(array: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, **{"metadata": None, **options})
    return file.getvalue()


def eight_bits(array: np.ndarray, white: int = 65535) -> np.ndarray:
    """What 8 bits of a whole range are, in floats of double precision."""
    return np.floor(array.astype(np.float64) * 255 / white + 0.5).astype(np.uint8)


def shown(data: bytes, **rendering: Any) -> np.ndarray:
    return decode_native(data, MANY, Rendering(**rendering))[0].squeeze()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_zero_is_white_where_the_file_says_so(order: str, dtype: Any) -> None:
    stored = values(dtype)
    top = np.iinfo(dtype).max
    black_is_zero = tiff(stored, photometric="minisblack", byteorder=order)
    white_is_zero = tiff(top - stored, photometric="miniswhite", byteorder=order)
    np.testing.assert_array_equal(shown(black_is_zero), eight_bits(stored, top))
    np.testing.assert_array_equal(shown(white_is_zero), eight_bits(stored, top))


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([(np.uint8, 255), (np.uint16, 65535)]),
    st.sampled_from(["<", ">"]),
    st.sampled_from(["minisblack", "miniswhite", "rgb"]),
    st.sampled_from(["contig", "separate"]),
    st.sampled_from([None, "zlib", "lzw", "packbits", "zstd", "lzma"]),
    st.booleans(),
    st.sampled_from([None, (16, 16)]),
    st.sampled_from([None, 5]),
    st.booleans(),
)
def test_every_way_to_store_the_same_values_gives_the_same_picture(
    kind: tuple[Any, int],
    order: str,
    photometric: str,
    planar: str,
    compression: str | None,
    predictor: bool,
    tile: tuple[int, int] | None,
    rows: int | None,
    big: bool,
) -> None:
    dtype, white = kind
    stored = values(dtype, 3 if photometric == "rgb" else 1)
    options: dict[str, Any] = {"photometric": photometric, "byteorder": order, "bigtiff": big}
    written = stored
    if photometric == "rgb":
        options["planarconfig"] = planar
        written = np.moveaxis(stored, -1, 0) if planar == "separate" else stored
    if compression:
        options |= {"compression": compression, "predictor": predictor and compression != "packbits"}
    options |= {"tile": tile} if tile else {"rowsperstrip": rows}
    data = tiff(written, **options)
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(data)), written)
    expected = eight_bits(stored, white)
    np.testing.assert_array_equal(shown(data), 255 - expected if photometric == "miniswhite" else expected)


@pytest.mark.parametrize("bits", [1, 2, 4, 10, 12, 14])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_packed_bits_are_scaled_by_their_own_range(bits: int, photometric: str) -> None:
    white = 2**bits - 1
    stored = values(np.uint8 if bits <= 8 else np.uint16, largest=white)
    if bits == 1:
        data = tiff(stored.astype(bool), photometric=photometric)
    else:
        # No writer packs these: the bits of each row, filled up to a byte.
        planes = (stored[..., None] >> np.arange(bits - 1, -1, -1)) & 1
        packed = np.packbits(planes.reshape(HEIGHT, -1).astype(np.uint8), axis=1).tobytes()
        data = with_tags(packed, {258: bits, 262: 0 if photometric == "miniswhite" else 1})
    expected = eight_bits(stored, white)
    np.testing.assert_array_equal(shown(data), 255 - expected if photometric == "miniswhite" else expected)


def with_tags(pixels: bytes, tags: dict[int, int]) -> bytes:
    """An uncompressed TIFF of one strip with these short tags beside the usual ones."""
    usual = {256: WIDTH, 257: HEIGHT, 258: 8, 259: 1, 262: 1, 273: 0, 277: 1, 278: HEIGHT, 279: len(pixels)}
    tags = {**usual, **tags}
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, tags[tag]) for tag in sorted(tags))
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + struct.pack("<I", 0) + pixels


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("bands", [4, 5])
def test_unspecified_bands_are_dropped_and_counted(dtype: Any, planar: str, bands: int) -> None:
    stored = values(dtype, bands)
    written = np.moveaxis(stored, -1, 0) if planar == "separate" else stored
    data = tiff(written, photometric="rgb", planarconfig=planar, extrasamples=["unspecified"] * (bands - 3))
    np.testing.assert_array_equal(shown(data), eight_bits(stored[..., :3], np.iinfo(dtype).max))
    info = read_header(data)
    assert (info.bands, info.dropped, info.mode.split(";")[0]) == (bands, bands - 3, "RGB")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_bands_are_shown_as_asked(dtype: Any) -> None:
    stored = values(dtype, 5)
    top = np.iinfo(dtype).max
    data = tiff(stored, photometric="rgb", extrasamples=["unspecified"] * 2)
    np.testing.assert_array_equal(shown(data, bands=(5, 3, 2)), eight_bits(stored[..., [4, 2, 1]], top))
    np.testing.assert_array_equal(shown(data, bands=(4,)), eight_bits(stored[..., 3], top))
    grey = tiff(stored, photometric="minisblack", planarconfig="contig")
    np.testing.assert_array_equal(shown(grey), eight_bits(stored[..., 0], top))
    np.testing.assert_array_equal(shown(grey, bands=(3, 2, 1)), eight_bits(stored[..., [2, 1, 0]], top))
    with pytest.raises(UnusableImage, match=r"has 5 bands, data\.bands asks for band 6"):
        shown(data, bands=(6,))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", ["assocalpha", "unassalpha"])
@pytest.mark.parametrize("colours", [1, 3])
def test_opacity_is_what_the_file_calls_so(dtype: Any, kind: str, colours: int) -> None:
    top = np.iinfo(dtype).max
    stored = values(dtype, colours + 1)
    opacity = stored[..., -1:] / top
    if kind == "assocalpha":  # colours are stored multiplied by their opacity
        stored[..., :-1] = np.round(stored[..., :-1] * opacity)
        expected = stored[..., :-1] / top * 255 + 255 * (1 - opacity)
    else:
        expected = stored[..., :-1] / top * 255 * opacity + 255 * (1 - opacity)
    data = tiff(stored, photometric="rgb" if colours == 3 else "minisblack", planarconfig="contig", extrasamples=[kind])
    assert np.abs(shown(data) - expected.squeeze()).max() <= 1.5
    assert read_header(data).mode.startswith("RGBA" if colours == 3 else "LA")
    assert read_header(data).dropped == 0


def test_a_palette_gives_its_colours() -> None:
    palette = np.random.default_rng(1).integers(0, 65536, (3, 256), np.uint16)
    indices = values(np.uint8)
    data = tiff(indices, photometric="palette", colormap=palette)
    np.testing.assert_array_equal(shown(data), (palette >> 8).astype(np.uint8).T[indices])


@pytest.mark.parametrize("white", [255, 65535])
def test_inks_become_the_colours_that_pillow_makes_of_them(white: int) -> None:
    inks = values(np.uint8, 4)
    stored = inks if white == 255 else inks.astype(np.uint16) * 257
    data = tiff(stored, photometric="separated")
    expected = np.asarray(Image.frombytes("CMYK", (WIDTH, HEIGHT), inks.tobytes()).convert("RGB"))
    np.testing.assert_array_equal(shown(data), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_orientation_is_applied(orientation: int, dtype: Any) -> None:
    stored = values(dtype)
    data = tiff(stored, photometric="minisblack", extratags=[(274, "H", 1, orientation, True)])
    upright = {
        1: stored, 2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1], 5: stored.T, 6: stored.T[:, ::-1],
        7: stored.T[::-1, ::-1], 8: stored.T[::-1],
    }[orientation]  # fmt: skip
    np.testing.assert_array_equal(shown(data), eight_bits(upright, np.iinfo(dtype).max))
    assert read_header(data).orientation == orientation


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt", "jpeg", "tiff_lzw", "tiff_adobe_deflate"])
def test_files_of_pillow_are_read_as_pillow_reads_them(compression: str) -> None:
    file = io.BytesIO()
    image = Image.fromarray(np.kron(values(np.uint8, 3)[:8, :11], np.ones((3, 3, 1), np.uint8)))
    if compression in ("group3", "group4", "tiff_ccitt"):
        image = image.convert("1")
    image.save(file, "TIFF", compression=compression)
    expected = np.asarray(Image.open(io.BytesIO(file.getvalue())).convert("RGB"))
    apart = np.abs(decode(file.getvalue(), "rgb", None, MANY).astype(int) - expected)
    assert apart.max() <= (2 if compression == "jpeg" else 0)


@pytest.mark.parametrize("mode", ["LAB", "YCbCr", "CMYK", "LA", "RGBA"])
def test_colour_modes_of_pillow_are_read_as_pillow_reads_them(mode: str) -> None:
    image = Image.fromarray(np.kron(values(np.uint8, 3)[:8, :11], np.ones((3, 3, 1), np.uint8)))
    if mode == "LAB":
        image = Image.merge("LAB", image.split())
    else:
        image = image.convert(mode)
    file = io.BytesIO()
    image.save(file, "TIFF")
    expected = np.asarray(Image.open(io.BytesIO(file.getvalue())).convert("RGB"))
    assert np.abs(decode(file.getvalue(), "rgb", None, MANY).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.uint32, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_values_without_a_scale_need_a_window_and_say_so(dtype: Any, order: str) -> None:
    low, high = (0, 250) if np.dtype(dtype).kind == "u" else (-100, 120)
    stored = np.linspace(low, high, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(dtype)
    data = tiff(stored, photometric="minisblack", byteorder=order)
    with pytest.raises(UnusableImage, match=r"^needs data\.window: \d+-bit .*most lie in .* Set it to \[low, high\]"):
        shown(data)
    expected = np.clip((stored.astype(np.float64) - 10) / (90 - 10), 0, 1) * 255
    assert np.abs(shown(data, window=(10, 90)) - expected).max() <= 0.51
    assert read_header(data).deep


def test_hounsfield_units_by_their_window() -> None:
    units = np.random.default_rng(2).integers(-1024, 3072, (HEIGHT, WIDTH), np.int16)
    data = tiff(units, photometric="minisblack")
    expected = np.clip((units + 160.0) / 400, 0, 1) * 255
    assert np.abs(shown(data, window=(-160, 240)) - expected).max() <= 0.51


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_window_opens_twelve_bits_in_sixteen(order: str) -> None:
    stored = values(largest=4095)
    data = tiff(stored, photometric="minisblack", byteorder=order)
    assert shown(data).max() <= 16
    np.testing.assert_array_equal(shown(data, window=(0, 4095)), eight_bits(stored, 4095))
    turned = tiff(4095 - stored, photometric="miniswhite", byteorder=order)
    np.testing.assert_array_equal(shown(turned, window=(0, 4095)), 255 - eight_bits(4095 - stored, 4095))


def test_a_window_of_percentiles_is_each_images_own() -> None:
    for scale in (1, 7):
        stored = values(largest=4095) * np.uint16(scale) + np.uint16(300)
        low, high = np.percentile(stored, (0.5, 99.5))
        expected = np.clip((stored - low) / (high - low), 0, 1) * 255
        data = tiff(stored, photometric="minisblack")
        assert np.abs(shown(data, window="percentile") - expected).max() <= 0.51
    flat = tiff(np.full((HEIGHT, WIDTH), 700, np.uint16), photometric="minisblack")
    assert (shown(flat, window="percentile") == 0).all()


def test_a_window_leaves_eight_bits_alone() -> None:
    stored = values(np.uint8)
    data = tiff(stored, photometric="minisblack", compression="zlib")
    np.testing.assert_array_equal(shown(data, window=(0, 4095)), stored)


def test_the_first_page_is_used_and_the_others_counted() -> None:
    pages = np.stack([values(seed=number) for number in range(3)])
    for options in ({}, {"imagej": True, "metadata": {}}):
        data = tiff(pages, photometric="minisblack", **options)
        np.testing.assert_array_equal(shown(data), eight_bits(pages[0]))
        assert read_header(data).frames == 3


def test_values_that_are_no_numbers_are_refused() -> None:
    stored = np.zeros((HEIGHT, WIDTH), np.float32)
    stored[3, 4] = np.nan
    with pytest.raises(UnusableImage, match="no numbers"):
        shown(tiff(stored, photometric="minisblack"), window=(0, 1))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"photometric": "cfa"}, "kind CFA"),
        ({"photometric": "minisblack", "compression": "jpegxl"}, "compression JPEGXL"),
    ],
)
def test_what_is_not_read_is_named(options: dict[str, Any], reason: str) -> None:
    if options["photometric"] == "cfa":
        options["extratags"] = [(33421, "H", 2, (2, 2), True), (33422, "B", 4, b"\0\1\1\2", True)]
    with pytest.raises(UnusableImage, match=reason) as caught:
        shown(tiff(values(np.uint8), **options))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_file_that_was_cut_off_is_refused(dtype: Any, compression: str | None) -> None:
    data = tiff(values(dtype, 3), photometric="rgb", compression=compression, rowsperstrip=4)
    pixels_end = max(offset + size for offset, size in strips(data))
    for end in (pixels_end - 1, pixels_end // 2):
        with pytest.raises(UnusableImage, match=r"truncated|broken"):
            shown(data[:end])


def strips(data: bytes) -> list[tuple[int, int]]:
    page = tifffile.TiffFile(io.BytesIO(data)).pages.first
    return list(zip(page.dataoffsets, page.databytecounts, strict=True))


def test_a_strip_that_unpacks_to_more_than_its_place_is_refused_or_cut() -> None:
    data = bytearray(tiff(np.zeros((HEIGHT, WIDTH), np.uint8), photometric="minisblack", compression="zlib"))
    import zlib

    bomb = zlib.compress(bytes(50_000_000), 9)
    page = tifffile.TiffFile(io.BytesIO(bytes(data))).pages.first
    for tag, value in ((page.tags[273], len(data)), (page.tags[279], len(bomb))):
        struct.pack_into("<I" if tag.dtype == 4 else "<H", data, tag.valueoffset, value)
    with pytest.raises(UnusableImage):
        shown(bytes(data) + bomb)


def test_many_bands_are_counted_before_memory_is_taken() -> None:
    data = tiff(np.zeros((64, 64, 40), np.uint16), photometric="minisblack", planarconfig="contig", compression="zlib")
    with pytest.raises(UnusableImage, match="too large: 64 x 64 pixels of 80 bytes"):
        decode_native(data, 64 * 64)
    assert decode_native(data, 64 * 64 * 10)[0].shape == (64, 64, 1)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([None, "zlib", "lzw", "packbits", "jpeg"]),
    st.sampled_from(["contig", "separate"]),
    st.integers(0, 6000),
    st.lists(st.tuples(st.integers(0, 5999), st.integers(0, 255)), max_size=6),
)
def test_damaged_files_are_refused_or_decode_alike_twice(
    compression: str | None, planar: str, keep: int, changes: list[tuple[int, int]]
) -> None:
    dtype = np.uint8 if compression == "jpeg" else np.uint16
    stored = values(dtype, 3)
    written = np.moveaxis(stored, -1, 0) if planar == "separate" else stored
    whole = tiff(written, photometric="rgb", planarconfig=planar, compression=compression)
    damaged = bytearray(whole[: max(keep, 8)])
    for position, value in changes:
        if position < len(damaged):
            damaged[position] = value
    results = []
    for _ in range(2):
        try:
            results.append(decode_native(bytes(damaged), 100_000)[0].tobytes())
        except UnusableImage as reason:
            assert str(reason) and "\n" not in str(reason)
            results.append(str(reason).encode())
    assert results[0] == results[1]
