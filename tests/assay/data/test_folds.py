"""Folds: whole groups, every class in each, each row tested once; a fold's own data hold nothing of what it tests."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.config import DataConfig
from assay.data.dataset import Dataset
from assay.data.folds import assign_folds, fold_rows, write_fold
from assay.data.ingest import ingest
from assay.data.preprocess import merge_shards, preprocess, preprocess_shard
from assay.data.shards import write_dataset
from assay.data.splitting import FOLD
from assay.errors import InputError

SOURCE = "demo://tissue?images=90&size=16&slides=18&difficulty=0&seed=3"


def table_of(rows: list[tuple[int, int]]) -> pd.DataFrame:
    """A table of (group, label) rows."""
    return pd.DataFrame({"group": [f"g{group}" for group, _ in rows], "label": [f"c{label}" for _, label in rows]})


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2)), min_size=30, max_size=120),
    st.integers(2, 5),
    st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_groups_stay_whole_and_every_class_is_in_every_fold(rows, count: int, seed: int) -> None:
    table = table_of(rows)
    try:
        folds = assign_folds(table, count, seed)
    except InputError:
        # Three folds and more can always be made where each class has as many groups that hold no other class.
        pure = table[table.groupby("group")["label"].transform("nunique") == 1]
        alone = [pure[pure["label"] == label]["group"].nunique() for label in set(table["label"])]
        assert count == 2 or min(alone) < count
        return
    assert set(folds) == set(range(count))
    assert (table.assign(fold=folds).groupby("group")["fold"].nunique() == 1).all()
    for label in set(table["label"]):
        assert set(folds[table["label"] == label]) == set(range(count))
    assert np.array_equal(folds, assign_folds(table, count, seed))


def test_folds_of_single_images_are_stratified_and_of_one_size() -> None:
    folds = assign_folds(table_of([(row, row % 4 == 0) for row in range(100)]), 5, 0)
    assert Counter(folds.tolist()) == dict.fromkeys(range(5), 20)
    assert Counter(folds[::4].tolist()) == dict.fromkeys(range(5), 5)


def test_too_few_groups_are_one_line_that_names_the_class() -> None:
    rows = [(row, 0) for row in range(20)] + [(100 + row % 3, 1) for row in range(20)]
    with pytest.raises(InputError, match=r"class 'c1' has 20 images from 3 groups, but fold 1, .* and fold 5 need 5"):
        assign_folds(table_of(rows), 5, 0)
    with pytest.raises(InputError, match="training and validation need 2"):
        assign_folds(table_of([(row, 0) for row in range(20)] + [(98, 1), (99, 1)]), 2, 0)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Dataset, str]:
    """A dataset of 90 images from 18 slides with three folds, and the snapshot it is of."""
    folder = tmp_path_factory.mktemp("folds")
    snapshot = ingest(DataConfig(source=SOURCE), str(folder / "store"), folder / "snapshot").snapshot_uri
    return preprocess(DataConfig(source=SOURCE), snapshot, folder / "dataset", 0, folds=3).dataset, snapshot


def test_each_image_is_tested_once_and_no_group_is_on_two_sides(made) -> None:
    dataset, _ = made
    everything = dataset.open_all()
    assert dataset.folds == 3
    assert len(everything) == len(dataset.open_test()) == 90
    tested = np.concatenate([fold_rows(dataset, number).test for number in range(3)])
    assert sorted(tested.tolist()) == list(range(90))
    for number in range(3):
        rows = fold_rows(dataset, number)
        groups = everything.records["group"]
        parts = {name: set(groups.iloc[getattr(rows, name)]) for name in ("train", "valid", "test")}
        assert sorted([*rows.train, *rows.valid, *rows.test]) == list(range(90))
        assert len(set.union(*parts.values())) == sum(map(len, parts.values()))
        assert all(len(set(everything.labels[getattr(rows, name)])) == 2 for name in ("train", "valid"))


def test_a_folds_data_hold_its_rows_and_nothing_that_it_tests(made, tmp_path: Path) -> None:
    dataset, _ = made
    everything, rows = dataset.open_all(), fold_rows(dataset, 1)
    fold = write_fold(dataset, 1, tmp_path / "fold")
    assert np.array_equal(fold.train.inputs[:], everything.inputs[rows.train])
    assert np.array_equal(fold.valid.labels, everything.labels[rows.valid])
    assert fold.train.records["id"].tolist() == everything.records["id"].iloc[rows.train].tolist()
    assert sum(fold.counts["test"].values()) == 0
    tested = set(everything.records["sha256"].iloc[rows.test])
    assert not tested & {*fold.train.records["sha256"], *fold.valid.records["sha256"]}
    assert not list((tmp_path / "fold" / "test").iterdir())
    assert fold.mean == pytest.approx(everything.inputs[rows.train].mean(axis=(0, 1, 2)))
    assert fold.fingerprint != dataset.fingerprint
    with pytest.raises(InputError, match="fold 4 of 3"):
        write_fold(dataset, 3, tmp_path / "none")


def test_what_a_fold_tests_has_no_say_in_what_it_trains_on(made, tmp_path: Path) -> None:
    dataset, _ = made
    everything, rows = dataset.open_all(), fold_rows(dataset, 0)
    images, labels = everything.inputs[:], everything.labels.copy()
    images[rows.test] = 255 - images[rows.test]
    labels[rows.test] = 1 - labels[rows.test]
    starts = np.cumsum([0, *(len(part) for part in (dataset.train, dataset.valid))])
    edges = [*starts.tolist(), len(everything)]
    splits = {
        name: (images[low:high], labels[low:high], everything.records.iloc[low:high])
        for name, low, high in zip(("train", "valid", "test"), edges[:-1], edges[1:], strict=True)
    }
    poisoned = write_dataset(tmp_path / "poisoned", splits, dataset.classes, group_column="group", folds=3)
    clean, other = write_fold(dataset, 0, tmp_path / "clean"), write_fold(poisoned, 0, tmp_path / "other")
    for name in ("train", "valid"):
        one, two = getattr(clean, name), getattr(other, name)
        assert np.array_equal(one.inputs[:], two.inputs[:])
        assert np.array_equal(one.labels, two.labels)
    assert (clean.mean, clean.std) == (other.mean, other.std)


def test_windows_of_sensors_have_folds_too(tmp_path: Path) -> None:
    windows = np.random.default_rng(0).normal(size=(60, 8, 2)).astype(np.float32)
    labels = np.arange(60) % 2
    names = [("a", "b")[label] for label in labels]
    frame = pd.DataFrame({"id": [f"{row:02d}" for row in range(60)], "label": names, "fold": np.arange(60) // 2 % 3})
    splits = {
        name: (windows[rows], labels[rows], frame[rows])
        for name, rows in (("train", slice(0, 40)), ("valid", slice(40, 50)), ("test", slice(50, 60)))
    }
    dataset = write_dataset(tmp_path / "dataset", splits, ("a", "b"), folds=3)
    fold, rows = write_fold(dataset, 2, tmp_path / "fold"), fold_rows(dataset, 2)
    assert np.array_equal(fold.train.inputs[:], windows[rows.train])
    assert fold.mean == pytest.approx(windows[rows.train].mean(axis=(0, 1)), abs=1e-5)
    assert set(frame["fold"][rows.test]) == {2}


def test_parts_make_the_same_folds_as_one_task(made, tmp_path: Path) -> None:
    dataset, snapshot = made
    config = DataConfig(source=SOURCE)
    for index in range(2):
        preprocess_shard(config, snapshot, tmp_path / f"{index}", 0, index=index, count=2, folds=3)
    merged = merge_shards([tmp_path / "0", tmp_path / "1"], tmp_path / "merged").dataset
    assert merged.fingerprint == dataset.fingerprint
    assert merged.open_all().records.equals(dataset.open_all().records)


def test_folds_are_part_of_the_fingerprint_and_none_leave_it_as_it_was(made, tmp_path: Path) -> None:
    dataset, snapshot = made
    plain = preprocess(DataConfig(source=SOURCE), snapshot, tmp_path / "plain", 0).dataset
    five = preprocess(DataConfig(source=SOURCE), snapshot, tmp_path / "five", 0, folds=5).dataset
    assert len({plain.fingerprint, dataset.fingerprint, five.fingerprint}) == 3
    assert plain.folds == 0
    assert FOLD not in plain.train.records
    assert len(plain.open_test()) < 90
    shutil.rmtree(tmp_path / "five")
