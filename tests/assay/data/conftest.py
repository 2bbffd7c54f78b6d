"""Small real image files for the tests of sources and ingestion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Draw = Callable[..., Path]


def blotches(seed: int, side: int = 24) -> Image.Image:
    """A colour picture of soft blotches, another for every seed."""
    coarse = np.random.default_rng([seed, 99]).integers(0, 256, (5, 5, 3), np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


@pytest.fixture
def draw() -> Draw:
    """Write an image file and return its path: ``draw(path, seed, side=24, **save_options)``."""

    def write(path: Path, seed: int, side: int = 24, **options: object) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        blotches(seed, side).save(path, **options)
        return path

    return write


@pytest.fixture
def class_folders(tmp_path: Path, draw: Draw) -> Path:
    """``source/{benign,malignant}``, ten PNG files each."""
    root = tmp_path / "source"
    for number, name in enumerate(("benign", "malignant")):
        for index in range(10):
            draw(root / name / f"{index:02d}.png", 100 * number + index)
    return root
