"""What a SavedModel sees of a file is what training saw, pixel by pixel."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from assay.data.images import decode
from assay.models.serving import decode as serving_decode

SHAPE = (24, 20, 3)


def smooth(height: int, width: int, channels: int = 3) -> np.ndarray:
    coarse = np.random.default_rng(height * width).integers(0, 256, (6, 5, channels), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, channels)


def encoded(pixels: np.ndarray, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(buffer, form, **options)
    return buffer.getvalue()


def difference(data: bytes, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    expected = decode(data, "rgb" if shape[2] == 3 else "grayscale", shape[:2], 10**7)
    return serving_decode(tf.constant(data), shape).numpy().astype(int) - expected


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


def test_palettes_and_sixteen_bits() -> None:
    palette = io.BytesIO()
    Image.fromarray(smooth(48, 40)).quantize(32).save(palette, "PNG")
    assert np.abs(difference(palette.getvalue())).max() <= 1
    deep = cv2.imencode(".png", smooth(48, 40).astype(np.uint16) * 257)[1].tobytes()
    assert np.abs(difference(deep)).max() <= 1


def test_real_patches(pcam: Path) -> None:
    paths = sorted((pcam / "test").rglob("*.jpg"))[:8]
    assert paths
    for path in paths:
        assert np.abs(difference(path.read_bytes(), (96, 96, 3))).max() <= 2
        assert np.abs(difference(path.read_bytes(), (48, 48, 3))).max() <= 2
