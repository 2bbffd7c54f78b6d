"""Images to measure with: generated tissue, as PNG files in class folders and as a dataset of shards."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from assay.data.dataset import Dataset
from assay.data.shards import write_dataset
from assay.data.sources.demo.tissue import Tissue

CLASSES = Tissue.classes


@cache
def tissue(count: int, size: int = 96, difficulty: float = 0.5) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return generated patches, uint8 (N, size, size, 3), and their classes, int64 (N,)."""
    generator = Tissue(images=count, size=size, slides=40, difficulty=difficulty, seed=0)
    images = np.stack([generator.example(number) for number in range(count)])
    return images, np.array([generator.label(number) for number in range(count)], dtype=np.int64)


def png_folder(folder: Path, count: int, size: int = 96) -> Path:
    """Write patches as ``<class>/<number>.png``, once, and return the folder."""
    root = folder / f"png-{count}-{size}"
    if not root.exists():
        for name in CLASSES:
            (root / name).mkdir(parents=True)
        for number, (image, label) in enumerate(zip(*tissue(count, size), strict=True)):
            cv2.imwrite(str(root / CLASSES[label] / f"{number:06d}.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return root


def dataset(folder: Path, train: int, valid: int, size: int = 96, difficulty: float = 0.5) -> Dataset:
    """Write patches as a dataset of shards, once, and return it."""
    root = folder / f"dataset-{train}-{valid}-{size}-{difficulty}"
    if root.exists():
        return Dataset.open(root)
    images, labels = tissue(train + valid, size, difficulty)
    rest = (images[train:], labels[train:], None)
    return write_dataset(root, {"train": (images[:train], labels[:train], None), "valid": rest, "test": rest}, CLASSES)
