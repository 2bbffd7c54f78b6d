"""What every test shares: where the real images and weights are, and a storage server for gs://."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from assay.registry.records import RunRecord

# One thread a library: the suite runs in several processes on few cores.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

# Machines are shared: how long an example takes says nothing.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")

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


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    """The record of a tiny run on a machine whose price is known, written by the step itself."""
    from tests.recorded import recorded_run

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_PRICES", '{"here": 0.36}')
        patch.setenv("ASSAY_MACHINE", "here")
        return recorded_run(tmp_path_factory.mktemp("recorded"), "run-1")


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[str]:
    """The address of a running server that speaks the JSON API of Google Cloud Storage."""
    from bench.faults.proxy import storage_server

    with storage_server() as url:
        yield url


@pytest.fixture
def gcs_root(gcs_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """``gs://bucket/prefix`` in an empty bucket that the test has for itself."""
    from google.cloud import storage

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server)
    bucket = f"test-{uuid.uuid4().hex}"
    storage.Client(project="test").create_bucket(bucket)
    return f"gs://{bucket}/some/prefix"
