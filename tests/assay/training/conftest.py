"""Small data sets for training: one that a tiny network learns in seconds, and a few real patches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from assay.config import RuntimeConfig
from assay.data.dataset import Dataset
from assay.data.shards import write_dataset


def spotted(count: int, size: int, seed: int, classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Noise images, uint8, in which a spot's brightness tells the class."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(count) % classes).astype(np.int64)
    images = random.normal(110, 25, (count, size, size, 3))
    middle = slice(size // 2 - 4, size // 2 + 4)
    images[:, middle, middle] += 35 * labels[:, None, None, None]
    return images.clip(0, 255).astype(np.uint8), labels


def write_spotted(folder: Path, train: int, valid: int, size: int, classes: int = 2) -> Dataset:
    counts = {"train": train, "valid": valid, "test": 8}
    splits = {name: (*spotted(count, size, seed, classes), None) for seed, (name, count) in enumerate(counts.items())}
    return write_dataset(folder, splits, [f"class{index}" for index in range(classes)])


@pytest.fixture(scope="session")
def spots(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """200 training and 80 validation images of 32x32x3, two classes."""
    return write_spotted(tmp_path_factory.mktemp("spots") / "dataset", 200, 80, 32)


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """80 training and 40 validation images of 32x32x3, two classes, for large networks."""
    return write_spotted(tmp_path_factory.mktemp("few") / "dataset", 80, 40, 32)


@pytest.fixture
def exact() -> RuntimeConfig:
    """Float32 and deterministic operations, for tests of equality."""
    return RuntimeConfig(precision="float32", deterministic=True, workers=2)
