"""Stores to test on: a directory, and a bucket of a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from assay.models.artifact import copy_model, save_model, update_info
from assay.models.info import ModelInfo
from assay.storage.objects import ObjectStore
from assay.storage.open import open_store
from bench.faults.proxy import FaultProxy


@pytest.fixture(params=["local", "gcs"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The root of an empty store of each kind."""
    return str(tmp_path / "store") if request.param == "local" else request.getfixturevalue("gcs_root")


@pytest.fixture
def store(root: str) -> ObjectStore:
    """An empty store of each kind."""
    return open_store(root)


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three models that differ."""
    import keras

    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(inputs)))
    first, *others = (tmp_path_factory.mktemp("model") / "model" for _ in range(3))
    save_model(model, first, ModelInfo(name="tiny", classes=("a", "b"), input_shape=(8, 8, 3)))
    for index, folder in enumerate(others):
        copy_model(first, folder)
        update_info(folder, threshold=0.1 * (index + 1))
    return [first, *others]


@pytest.fixture
def faults(gcs_server: str, gcs_root: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """Faults between the client and the storage server, put there by a proxy; the first waits are short."""
    with FaultProxy(gcs_server) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        monkeypatch.setattr("assay.storage.gcs.FIRST_WAIT_SECONDS", 0.02)
        yield proxy
