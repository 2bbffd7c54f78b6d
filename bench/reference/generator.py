"""The notes' input: `ImageDataGenerator` with `flow_from_directory`, its ranges as in the notes."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

from keras.src.legacy.preprocessing.image import ImageDataGenerator

from assay.config import Policy

RANGES = {
    "rotation_range": 20,
    "width_shift_range": 0.1,
    "height_shift_range": 0.1,
    "shear_range": 0.1,
    "zoom_range": 0.1,
    "horizontal_flip": True,
    "vertical_flip": True,
    "fill_mode": "nearest",
}
POLICY = Policy.model_validate(RANGES)
BATCH = 32


def generator(*, augment: bool, rescale: float | None = 1 / 255) -> ImageDataGenerator:
    """Return the generator of the notes, with or without its random changes."""
    return ImageDataGenerator(rescale=rescale, **(RANGES if augment else {}))


def flow(folder: Path, side: int, *, augment: bool) -> Any:
    """Return its endless batches over class folders of image files."""
    with contextlib.redirect_stdout(io.StringIO()):  # it prints how many files it found
        return generator(augment=augment).flow_from_directory(
            str(folder), target_size=(side, side), batch_size=BATCH, class_mode="sparse", seed=0
        )
