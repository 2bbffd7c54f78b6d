"""What a SavedModel sees of a file is what training saw, pixel by pixel, or it says why it does not look."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from assay.data.images import Rendering, decode
from assay.data.samples import WHOLE_RANGE
from assay.data.unusable import UnusableImage
from assay.models.serving import decode as serving_decode
from tests.formats import EXAMPLES, KINDS

SHAPE = (24, 20, 3)
SERVING = Path(__file__).parents[3] / "docs" / "serving.md"
LIMIT = 10**7


def smooth(height: int, width: int, channels: int = 3) -> np.ndarray:
    coarse = np.random.default_rng(height * width).integers(0, 256, (6, 5, channels), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, channels)


def encoded(pixels: np.ndarray, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(buffer, form, **options)
    return buffer.getvalue()


_graphs: dict[Any, Any] = {}


def served(data: bytes, shape: tuple[int, int, int] = SHAPE, rendering: Rendering = WHOLE_RANGE) -> np.ndarray:
    """Decode in a graph, as a SavedModel does."""
    graph = _graphs.get((shape, rendering))
    if graph is None:
        signature = [tf.TensorSpec([], tf.string)]
        graph = tf.function(lambda one: serving_decode(one, shape, LIMIT, rendering), signature, autograph=False)
        _graphs[shape, rendering] = graph
    return graph(tf.constant(data)).numpy()


def difference(data: bytes, shape: tuple[int, int, int] = SHAPE, rendering: Rendering = WHOLE_RANGE) -> np.ndarray:
    expected = decode(data, "rgb" if shape[2] == 3 else "grayscale", shape[:2], LIMIT, rendering)
    return served(data, shape, rendering).astype(int) - expected


def promises() -> dict[str, str]:
    """The table of the docs: each kind of file, and what the bytes signature does with it."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in SERVING.read_text().splitlines()]
    return {row[0]: row[1] for row in rows if len(row) == 3 and row[1] in ("as in training", "refused")}


def test_the_table_of_the_docs_names_every_kind_of_file() -> None:
    assert set(promises()) == set(KINDS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_format_is_served_as_the_docs_say(name: str) -> None:
    data = EXAMPLES[name]
    if promises()[name.partition(": ")[0]] == "refused":
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"is refused: .*signature pixels"):
            served(data)
    else:
        assert np.abs(difference(data)).max() <= (3 if data[:2] == b"\xff\xd8" else 2)
        assert np.abs(difference(data)).mean() < 0.5


@pytest.mark.parametrize("form", ["PNG", "BMP"])
@pytest.mark.parametrize("size", [(24, 20), (48, 40), (37, 61), (12, 10), (60, 10), (12, 45)])
def test_lossless_files_differ_by_a_level_at_most(form: str, size: tuple[int, int]) -> None:
    apart = difference(encoded(smooth(*size), form))
    assert np.abs(apart).max() <= 1
    assert np.abs(apart).mean() < 0.2


@pytest.mark.parametrize("size", [(24, 20), (96, 96), (12, 10)])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_jpeg_files_differ_by_little(size: tuple[int, int], subsampling: int) -> None:
    apart = difference(encoded(smooth(*size), "JPEG", quality=90, subsampling=subsampling))
    assert np.abs(apart).max() <= 3
    assert np.abs(apart).mean() < 0.5


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_colour_shown_to_a_grey_model_and_grey_to_a_colour_model(form: str) -> None:
    assert np.abs(difference(encoded(smooth(48, 40), form), (24, 20, 1))).max() <= 2
    assert np.abs(difference(encoded(smooth(48, 40, 1), form))).max() <= 1


def test_transparency_is_laid_on_white() -> None:
    rgba = np.dstack([smooth(48, 40), np.linspace(0, 255, 48 * 40).reshape(48, 40).astype(np.uint8)])
    assert np.abs(difference(encoded(rgba, "PNG"))).max() <= 2


@pytest.mark.parametrize("bands", [1, 3, 4])
def test_sixteen_bits_with_and_without_a_window(bands: int) -> None:
    stored = np.random.default_rng(0).integers(0, 5000, (24, 20, bands), np.uint16).squeeze()
    data = imagecodecs.png_encode(stored)
    for rendering in (WHOLE_RANGE, Rendering(window=(500, 4095))):
        assert np.abs(difference(data, rendering=rendering)).max() <= 1
    with pytest.raises(tf.errors.InvalidArgumentError, match="window of percentiles"):
        served(data, rendering=Rendering(window="percentile"))
    with pytest.raises(tf.errors.InvalidArgumentError, match="chosen bands"):
        served(data, rendering=Rendering(bands=(1,)))


