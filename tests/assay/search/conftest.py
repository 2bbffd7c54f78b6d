"""A data set that a tiny network learns in seconds, and a search over tiny networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from assay.config import RuntimeConfig, SearchConfig
from assay.data.dataset import Dataset
from assay.data.shards import write_dataset


def spotted(count: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise images, uint8, in which a spot's brightness tells the class, not too plainly."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(count) % 2).astype(np.int64)
    images = random.normal(110, 40, (count, size, size, 3))
    middle = slice(size // 2 - 3, size // 2 + 3)
    images[:, middle, middle] += 15 * labels[:, None, None, None]
    return images.clip(0, 255).astype(np.uint8), labels


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """160 training and 80 validation images of 16x16x3, two classes."""
    counts = {"train": 160, "valid": 80, "test": 8}
    splits = {name: (*spotted(count, 16, seed), None) for seed, (name, count) in enumerate(counts.items())}
    return write_dataset(tmp_path_factory.mktemp("spots") / "dataset", splits, ["dark", "bright"])


@pytest.fixture
def small_search() -> SearchConfig:
    """Three trials of three epochs over networks of a few hundred weights."""
    return SearchConfig.model_validate(
        {
            "tuner": "random",
            "trials": 3,
            "epochs": 3,
            "space": {"width": [4, 8], "depth": [1, 2], "kernel": [3], "dense": [0, 8], "batch_size": [40]},
        }
    )


@pytest.fixture
def exact() -> RuntimeConfig:
    """Float32 and deterministic operations, for tests of equality."""
    return RuntimeConfig(precision="float32", deterministic=True, workers=1)


def files_of(folder: Path) -> set[str]:
    """Return the names of what lies in a folder."""
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()
