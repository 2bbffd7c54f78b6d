"""Opening a source by its URI: folders, object storage, arrays, generators, TensorFlow Datasets."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest

from assay.config import DataConfig
from assay.data.sources import open_source
from assay.errors import InputError
from assay.storage.open import open_store

IMAGES = DataConfig()
WINDOWS = DataConfig(kind="sensor")


def test_a_folder_is_listed_and_read(class_folders: Path) -> None:
    source = open_source(str(class_folders), IMAGES)
    listing = source.listing()
    assert len(listing.entries) == 20
    first = listing.entries[0]
    assert source.read(first) == Path(first.uri).read_bytes()
    # A later step reads what it finds in a snapshot's table, without listing again.
    assert open_source(source.uri, IMAGES).read(first) == Path(first.uri).read_bytes()


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is empty\. Name a folder with labelled files"):
        open_source(str(tmp_path), IMAGES).listing()


@pytest.mark.parametrize("layout", ["folders", "table"])
def test_a_bucket_is_listed_and_read_as_a_folder_is(class_folders: Path, gcs_root: str, layout: str) -> None:
    if layout == "table":
        rows = [f"{file.relative_to(class_folders)},{file.parent.name}" for file in class_folders.rglob("*.png")]
        (class_folders / "labels.csv").write_text("path,label\n" + "\n".join(rows))
    open_store(gcs_root).upload_dir(class_folders, "images")
    local = open_source(str(class_folders), IMAGES)
    remote = open_source(f"{gcs_root}/images/", IMAGES)
    here, there = local.listing(), remote.listing()
    assert [(entry.id, entry.label) for entry in there.entries] == [(entry.id, entry.label) for entry in here.entries]
    assert there.entries[3].uri == f"{gcs_root}/images/{there.entries[3].id}"
    assert remote.read(there.entries[3]) == local.read(here.entries[3])
    assert remote.parallel_reads > 8


def test_an_empty_prefix_is_refused_and_a_lost_object_is_an_os_error(gcs_root: str, class_folders: Path) -> None:
    with pytest.raises(InputError, match=f"{gcs_root}/nothing: is empty"):
        open_source(f"{gcs_root}/nothing", IMAGES).listing()
    entry = open_source(str(class_folders), IMAGES).listing().entries[0]
    with pytest.raises(FileNotFoundError):
        open_source(f"{gcs_root}/nothing", IMAGES).read(entry)


def test_one_array_a_class_gives_one_entry_a_row(tmp_path: Path) -> None:
    walking = np.arange(5 * 4 * 3, dtype=np.float32).reshape(5, 4, 3)
    np.save(tmp_path / "walking.npy", walking)
    np.save(tmp_path / "sitting.npy", np.zeros((2, 4, 3)))
    source = open_source(str(tmp_path), WINDOWS)
    entries = source.listing().entries
    assert {(entry.label, entry.id) for entry in entries} == {
        *(("walking", f"walking.npy#{row}") for row in range(5)),
        *(("sitting", f"sitting.npy#{row}") for row in range(2)),
    }
    third = next(entry for entry in entries if entry.id == "walking.npy#3")
    np.testing.assert_array_equal(np.load(io.BytesIO(source.read(third))), walking[3])


def test_arrays_in_split_folders_and_in_a_bucket(tmp_path: Path, gcs_root: str) -> None:
    for split in ("train", "test"):
        for label in ("a", "b"):
            (tmp_path / split).mkdir(exist_ok=True)
            np.save(tmp_path / split / f"{label}.npy", np.ones((2, 4, 1)))
    open_store(gcs_root).upload_dir(tmp_path, "arrays")
    for uri in (str(tmp_path), f"{gcs_root}/arrays"):
        source = open_source(uri, WINDOWS)
        entries = source.listing().entries
        assert sorted({(entry.split, entry.label) for entry in entries}) == [
            ("test", "a"),
            ("test", "b"),
            ("train", "a"),
            ("train", "b"),
        ]
        assert np.load(io.BytesIO(source.read(entries[0]))).shape == (4, 1)


def test_windows_one_a_file_in_class_folders_or_by_a_table(tmp_path: Path) -> None:
    (tmp_path / "1" / "a").mkdir(parents=True)
    np.save(tmp_path / "1" / "a" / "x.npy", np.ones((4, 2)))
    (tmp_path / "1" / "b").mkdir()
    (tmp_path / "1" / "b" / "y#1.csv").write_text("1,2\n3,4\n")
    source = open_source(str(tmp_path / "1"), WINDOWS)
    assert [(entry.id, entry.label) for entry in source.listing().entries] == [("a/x.npy", "a"), ("b/y#1.csv", "b")]
    assert source.read(source.listing().entries[1]) == b"1,2\n3,4\n"
    (tmp_path / "2").mkdir()
    np.save(tmp_path / "2" / "x.npy", np.ones((4, 2)))
    (tmp_path / "2" / "labels.csv").write_text("id,label,group\nx,a,person 1\n")
    assert [(e.id, e.group) for e in open_source(str(tmp_path / "2"), WINDOWS).listing().entries] == [
        ("x.npy", "person 1")
    ]


def test_a_file_that_is_no_array_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"not an array")
    with pytest.raises(InputError, match=r"a\.npy: not a whole array") as caught:
        open_source(str(tmp_path), WINDOWS).listing()
    assert "\n" not in str(caught.value)
    np.save(tmp_path / "a.npy", np.ones(5))
    with pytest.raises(InputError, match=r"has shape \(5,\)"):
        open_source(str(tmp_path), WINDOWS).listing()


def test_a_demo_needs_its_kind() -> None:
    source = open_source("demo://tissue?images=12", IMAGES)
    assert len(source.listing().entries) == 12
    assert source.read(source.listing().entries[3])[:4] == b"\x89PNG"
    with pytest.raises(InputError, match=r"Set data\.kind: image"):
        open_source("demo://tissue?images=12", WINDOWS)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("ftp://host/x", "unknown scheme 'ftp'"),
        ("demos://tissue", "Did you mean 'demo'?"),
        ("tfds://", "names no data set"),
        ("tfds://mnist?data_dri=/x", "unknown key 'data_dri'. Did you mean 'data_dir'?"),
    ],
)
def test_wrong_uris_name_the_way_out(uri: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        open_source(uri, IMAGES)
    assert message in str(caught.value)


@pytest.mark.skipif(importlib.util.find_spec("tensorflow_datasets") is not None, reason="tensorflow_datasets is here")
def test_tfds_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="Run `pip install tensorflow-datasets`"):
        open_source("tfds://patch_camelyon", IMAGES).listing()
    assert list(tmp_path.rglob("*.part")) == []
