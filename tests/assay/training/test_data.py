"""How missing values are filled in use follows from how they were filled in training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from assay.data.dataset import Dataset
from assay.data.shards import write_dataset
from assay.training.data import filling_policy


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    split = np.zeros((4, 8, 2), np.float32), np.arange(4) % 2, None
    folder = tmp_path_factory.mktemp("windows") / "dataset"
    return write_dataset(folder, dict.fromkeys(("train", "valid", "test"), split), ["a", "b"])


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        (None, "error"),
        ({"policy": "error", "simulate": 0.0}, "error"),
        ({"policy": "error", "simulate": 0.1}, "mean"),
        ({"policy": "mean", "simulate": 0.0}, "mean"),
        ({"policy": "interpolate", "simulate": 0.1}, "interpolate"),
    ],
)
def test_the_filling_in_use_is_that_of_training(windows: Dataset, missing: Any, expected: str) -> None:
    described = replace(windows, description={**windows.description, "missing": missing})
    assert filling_policy(described) == expected
