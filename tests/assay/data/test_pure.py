"""Decoding is a pure function: of every accepted format the same pixels each time, in every process and thread."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from assay.config import DataConfig
from assay.data.headers import READ_FORMATS, read_header
from assay.data.images import Rendering, decode_native
from assay.data.ingest import ingest
from assay.data.preprocess import preprocess

SHAPE = (40, 56)
WINDOW = Rendering(window=(0, 3000))


def colour() -> np.ndarray:
    coarse = np.random.default_rng(7).integers(0, 256, (10, 14, 3), np.uint8)
    return cv2.resize(coarse, SHAPE[::-1], interpolation=cv2.INTER_CUBIC)


def of_pillow(form: str, mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(colour())
    (image.quantize(32) if mode == "P" else image.convert(mode)).save(file, form, **options)
    return file.getvalue()


def of_tifffile(array: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, **{"metadata": None, **options})
    return file.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def examples() -> dict[str, bytes]:
    """A file of every format that is read, in its usual and its less usual kinds."""
    rgb = colour()
    deep = rgb.astype(np.uint16) * 257
    planes = np.moveaxis(deep, -1, 0)
    grey = deep[..., 0].copy()
    opaque = np.dstack([deep, deep[..., 0]])
    signed = grey.astype(np.int32) - 32768
    files = {
        **{f"JPEG {mode}": of_pillow("JPEG", mode, quality=90) for mode in ("RGB", "L", "CMYK")},
        "JPEG progressive": of_pillow("JPEG", progressive=True),
        "JPEG turned": of_pillow("JPEG", exif=turned(6)),
        "MPO": of_pillow("MPO", save_all=True, append_images=[Image.fromarray(rgb[::-1].copy())]),
        **{f"PNG {mode}": of_pillow("PNG", mode) for mode in ("RGB", "RGBA", "L", "LA", "P", "1")},
        "PNG of 4 bits": _png_of_bits(4),
        "PNG turned": of_pillow("PNG", exif=turned(5)),
        "PNG animated": of_pillow("PNG", save_all=True, append_images=[Image.fromarray(rgb[::-1].copy())]),
        **{f"PNG of 16 bits, {a.ndim}d {a.shape[-1]}": imagecodecs.png_encode(a) for a in (grey, deep, opaque)},
        **{f"BMP {mode}": of_pillow("BMP", mode) for mode in ("RGB", "L", "P", "1", "RGBA")},
        "DIB": of_pillow("DIB"),
        "GIF": of_pillow("GIF", "P"),
        "GIF transparent": of_pillow("GIF", "P", transparency=3),
        "GIF animated": of_pillow("GIF", "P", save_all=True, append_images=[Image.fromarray(rgb[::-1].copy())]),
        "WEBP": of_pillow("WEBP", lossless=True),
        "WEBP lossy": of_pillow("WEBP", "RGBA", quality=70),
        "AVIF": of_pillow("AVIF"),
        "TGA": of_pillow("TGA", "RGBA"),
        "PCX": of_pillow("PCX"),
        "JPEG2000": of_pillow("JPEG2000"),
        "JPEG2000 of 12 bits": imagecodecs.jpeg2k_encode(grey >> 4, level=0, bitspersample=12),
        "PPM": of_pillow("PPM"),
        "PPM of 16 bits": b"P5\n56 40\n4095\n" + (grey >> 4).astype(">u2").tobytes(),
        **{f"TIFF {mode}": of_pillow("TIFF", mode) for mode in ("RGB", "L", "P", "1", "CMYK", "LAB", "YCbCr", "RGBA")},
        "TIFF fax": of_pillow("TIFF", "1", compression="group4"),
        "TIFF JPEG": of_pillow("TIFF", compression="jpeg"),
        "TIFF turned": of_pillow("TIFF", exif=turned(7)),
        "TIFF of floats": of_tifffile(grey.astype(np.float32)),
        "TIFF signed": of_tifffile(signed.astype(np.int16), photometric="minisblack"),
    }
    for order in "<>":
        for compression in (None, "lzw", "zlib"):
            kind = {"byteorder": order, "compression": compression}
            name = f"TIFF {order} {compression}"
            files |= {
                f"{name} planes": of_tifffile(planes, photometric="rgb", planarconfig="separate", **kind),
                f"{name} white is zero": of_tifffile(grey, photometric="miniswhite", **kind),
                f"{name} five bands": of_tifffile(
                    np.dstack([deep, deep[..., :2]]), photometric="rgb", extrasamples=["unspecified"] * 2, **kind
                ),
                f"{name} tiles": of_tifffile(deep, photometric="rgb", tile=(16, 16), **kind),
            }
    return files


def _png_of_bits(bits: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(colour()).quantize(2**bits).save(file, "PNG", bits=bits)
    return file.getvalue()


EXAMPLES = examples()


def digest(name: str) -> str:
    return hashlib.sha256(decode_native(EXAMPLES[name], 10**6, WINDOW)[0].tobytes()).hexdigest()


def test_every_format_that_is_read_has_an_example() -> None:
    assert {read_header(data).format for data in EXAMPLES.values()} | {"DIB", "MPO"} == set(READ_FORMATS)


def test_the_same_pixels_twice_whatever_the_memory_held() -> None:
    first = {name: digest(name) for name in EXAMPLES}
    for fill in (0, 255, 77):
        held = [np.full((64, 64, 3), fill, np.uint8) for _ in range(20)]
        del held
        assert {name: digest(name) for name in EXAMPLES} == first


@pytest.mark.parametrize("threads", [1, 3])
def test_the_same_pixels_in_another_process_and_in_threads(threads: int, tmp_path: Path) -> None:
    for number, data in enumerate(EXAMPLES.values()):
        (tmp_path / f"{number:03d}").write_bytes(data)
    code = """
import hashlib, json, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from assay.data.images import Rendering, decode_native
def digest(file):
    pixels, _ = decode_native(file.read_bytes(), 10**6, Rendering(window=(0, 3000)))
    return hashlib.sha256(pixels.tobytes()).hexdigest()
with ThreadPoolExecutor(int(sys.argv[2])) as pool:
    print(json.dumps(list(pool.map(digest, sorted(Path(sys.argv[1]).iterdir())))))
"""
    command = [sys.executable, "-c", code, str(tmp_path), str(threads)]
    other = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    with ThreadPoolExecutor(threads) as pool:
        here = list(pool.map(digest, EXAMPLES))
    assert dict(zip(EXAMPLES, other, strict=True)) == dict(zip(EXAMPLES, here, strict=True))


def test_a_dataset_of_every_format_is_the_same_with_any_number_of_workers(tmp_path: Path) -> None:
    for label, change in {"a": lambda data: data, "b": _longer}.items():
        (tmp_path / "images" / label).mkdir(parents=True)
        for number, data in enumerate(EXAMPLES.values()):
            (tmp_path / "images" / label / f"{number:03d}").write_bytes(change(data))
    data = DataConfig(
        source=str(tmp_path / "images"),
        window=(0, 3000),
        near_duplicates=False,
        image_size=(20, 28),
        max_bad_fraction=0.3,
    )
    snapshot = ingest(data, str(tmp_path / "store"), tmp_path / "work").snapshot_dir
    written = []
    for workers in (1, 3):
        root = preprocess(data, snapshot, tmp_path / str(workers), seed=0, workers=workers).dataset.root
        written.append({file.relative_to(root): file.read_bytes() for file in sorted(root.rglob("*.npy"))})
    assert written[0] == written[1]


def _longer(data: bytes) -> bytes:
    """The same picture as another file."""
    return data + b"\0"
