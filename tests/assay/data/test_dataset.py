"""A dataset: shards behind one array, splits, dataset.json."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.data.dataset import Dataset, ShardedArray
from assay.data.shards import write_dataset, write_description
from assay.errors import InputError


def arrays(rows: int, shape: tuple[int, ...] = (8, 6, 3), seed: int = 0) -> tuple[np.ndarray, np.ndarray, None]:
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (rows, *shape), np.uint8), np.arange(rows) % 2, None


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    splits = {"train": arrays(25), "valid": arrays(7, seed=1), "test": arrays(5, seed=2)}
    return write_dataset(tmp_path / "dataset", splits, ["normal", "tumor"], shard_bytes=4 * 8 * 6 * 3)


def test_rows_come_back_as_written(dataset: Dataset) -> None:
    inputs, labels, _ = arrays(25)
    assert dataset.train.inputs.shape == (25, 8, 6, 3)
    assert len(dataset.train.inputs.files) == 7
    np.testing.assert_array_equal(np.asarray(dataset.train.inputs), inputs)
    np.testing.assert_array_equal(dataset.train.labels, labels)
    assert dataset.train.labels.dtype == np.int64
    assert list(dataset.train.records["label"][:2]) == ["normal", "tumor"]
    np.testing.assert_array_equal(np.asarray(dataset.open_test().inputs), arrays(5, seed=2)[0])


def test_the_description_says_what_was_written(dataset: Dataset) -> None:
    inputs = arrays(25)[0].astype(np.float64)
    assert (dataset.kind, dataset.input_shape, dataset.color_mode) == ("image", (8, 6, 3), "rgb")
    assert dataset.counts["train"] == {"normal": 13, "tumor": 12}
    assert dataset.positive_index == 1
    np.testing.assert_allclose(dataset.mean, inputs.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(dataset.std, inputs.std((0, 1, 2)), rtol=1e-12)


@given(st.data())
@settings(deadline=None, max_examples=50)
def test_gathering_rows_equals_numpy(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    folder = tmp_path_factory.mktemp("shards")
    whole = np.arange(sum(sizes) * 6, dtype=np.uint8).reshape(-1, 3, 2)
    files = []
    for number, end in enumerate(np.cumsum(sizes)):
        files.append(folder / f"{number}.npy")
        np.save(files[-1], whole[end - sizes[number] : end])
    array = ShardedArray(files)
    rows = len(whole)
    indices = data.draw(st.lists(st.integers(-rows, rows - 1), max_size=12))
    np.testing.assert_array_equal(array[np.array(indices, int)], whole[np.array(indices, int)])
    window = data.draw(st.slices(rows))
    np.testing.assert_array_equal(array[window], whole[window])
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows)))
    np.testing.assert_array_equal(array[mask], whole[mask])
    np.testing.assert_array_equal(array[rows - 1], whole[-1])
    np.testing.assert_array_equal(np.stack(list(array)), whole)
    size = data.draw(st.integers(1, 5))
    np.testing.assert_array_equal(np.concatenate(list(array.batches(size))), whole)


def test_rows_are_gathered_into_a_given_array(dataset: Dataset) -> None:
    out = np.zeros((3, 8, 6, 3), np.uint8)
    assert dataset.train.inputs.take(np.array([20, 1, 9]), out=out) is out
    np.testing.assert_array_equal(out, arrays(25)[0][[20, 1, 9]])


def test_an_index_outside_is_an_error(dataset: Dataset) -> None:
    for index in (25, [0, -26]):
        with pytest.raises(IndexError, match="0 to 24"):
            dataset.train.inputs[index]
    with pytest.raises(IndexError, match="25 values"):
        dataset.train.inputs[np.array([True])]


def test_a_sharded_array_travels_as_paths(dataset: Dataset) -> None:
    sent = pickle.dumps(dataset.train.inputs)
    assert len(sent) < 2000
    np.testing.assert_array_equal(np.asarray(pickle.loads(sent)), np.asarray(dataset.train.inputs))


def test_a_missing_dataset_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no dataset here.*Run preprocess first"):
        Dataset.open(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 99}'])
def test_an_unreadable_description_is_one_line(dataset: Dataset, text: str) -> None:
    (dataset.root / "dataset.json").write_text(text)
    with pytest.raises(InputError, match="preprocess again") as error:
        Dataset.open(dataset.root)
    assert "\n" not in str(error.value)


def test_damaged_shards_are_named(dataset: Dataset) -> None:
    first = dataset.root / "train" / "images-00000.npy"
    first.write_bytes(first.read_bytes()[:-1])
    with pytest.raises(InputError, match="images-00000"):
        _ = Dataset.open(dataset.root).train
    first.unlink()
    with pytest.raises(InputError, match="images-00000"):
        _ = Dataset.open(dataset.root).train


@pytest.mark.parametrize("part", ["images", "labels", "records"])
def test_one_flipped_bit_anywhere_is_found_and_named(dataset: Dataset, part: str) -> None:
    (file,) = (dataset.root / "valid").glob(f"{part}-00001.*")
    content = file.read_bytes()
    for position in (0, len(content) // 2, len(content) - 1):
        changed = bytearray(content)
        changed[position] ^= 4
        file.write_bytes(changed)
        with pytest.raises(InputError, match=rf"{part}-00001.*its content has changed.*--force preprocess") as error:
            _ = Dataset.open(dataset.root).valid
        assert "\n" not in str(error.value)
        _ = Dataset.open(dataset.root).train
    file.write_bytes(content)
    _ = Dataset.open(dataset.root).valid


def test_a_changed_description_is_found(dataset: Dataset) -> None:
    file = dataset.root / "dataset.json"
    text = file.read_text()
    file.write_text(text.replace('"positive_index": 1', '"positive_index": 0'))
    with pytest.raises(InputError, match=r"dataset\.json: has changed since preprocess wrote it"):
        Dataset.open(dataset.root)


def test_a_shard_of_other_rows_is_refused(dataset: Dataset) -> None:
    np.save(dataset.root / "valid" / "images-00001.npy", np.zeros((3, 8, 7, 3), np.uint8))
    with pytest.raises(InputError, match="images-00001"):
        _ = dataset.valid
    description = json.loads((dataset.root / "dataset.json").read_text())
    description["splits"]["train"]["shards"].pop()
    write_description(dataset.root, {**description, "input_shape": [8, 6, 1]})
    with pytest.raises(InputError, match=r"says \(24, 8, 6, 1\)"):
        _ = Dataset.open(dataset.root).train
