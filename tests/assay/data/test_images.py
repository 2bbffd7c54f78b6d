"""Decoding: every kind of file that a data set holds gives the same picture, or a reason why not."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from assay.data.headers import extension_format, read_header
from assay.data.images import UnusableImage, decode, decode_native, resize, to_color_mode

MANY = 1_000_000


def picture(height: int = 40, width: int = 56) -> np.ndarray:
    """A smooth colour picture, so that lossy formats stay near it."""
    rows, columns = np.mgrid[0:height, 0:width]
    red = 60 + 120 * rows / height
    green = 200 - 100 * columns / width
    blue = 90 + 50 * np.sin(rows / 9) * np.cos(columns / 7)
    return np.stack([red, green, blue], axis=-1).round().astype(np.uint8)


def encoded(image: np.ndarray | Image.Image, file_format: str, **options: object) -> bytes:
    picture_of = image if isinstance(image, Image.Image) else Image.fromarray(image)
    buffer = io.BytesIO()
    picture_of.save(buffer, file_format, **options)
    return buffer.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    """A PNG whose header claims this size, with hardly any data."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("PNG", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_deflate"}),
        ("BMP", {}),
        ("WEBP", {"lossless": True}),
        ("PPM", {}),
    ],
)
def test_lossless_files_give_their_exact_pixels(file_format: str, options: dict) -> None:
    np.testing.assert_array_equal(decode(encoded(picture(), file_format, **options), "rgb", None, MANY), picture())


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 30}])
def test_jpeg_decodes_as_pillow_does(options: dict) -> None:
    data = encoded(picture(), "JPEG", **options)
    assert read_header(data).plain
    np.testing.assert_array_equal(decode(data, "rgb", None, MANY), np.asarray(Image.open(io.BytesIO(data))))


def test_grey_files_become_three_equal_channels_and_colour_becomes_luma() -> None:
    grey = np.asarray(Image.fromarray(picture()).convert("L"))
    for file_format in ("PNG", "TIFF", "BMP", "JPEG"):
        data = encoded(grey, file_format, **({"quality": 100} if file_format == "JPEG" else {}))
        assert read_header(data).mode == "L"
        rgb = decode(data, "rgb", None, MANY)
        assert rgb.shape == (40, 56, 3)
        assert (rgb == rgb[..., :1]).all()
        assert np.abs(decode(data, "grayscale", None, MANY)[..., 0].astype(int) - grey).max() <= 2
    from_colour = decode(encoded(picture(), "PNG"), "grayscale", None, MANY)
    assert from_colour.shape == (40, 56, 1)
    assert np.abs(from_colour[..., 0].astype(int) - grey).max() <= 1


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_are_scaled_by_their_whole_range(suffix: str, channels: int) -> None:
    values = np.linspace(0, 65535, 40 * 56 * channels).round().astype(np.uint16).reshape(40, 56, channels)
    data = cv2.imencode(suffix, values)[1].tobytes()
    expected = np.round(values / 257).astype(np.uint8)
    expected = np.repeat(expected, 3, axis=2) if channels == 1 else expected[..., ::-1]
    assert ";16" in read_header(data).mode
    np.testing.assert_array_equal(decode(data, "rgb", None, MANY), expected)


def test_dim_16_bit_images_stay_dim() -> None:
    dim = np.full((16, 16), 2570, np.uint16)
    assert (decode(encoded(dim, "PNG"), "grayscale", None, MANY) == 10).all()


def test_cmyk_palette_and_bilevel_become_rgb() -> None:
    image = Image.fromarray(picture())
    cmyk = decode(encoded(image.convert("CMYK"), "JPEG", quality=95), "rgb", None, MANY)
    assert np.abs(cmyk.astype(int) - picture()).mean() < 3
    paletted = image.convert("P", palette=Image.Palette.ADAPTIVE)
    for file_format in ("PNG", "GIF", "BMP"):
        expected = np.asarray(paletted.convert("RGB"))
        np.testing.assert_array_equal(decode(encoded(paletted, file_format), "rgb", None, MANY), expected)
    bilevel = image.convert("1")
    assert set(np.unique(decode(encoded(bilevel, "PNG"), "rgb", None, MANY))) == {0, 255}


