"""Decoding is a pure function: of every accepted format the same pixels each time, in every process and thread."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from assay.config import DataConfig
from assay.data.headers import READ_FORMATS, read_header
from assay.data.images import Rendering, decode_native
from assay.data.ingest import ingest
from assay.data.preprocess import preprocess
from tests.formats import EXAMPLES

WINDOW = Rendering(window=(0, 3000))


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