def test_what_is_not_whole_is_refused() -> None:
    jpeg, png = (encoded(smooth(48, 40), form) for form in ("JPEG", "PNG"))
    for data in (
        b"",
        b"\xff\xd8",
        jpeg[:100],
        jpeg[:-2],
        png[:-4],
        png[:30],
        png[:10],
        b"BM",
        b"BM" + bytes(60),
        encoded(smooth(48, 40), "BMP")[:-1],
        b"text",
    ):
        with pytest.raises(tf.errors.InvalidArgumentError):
            served(data)


def parts(png: bytes) -> dict[str, int]:
    """Where the checksum of each part of a PNG stands."""
    found, position = {}, 8
    while position < len(png):
        length, kind = struct.unpack_from(">I4s", png, position)
        found[kind.decode()] = position + 8 + length
        position += 12 + length
    return found


@pytest.mark.parametrize("bits", [8, 16])
def test_a_damaged_part_of_a_png_is_passed_over_if_the_picture_needs_it_not(bits: int) -> None:
    clear = {"transparency": (90, 100, 110)} if bits == 8 else {}
    data = encoded(smooth(48, 40), "PNG", exif=exif("<", 6), dpi=(72, 72), **clear)
    if bits == 16:
        deep = imagecodecs.png_encode(smooth(48, 40).astype(np.uint16) * 257)
        data = deep[:33] + data[33 : parts(data)["eXIf"] + 4] + deep[33:]
    plain = encoded(smooth(48, 40), "PNG")
    places = parts(data)
    for kind in places.keys() & {"eXIf", "tRNS", "pHYs"}:
        data = data[: places[kind]] + bytes(4) + data[places[kind] + 4 :]
    assert places.keys() >= {"eXIf", "pHYs"}
    # As if none of them were there: neither turned nor transparent, in every reader.
    np.testing.assert_array_equal(decode(data, "rgb", None, LIMIT), decode(plain, "rgb", None, LIMIT))
    assert np.abs(difference(data)).max() <= 1
    for kind in ("IHDR", "IDAT", "IEND"):
        broken = data[: places[kind]] + bytes(4) + data[places[kind] + 4 :]
        with pytest.raises(UnusableImage, match="a checksum of the PNG is wrong"):
            decode(broken, "rgb", None, LIMIT)
        with pytest.raises(tf.errors.InvalidArgumentError, match="a truncated or broken PNG"):
            served(broken)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP"])
def test_sizes_are_looked_at_before_pixels(form: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="too small: each side needs 8 pixels"):
        served(encoded(smooth(7, 40), form))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"too large: data\.max_pixels of the training is 1,000"):
        serving_decode(tf.constant(encoded(smooth(48, 40), form)), SHAPE, 1000)


def exif(order: str, orientation: int, *, before: int = 0) -> bytes:
    """An EXIF block with other entries before the orientation."""
    mark = b"II" if order == "<" else b"MM"
    entries = b"".join(struct.pack(order + "HHII", 0x010E + number, 3, 1, 6) for number in range(before))
    entries += struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    return mark + struct.pack(order + "HIH", 42, 8, before + 1) + entries + bytes(4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_the_orientation_is_found_wherever_it_stands(order: str, before: int, form: str) -> None:
    def file(orientation: int) -> bytes:
        return encoded(smooth(48, 40), form, exif=b"Exif\0\0" + exif(order, orientation, before=before))

    assert np.abs(difference(file(1))).max() <= 3
    for orientation in (2, 6):
        with pytest.raises(tf.errors.InvalidArgumentError, match="EXIF orientation"):
            served(file(orientation))


def test_real_patches(pcam: Path) -> None:
    paths = sorted((pcam / "test").rglob("*.jpg"))[:8]
    assert paths
    for path in paths:
        assert np.abs(difference(path.read_bytes(), (96, 96, 3))).max() <= 2
        assert np.abs(difference(path.read_bytes(), (48, 48, 3))).max() <= 2
