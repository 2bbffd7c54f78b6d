"""Models of folds in storage: each has its address, all are fetched in order, and what is missing is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from assay.errors import InputError
from assay.models.info import read_info
from assay.storage.objects import ObjectStore
from assay.training.fold_models import fetch_fold_models, keep_fold_model


def kept(store: ObjectStore, artifacts: list[Path], scratch: Path, candidate: str = "baseline") -> list[str]:
    addresses = []
    for number, artifact in enumerate(artifacts):
        shutil.copytree(artifact, scratch / f"{candidate}{number}")
        addresses.append(keep_fold_model(store, scratch / f"{candidate}{number}", "data", candidate, number))
    return addresses


def test_models_come_back_in_the_order_of_their_folds(store: ObjectStore, artifacts, tmp_path: Path) -> None:
    addresses = kept(store, artifacts, tmp_path)
    assert len(set(addresses)) == 3
    found = fetch_fold_models(addresses[::-1], "data", "baseline", 3, tmp_path / "fetched")
    assert [read_info(folder).threshold for folder in found] == [read_info(folder).threshold for folder in artifacts]


def test_what_is_missing_or_of_another_run_is_one_line_that_names_it(artifacts, tmp_path: Path) -> None:
    from assay.storage.open import open_store

    store = open_store(str(tmp_path / "store"))
    addresses = kept(store, artifacts, tmp_path)
    with pytest.raises(InputError, match=r"baseline: 2 of 3 folds have a model \(none: 2\).*--force baseline"):
        fetch_fold_models([addresses[0], addresses[2]], "data", "baseline", 3, tmp_path / "two")
    with pytest.raises(InputError, match="no model of search for this dataset's folds"):
        fetch_fold_models(addresses, "data", "search", 3, tmp_path / "search")
    with pytest.raises(InputError, match="no model of baseline for this dataset's folds"):
        fetch_fold_models(addresses, "other", "baseline", 3, tmp_path / "other")
    for name in store.list("folds"):
        store.delete(name)
    with pytest.raises(InputError, match=r"is gone from storage\. Train it again"):
        fetch_fold_models(addresses, "data", "baseline", 3, tmp_path / "gone")
