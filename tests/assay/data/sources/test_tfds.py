"""TensorFlow Datasets as a source, tried on a data set made here; runs where the optional package is installed."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from assay.config import DataConfig
from assay.data.images import decode
from assay.data.sources import open_source
from assay.errors import InputError

BUILDER = '''
import numpy as np
import tensorflow_datasets as tfds


class AssayCells(tfds.core.GeneratorBasedBuilder):
    """Noise under two labels."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        image = tfds.features.Image(shape=(16, 16, 3))
        label = tfds.features.ClassLabel(names=["normal", "tumour"])
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict({"image": image, "label": label}))

    def _split_generators(self, download):
        return {"train": self._generate_examples(20, 0), "test": self._generate_examples(8, 1)}

    def _generate_examples(self, count, seed):
        random = np.random.default_rng(seed)
        for number in range(count):
            yield number, {"image": random.integers(0, 256, (16, 16, 3), dtype=np.uint8), "label": number % 2}
'''


@pytest.fixture
def data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    pytest.importorskip("tensorflow_datasets")
    package = tmp_path / "code" / "assay_cells"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "assay_cells_dataset_builder.py").write_text(BUILDER)
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    importlib.import_module("assay_cells.assay_cells_dataset_builder")
    return f"tfds://assay_cells?data_dir={tmp_path / 'prepared'}"


def test_its_splits_and_labels_are_taken(data_set: str) -> None:
    source = open_source(data_set, DataConfig())
    entries = source.listing().entries
    counts = {key: sum((e.split, e.label) == key for e in entries) for key in {(e.split, e.label) for e in entries}}
    assert counts == {("train", "normal"): 10, ("train", "tumour"): 10, ("test", "normal"): 4, ("test", "tumour"): 4}
    assert decode(source.read(entries[0]), "rgb", None, 1_000_000).shape == (16, 16, 3)
    assert open_source(data_set, DataConfig()).read(entries[5]) == source.read(entries[5])


def test_an_unknown_name_has_a_suggestion(data_set: str) -> None:
    with pytest.raises(InputError, match=r"no such data set\. Did you mean 'assay_cells'"):
        open_source("tfds://assay_cell", DataConfig()).listing()
