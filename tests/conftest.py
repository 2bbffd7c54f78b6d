"""What every test shares: where the real images and weights are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# One thread a library: the suite runs in several processes on few cores.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real images and weights: ``../shared``, or ``ASSAY_SHARED``."""
    folder = Path(os.environ.get("ASSAY_SHARED", REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: it holds the real images and weights (set ASSAY_SHARED)")
    return folder


@pytest.fixture(scope="session")
def pcam(shared: Path) -> Path:
    """6,000 PatchCamelyon patches as train/valid/test folders and labels.csv."""
    folder = shared / "data" / "pcam"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    return folder


@pytest.fixture(scope="session")
def vgg16_weights(shared: Path) -> Path:
    """The ImageNet weights of VGG16's convolutions."""
    file = shared / "weights" / "vgg16_notop.weights.h5"
    if not file.is_file():
        pytest.skip(f"{file} is absent")
    return file