def test_transparency_is_laid_on_white() -> None:
    rgba = np.dstack([picture(), np.full((40, 56), 255, np.uint8)])
    rgba[:20, :, 3] = 0
    rgba[20:30, :, 3] = 128
    pixels = decode(encoded(rgba, "PNG"), "rgb", None, MANY)
    assert (pixels[:20] == 255).all()
    np.testing.assert_array_equal(pixels[30:], picture()[30:])
    half = picture()[20:30].astype(float) * (128 / 255) + 255 * (127 / 255)
    assert np.abs(pixels[20:30] - half).max() <= 1
    deep = cv2.imencode(".png", rgba[..., [2, 1, 0, 3]].astype(np.uint16) * 257)[1].tobytes()
    assert read_header(deep).mode == "RGBA;16"
    assert np.abs(decode(deep, "rgb", None, MANY).astype(int) - pixels).max() <= 1
    palette = Image.fromarray(picture()).convert("P", palette=Image.Palette.ADAPTIVE)
    transparent = decode(encoded(palette, "PNG", transparency=palette.getpixel((0, 0))), "rgb", None, MANY)
    assert (transparent[0, 0] == 255).all()


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "TIFF", "WEBP"])
def test_the_first_of_several_frames_is_used(file_format: str) -> None:
    first, second = Image.new("RGB", (16, 16), (250, 0, 0)), Image.new("RGB", (16, 16), (0, 250, 0))
    data = encoded(first, file_format, save_all=True, append_images=[second, first])
    assert read_header(data).frames == 3
    assert np.abs(decode(data, "rgb", None, MANY)[8, 8].astype(int) - (250, 0, 0)).max() <= 6


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(file_format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture(), file_format, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    np.testing.assert_array_equal(decode(data, "rgb", None, MANY), expected)
    assert read_header(data).oriented == (orientation != 1)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"hello, I am a note\n" * 20, "not an image"),
        (b"%PDF-1.7 ...", "PDF"),
        (b"\0" * 128 + b"DICM" + b"\0" * 100, "DICOM"),
        (b"<html><body>404</body></html>", "HTML"),
        (b"\xff\xd8\xff\xe0", "incomplete"),
        (encoded(picture(), "JPEG")[:-300], "truncated"),
        (encoded(picture(), "JPEG")[:-2], "truncated"),
        (encoded(picture(), "PNG")[:-200], "truncated"),
        (encoded(picture(), "TIFF")[:1500], "truncated|broken|incomplete"),
        (encoded(picture(), "GIF")[:500], "truncated"),
        (encoded(picture(), "WEBP")[:-40], "truncated"),
        (encoded(picture(1, 1), "PNG"), "too small: 1 x 1"),
        (encoded(picture(7, 300), "PNG"), "too small: 300 x 7"),
        (png_claiming(20_000, 20_000), "too large: 20,000 x 20,000 = 400,000,000"),
        (encoded(np.zeros((16, 16), np.float32), "TIFF"), "32-bit floats"),
        (encoded(np.zeros((16, 16), np.int32), "TIFF"), "32-bit signed integers"),
    ],
)
def test_unusable_files_say_why(data: bytes, reason: str) -> None:
    with pytest.raises(UnusableImage, match=reason) as caught:
        decode(data, "rgb", (32, 32), MANY)
    assert "\n" not in str(caught.value)


def test_a_real_large_image_is_refused_unless_allowed() -> None:
    data = encoded(np.zeros((1200, 1000), np.uint8), "PNG")
    with pytest.raises(UnusableImage, match=r"data\.max_pixels is 1,000,000"):
        decode(data, "rgb", None, MANY)
    assert decode(data, "rgb", (12, 10), 1_200_000).shape == (12, 10, 3)


def test_headers_agree_with_pillow(pcam: Path) -> None:
    for file in sorted((pcam / "valid" / "0").iterdir())[:20]:
        data = file.read_bytes()
        image = Image.open(file)
        info = read_header(data)
        assert (info.format, info.width, info.height, info.mode) == (image.format, *image.size, image.mode)
        np.testing.assert_array_equal(decode(data, "rgb", None, MANY), np.asarray(image))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_flipped_bit_in_a_png_is_found_without_noise(dtype: type, capfd: pytest.CaptureFixture[str]) -> None:
    values = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(dtype)
    data = bytearray(cv2.imencode(".png", values)[1].tobytes())
    data[len(data) // 2] ^= 0x10
    with pytest.raises(UnusableImage):
        decode(bytes(data), "rgb", None, MANY)
    assert capfd.readouterr() == ("", "")


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP"]),
    st.integers(0, 3000),
    st.lists(st.tuples(st.integers(0, 2999), st.integers(0, 255)), max_size=6),
)
def test_damaged_files_decode_or_are_refused_but_never_crash(
    file_format: str, keep: int, changes: list[tuple[int, int]]
) -> None:
    damaged = bytearray(encoded(picture(), file_format)[:keep])
    for position, value in changes:
        if position < len(damaged):
            damaged[position] = value
    try:
        pixels, info = decode_native(bytes(damaged), 100_000)
    except UnusableImage as reason:
        assert str(reason)
    else:
        assert pixels.dtype == np.uint8
        assert pixels.shape[2] in (1, 3)
        assert {pixels.shape[0], pixels.shape[1]} == {info.height, info.width}


@settings(max_examples=60, deadline=None)
@given(*(st.integers(8, 60) for _ in range(4)), st.sampled_from(["rgb", "grayscale"]))
def test_resize_gives_the_size_and_keeps_the_mean(height: int, width: int, rows: int, columns: int, mode: str) -> None:
    image = to_color_mode(picture(height, width), mode)
    out = resize(image, (rows, columns))
    assert out.shape == (rows, columns, 3 if mode == "rgb" else 1)
    assert out.flags.c_contiguous
    assert abs(float(out.mean()) - float(image.mean())) < 4


def test_shrinking_averages_over_the_area() -> None:
    stripes = np.zeros((64, 64, 1), np.uint8)
    stripes[:, ::2] = 200
    assert (resize(stripes, (64, 32)) == 100).all()
    assert (resize(stripes, (16, 16)) == 100).all()
    assert (resize(stripes, (80, 32)) == 100).all()


def test_extensions_promise_formats() -> None:
    assert extension_format("a/b.JPG") == "JPEG"
    assert extension_format("x.tiff") == "TIFF"
    assert extension_format("readme.md") is None
    assert extension_format("noextension") is None
