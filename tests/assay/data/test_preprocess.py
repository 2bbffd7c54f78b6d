"""Preprocess: what is written, that it is always the same, and that nothing half-written stays behind."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from assay.config import DataConfig
from assay.data.dataset import SPLITS, Dataset
from assay.data.images import decode
from assay.data.ingest import ingest
from assay.data.missing import fill_missing, mark_missing, with_mask
from assay.data.preprocess import merge_shards, preprocess, preprocess_shard
from assay.data.sources.demo import DemoSource
from assay.errors import AssayError, InputError
from assay.storage.open import open_store

DEMO = "demo://tissue?images=120&size=24&slides=12"
SHARD = 24 * 24 * 3 * 25  # 25 patches


def snapshot_of(data: DataConfig, folder: Path) -> Path:
    return ingest(data, str(folder / "store"), folder / "work").snapshot_dir


def contents(folder: Path) -> dict[str, str]:
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def rows_of(dataset: Dataset) -> list[tuple[str, np.ndarray, int, str, str, str]]:
    splits = {"train": dataset.train, "valid": dataset.valid, "test": dataset.open_test()}
    return [
        (name, image, int(label), row.id, row.label, row.uri)
        for name, split in splits.items()
        for image, label, row in zip(split.inputs, split.labels, split.records.itertuples(), strict=True)
    ]


def write_images(folder: Path, sizes: list[tuple[int, int]], *, grey: bool = False) -> Path:
    """Class folders ``a`` and ``b`` with one image of each size (height, width) in each."""
    random = np.random.default_rng(0)
    for label in "ab":
        (folder / label).mkdir(parents=True)
        for number, size in enumerate(sizes):
            pixels = random.integers(0, 256, size if grey else (*size, 3), np.uint8)
            cv2.imwrite(str(folder / label / f"{number}.png"), pixels)
    return folder


@pytest.fixture(scope="module")
def data() -> DataConfig:
    return DataConfig(source=DEMO)


@pytest.fixture(scope="module")
def snapshot(data: DataConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return snapshot_of(data, tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def dataset(data: DataConfig, snapshot: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    out = tmp_path_factory.mktemp("dataset") / "dataset"
    return preprocess(data, snapshot, out, seed=1, workers=2, shard_bytes=SHARD).dataset


def test_every_row_is_its_files_pixels_and_label(tmp_path: Path, pcam: Path) -> None:
    # The real layout: splits given by folders, and a table that says the same.
    source = tmp_path / "images"
    for split in SPLITS:
        for label in "01":
            (source / split / label).mkdir(parents=True)
            for file in sorted((pcam / split / label).iterdir())[:8]:
                shutil.copyfile(file, source / split / label / file.name)
    data = DataConfig(source=str(source))
    result = preprocess(data, snapshot_of(data, tmp_path), tmp_path / "dataset", seed=0)
    rows = rows_of(result.dataset)
    assert len(rows) == 48
    for split, image, label, name, label_name, _ in rows:
        file = source / name
        np.testing.assert_array_equal(image, decode(file.read_bytes(), "rgb", None, 10_000))
        assert [split, label_name] == list(file.relative_to(source).parts[:2])
        assert result.dataset.classes[label] == label_name
    assert result.dataset.counts == {split: {"0": 8, "1": 8} for split in SPLITS}
    assert result.metrics["train_images"] == 16


def test_no_slide_is_in_two_splits(dataset: Dataset) -> None:
    slides = [
        set(split.records[dataset.group_column or ""]) for split in (dataset.train, dataset.valid, dataset.open_test())
    ]
    assert sum(map(len, slides)) == 12 == len(set().union(*slides))
    assert dataset.description["groups"] == dict(zip(SPLITS, map(len, slides), strict=True))


def test_statistics_are_those_of_the_training_split_alone(dataset: Dataset) -> None:
    pixels = np.asarray(dataset.train.inputs).reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(dataset.mean, pixels.mean(0), rtol=1e-12)
    np.testing.assert_allclose(dataset.std, pixels.std(0), rtol=1e-12)


def test_shards_are_as_small_as_asked(dataset: Dataset) -> None:
    sizes = [len(np.load(file)) for file in dataset.train.inputs.files]
    assert len(sizes) > 2
    assert set(sizes[:-1]) == {25}
    assert all(np.load(file, mmap_mode="r").nbytes <= SHARD for file in dataset.train.inputs.files)


@pytest.mark.parametrize("workers", [1, 5])
def test_the_bytes_do_not_depend_on_the_workers(
    data: DataConfig, snapshot: Path, dataset: Dataset, tmp_path: Path, workers: int
) -> None:
    preprocess(data, snapshot, tmp_path / "again", seed=1, workers=workers, shard_bytes=SHARD)
    assert contents(tmp_path / "again") == contents(dataset.root)


@pytest.mark.parametrize("count", [1, 3, 20])
def test_parts_merge_to_the_bytes_of_one_task(
    data: DataConfig, snapshot: Path, dataset: Dataset, tmp_path: Path, count: int
) -> None:
    for index in range(count):
        preprocess_shard(data, snapshot, tmp_path / f"{index}", seed=1, workers=2, index=index, count=count)
    parts = [tmp_path / f"{index}" for index in reversed(range(count))]
    merge_shards(parts, tmp_path / "merged", shard_bytes=SHARD)
    assert contents(tmp_path / "merged") == contents(dataset.root)


def test_parts_that_do_not_belong_together_are_refused(data: DataConfig, snapshot: Path, tmp_path: Path) -> None:
    for index in range(2):
        preprocess_shard(data, snapshot, tmp_path / f"{index}", seed=1, index=index, count=2)
    preprocess_shard(data, snapshot, tmp_path / "other", seed=2, index=1, count=2)
    for parts, message in (
        ([], "no parts to merge"),
        (["0"], "must be 0 to 1, each once. Received: 0"),
        (["0", "0"], "each once. Received: 0, 0"),
        (["0", "other"], "different snapshots, configs or seeds"),
        (["0", "nowhere"], "nowhere: no part of a dataset"),
    ):
        with pytest.raises(InputError, match=message):
            merge_shards([tmp_path / name for name in parts], tmp_path / "merged")
        assert not (tmp_path / "merged").exists()
    with pytest.raises(InputError, match=r"from 0 to 1\. Received: 2"):
        preprocess_shard(data, snapshot, tmp_path / "2", seed=1, index=2, count=2)


def test_the_fingerprint_is_of_content_not_of_place(tmp_path: Path) -> None:
    here = write_images(tmp_path / "here", [(20, 20)] * 9)
    there = Path(shutil.copytree(here, tmp_path / "there"))

    def fingerprint(name: str, seed: int = 0, **config: object) -> str:
        config_ = DataConfig.model_validate({"near_duplicates": False, **config})
        snapshot = snapshot_of(config_, tmp_path / name)
        return preprocess(config_, snapshot, tmp_path / name / "dataset", seed).dataset.fingerprint

    first = fingerprint("1", source=str(here))
    assert fingerprint("2", source=str(there)) == first
    assert fingerprint("3", source=str(there), shards=4, max_bad_fraction=0.5) == first
    assert fingerprint("4", source=str(here), image_size=(20, 20)) == first
    assert fingerprint("5", source=str(here), image_size=(20, 21)) != first
    assert fingerprint("6", source=str(here), color_mode="grayscale") != first
    assert fingerprint("7", source=str(here), seed=1) != first
    assert fingerprint("8", source=str(here), positive_class="a") != first


def test_the_most_frequent_size_is_taken_and_the_others_resized(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = DataConfig(source=str(write_images(tmp_path / "images", [(20, 30)] * 6 + [(40, 60)] * 2 + [(25, 25)])))
    dataset = preprocess(data, snapshot_of(data, tmp_path), tmp_path / "dataset", seed=0).dataset
    assert dataset.input_shape == (20, 30, 3)
    for _, image, _, _, _, uri in rows_of(dataset):
        np.testing.assert_array_equal(image, decode(Path(uri).read_bytes(), "rgb", (20, 30), 10_000))
    out = capsys.readouterr().out
    assert "6 of 18 images are resized to 20 x 30 pixels, 2 of them to another aspect ratio" in out


def test_source_and_snapshot_may_lie_in_object_storage(tmp_path: Path, gcs_root: str) -> None:
    local = DataConfig(source=str(write_images(tmp_path / "images", [(16, 16)] * 6)))
    open_store(gcs_root).upload_dir(tmp_path / "images", "images")
    remote = DataConfig(source=f"{gcs_root}/images")
    here = preprocess(local, snapshot_of(local, tmp_path), tmp_path / "here", seed=0).dataset
    uri = ingest(remote, gcs_root, tmp_path / "work").snapshot_uri
    assert uri.startswith("gs://")
    there = preprocess(remote, uri, tmp_path / "there", seed=0).dataset
    assert there.fingerprint == here.fingerprint
    for split in SPLITS:
        for file in (here.root / split).glob("*.npy"):
            assert (there.root / split / file.name).read_bytes() == file.read_bytes()
    with pytest.raises(InputError, match="no such object"):
        preprocess(remote, f"{gcs_root}/snapshots/none", tmp_path / "nowhere", seed=0)


def test_grey_rectangles_of_a_given_size(tmp_path: Path) -> None:
    source = write_images(tmp_path / "images", [(24, 96)] * 5, grey=True)
    data = DataConfig(source=str(source), color_mode="grayscale", image_size=(12, 48), positive_class="a")
    dataset = preprocess(data, snapshot_of(data, tmp_path), tmp_path / "dataset", seed=0).dataset
    assert dataset.input_shape == (12, 48, 1)
    assert len(dataset.mean) == 1
    assert dataset.positive_index == 0
    assert dataset.color_mode == "grayscale"


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: shutil.rmtree(folder), "no snapshot here"),
        (lambda folder: (folder / "snapshot.json").write_text("{"), "not valid JSON"),
        (lambda folder: (folder / "records.parquet").unlink(), r"records\.parquet.*No such file"),
        (lambda folder: (folder / "records.parquet").write_bytes(b"PAR1 no"), r"records\.parquet.*7 bytes, "),
        (
            lambda folder: (folder / "snapshot.json").write_text(
                json.dumps({**json.loads((folder / "snapshot.json").read_text()), "fingerprint": "0" * 64})
            ),
            r"snapshot\.json: has changed since ingest wrote it",
        ),
    ],
)
def test_a_damaged_snapshot_is_refused_in_one_line(
    data: DataConfig, snapshot: Path, tmp_path: Path, harm: object, message: str
) -> None:
    copy = Path(shutil.copytree(snapshot, tmp_path / "snapshot"))
    harm(copy)  # type: ignore[operator]
    with pytest.raises(InputError, match=message) as error:
        preprocess(data, copy, tmp_path / "out" / "dataset", seed=0)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_config_that_does_not_fit_the_snapshot_is_refused(data: DataConfig, snapshot: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds image data, data\.kind is sensor"):
        preprocess(data.model_copy(update={"kind": "sensor"}), snapshot, tmp_path / "dataset", seed=0)
    with pytest.raises(InputError, match=r"no class 'tumour'\. Did you mean 'tumor'"):
        preprocess(data.model_copy(update={"positive_class": "tumour"}), snapshot, tmp_path / "dataset", seed=0)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda file: file.unlink(), "cannot be read any more"),
        (lambda file: file.write_bytes(file.read_bytes() + b"x"), "has changed since ingest"),
    ],
)
def test_a_file_that_changed_since_ingest_ends_the_step_and_leaves_nothing(
    tmp_path: Path, harm: object, message: str
) -> None:
    source = write_images(tmp_path / "images", [(16, 16)] * 40)
    data = DataConfig(source=str(source))
    snapshot = snapshot_of(data, tmp_path)
    harm(source / "b" / "7.png")  # type: ignore[operator]
    with pytest.raises(AssayError, match=rf"b/7\.png: {message}") as error:
        preprocess(data, snapshot, tmp_path / "out" / "dataset", seed=0, workers=3)
    assert "\n" not in str(error.value)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite"])
def test_a_full_disk_is_one_line_and_leaves_nothing(
    data: DataConfig, snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(AssayError, match=r"No space left on device\. Free space") as error:
        preprocess(data, snapshot, tmp_path / "out" / "dataset", seed=0)
    assert "\n" not in str(error.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_in_use_is_not_touched(data: DataConfig, snapshot: Path, tmp_path: Path) -> None:
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        preprocess(data, snapshot, tmp_path / "dataset", seed=0)
    assert [file.name for file in (tmp_path / "dataset").iterdir()] == ["thesis.txt"]


def sensor_dataset(tmp_path: Path, gaps: float, **config: object) -> Dataset:
    source = f"demo://sensors?windows=180&persons=12&steps=20&missing={gaps}"
    data = DataConfig.model_validate({"source": source, "kind": "sensor", **config})
    snapshot = snapshot_of(data, tmp_path)
    return preprocess(data, snapshot, tmp_path / "dataset", seed=0, shard_bytes=20 * 3 * 4 * 50).dataset


def test_windows_are_kept_as_numbers(tmp_path: Path) -> None:
    dataset = sensor_dataset(tmp_path, 0)
    inputs = np.asarray(dataset.train.inputs)
    assert (dataset.kind, dataset.input_shape, inputs.dtype) == ("sensor", (20, 3), np.float32)
    assert len(dataset.train.inputs.files) > 1
    np.testing.assert_allclose(dataset.mean, inputs.reshape(-1, 3).astype(np.float64).mean(0), rtol=1e-9)
    np.testing.assert_allclose(dataset.std, inputs.reshape(-1, 3).astype(np.float64).std(0), rtol=1e-9)
    assert dataset.description["missing"]["fractions"] == {"train": 0, "valid": 0, "test": 0}


@pytest.mark.parametrize("policy", ["mean", "interpolate"])
def test_missing_values_are_filled_from_training_alone(tmp_path: Path, policy: str) -> None:
    dataset = sensor_dataset(tmp_path, 0.2, missing=policy)
    source = DemoSource(dataset.description["snapshot"]["source"])
    raw = {
        split: np.stack([source.generator.example(int(uri.rpartition("#")[2])) for uri in part.records["uri"]])
        for split, part in (("train", dataset.train), ("test", dataset.open_test()))
    }
    np.testing.assert_allclose(dataset.mean, np.nanmean(raw["train"].astype(np.float64), axis=(0, 1)), rtol=1e-9)
    np.testing.assert_allclose(dataset.std, np.nanstd(raw["train"].astype(np.float64), axis=(0, 1)), rtol=1e-9)
    np.testing.assert_array_equal(
        np.asarray(dataset.open_test().inputs), fill_missing(raw["test"], policy, dataset.mean)
    )
    assert dataset.description["missing"]["fractions"]["test"] == pytest.approx(np.isnan(raw["test"]).mean())


def failing_sensors(tmp_path: Path, **config: object) -> tuple[Dataset, np.ndarray]:
    """Return a dataset of windows with zeros and flat lines, and the windows in the order of its training split."""
    random = np.random.default_rng(0)
    windows = random.normal(5, 1, (120, 12, 2)).astype(np.float32)
    windows[random.random(windows.shape) < 0.05] = 0
    windows[::3, 4:9, 1] = windows[::3, 3:4, 1]
    for number, window in enumerate(windows):
        file = tmp_path / "source" / "ab"[number % 2] / f"{number:03d}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, window)
    data = DataConfig.model_validate({"source": str(tmp_path / "source"), "kind": "sensor", **config})
    dataset = preprocess(data, snapshot_of(data, tmp_path), tmp_path / "dataset", seed=0).dataset
    return dataset, windows[[int(Path(id).stem) for id in dataset.train.records["id"]]]


def test_zeros_and_flat_lines_are_missing_where_the_config_says_so_and_the_mask_tells(tmp_path: Path) -> None:
    options = {"missing": "mean", "missing_values": [0], "missing_flat_steps": 5}
    dataset, raw = failing_sensors(tmp_path / "plain", **options)
    marked = mark_missing(raw, [0], 5)
    assert np.isnan(marked).mean() > 0.1
    np.testing.assert_allclose(dataset.mean, np.nanmean(marked.astype(np.float64), axis=(0, 1)), rtol=1e-9)
    np.testing.assert_array_equal(np.asarray(dataset.train.inputs), fill_missing(marked, "mean", dataset.mean))
    assert dataset.description["missing"]["fractions"]["train"] == pytest.approx(np.isnan(marked).mean())
    told, raw = failing_sensors(tmp_path / "told", **options, missing_mask=True)
    assert told.input_shape == (12, 4)
    assert (told.mean[:2], told.mean[2:], told.std[2:]) == (dataset.mean, (0, 0), (0, 0))
    filled = fill_missing(marked, "mean", dataset.mean)
    np.testing.assert_array_equal(np.asarray(told.train.inputs), with_mask(filled, np.isnan(marked)))
    assert told.description["missing"]["fractions"] == dataset.description["missing"]["fractions"]
    assert told.fingerprint != dataset.fingerprint


def test_parts_with_missing_values_merge_to_the_bytes_of_one_task(tmp_path: Path) -> None:
    one = sensor_dataset(tmp_path, 0.1, missing="interpolate")
    data = DataConfig.model_validate(one.description["config"])
    snapshot = next((tmp_path / "store" / "snapshots").iterdir())
    for index in range(3):
        preprocess_shard(data, snapshot, tmp_path / f"{index}", seed=0, index=index, count=3)
    merge_shards([tmp_path / f"{i}" for i in range(3)], tmp_path / "merged", shard_bytes=20 * 3 * 4 * 50)
    assert contents(tmp_path / "merged") == contents(one.root)


def test_values_missing_only_in_use_call_for_simulation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    for split in SPLITS:
        for label in "ab":
            (tmp_path / "windows" / split / label).mkdir(parents=True)
            for number in range(6):
                window = random.normal(size=(10, 2)).astype(np.float32)
                if split == "test":
                    window[3:5, 0] = np.nan
                np.save(tmp_path / "windows" / split / label / f"{number}.npy", window)
    data = DataConfig(source=str(tmp_path / "windows"), kind="sensor", missing="interpolate")
    dataset = preprocess(data, snapshot_of(data, tmp_path), tmp_path / "dataset", seed=0).dataset
    assert "set data.simulate_missing to 0.1" in dataset.description["notes"][-1]
    assert "set data.simulate_missing to 0.1" in capsys.readouterr().out
    assert dataset.description["missing"]["gap"] == 1, "of the training split, where nothing is missing"


def test_the_length_of_gaps_is_that_of_the_training_split(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for split, gap in zip(SPLITS, (3, 1, 5), strict=True):
        for label in "ab":
            (tmp_path / "windows" / split / label).mkdir(parents=True)
            for number in range(6):
                window = random.normal(size=(10, 2)).astype(np.float32)
                window[2 : 2 + gap, 0] = window[9, 1] = np.nan
                np.save(tmp_path / "windows" / split / label / f"{number}.npy", window)
    data = DataConfig(source=str(tmp_path / "windows"), kind="sensor", missing="mean")
    dataset = preprocess(data, snapshot_of(data, tmp_path), tmp_path / "dataset", seed=0).dataset
    assert dataset.description["missing"]["gap"] == 2
