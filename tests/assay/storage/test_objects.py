"""Object storage behaves alike in a directory and in a bucket; nothing half-written is ever seen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import InputError
from assay.storage.files import ObjectNotFound
from assay.storage.objects import GenerationMismatch, ObjectStore, check_name
from assay.storage.open import download, is_remote, open_store


def test_what_is_written_is_read(store: ObjectStore) -> None:
    generation = store.write_bytes("a/b c'é.json", b"1")
    found = store.read("a/b c'é.json")
    assert (found.data, found.generation) == (b"1", generation)
    assert store.exists("a/b c'é.json")
    assert not store.exists("a")
    assert store.write_bytes("a/b c'é.json", b"2") != generation
    assert store.read_bytes("a/b c'é.json") == b"2"


def test_a_conditional_write_needs_the_present_generation(store: ObjectStore) -> None:
    first = store.write_bytes("x", b"1", if_generation=0)
    with pytest.raises(GenerationMismatch, match="changed by someone else"):
        store.write_bytes("x", b"2", if_generation=0)
    second = store.write_bytes("x", b"2", if_generation=first)
    with pytest.raises(GenerationMismatch):
        store.write_bytes("x", b"3", if_generation=first)
    assert store.read("x").data == b"2"
    assert store.read("x").generation == second


def test_listing_goes_deep_and_stays_under_its_prefix(store: ObjectStore) -> None:
    for name in ("a/1", "a/b/2", "ab/3", "4"):
        store.write_bytes(name, b"")
    assert store.list() == ["4", "a/1", "a/b/2", "ab/3"]
    assert store.list("a") == ["a/1", "a/b/2"]
    assert store.list("nothing") == []
    assert store.list("a/1") == []


def test_deleting_removes_one_object_and_bears_repetition(store: ObjectStore) -> None:
    store.write_bytes("a/1", b"")
    store.write_bytes("a/2", b"")
    for _ in range(2):
        store.delete("a/1")
    assert store.list() == ["a/2"]
    assert store.write_bytes("a/1", b"", if_generation=0)


def test_missing_objects_are_named(store: ObjectStore, tmp_path: Path) -> None:
    for action in (
        lambda: store.read("a/b"),
        lambda: store.download_file("a/b", tmp_path / "file"),
        lambda: store.download_dir("a/b", tmp_path / "folder"),
    ):
        with pytest.raises(ObjectNotFound, match="a/b"):
            action()
    assert [path.name for path in tmp_path.iterdir() if path.name != "store"] == []


def test_folders_travel_whole(store: ObjectStore, tmp_path: Path) -> None:
    source = tmp_path / "source"
    contents = {f"{index % 3}/file {index}.bin": os.urandom(1000 * index) for index in range(12)}
    contents["big.bin"] = os.urandom(9 * 2**20)
    for name, data in contents.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(data)
    assert store.upload_dir(source, "folder", marker="big.bin") == sorted(contents)
    assert store.download_dir("folder", tmp_path / "copy") == sorted(contents)
    assert {name: (tmp_path / "copy" / name).read_bytes() for name in contents} == contents


def test_the_marker_is_written_after_all_else(store: ObjectStore, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for index in range(20):
        (source / f"{index}.txt").write_text("x")
    # An earlier file that cannot be stored stops the upload before its marker.
    (source / "bad\\name").write_text("x")
    with pytest.raises(InputError, match="object name"):
        store.upload_dir(source, "folder", marker="0.txt")
    assert not store.exists("folder/0.txt")


def test_upload_of_nothing_is_an_error(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no files to store"):
        store.upload_dir(tmp_path / "missing", "x")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_text("")
    with pytest.raises(InputError, match=r"done\.json is missing"):
        store.upload_dir(tmp_path / "a", "x", marker="done.json")
    assert store.list() == []


def test_a_download_never_mixes_with_what_is_there(store: ObjectStore, tmp_path: Path) -> None:
    store.write_bytes("a/1", b"new")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "1").write_text("old")
    with pytest.raises(InputError, match="is not empty"):
        store.download_dir("a", tmp_path / "full")
    assert (tmp_path / "full" / "1").read_text() == "old"
    (tmp_path / "empty").mkdir()
    store.download_dir("a", tmp_path / "empty")
    assert (tmp_path / "empty" / "1").read_text() == "new"


@pytest.mark.parametrize(
    "name", ["/a", "a/", "../a", "a/../b", "a//b", ".", "a/./b", "a\\b", "a\nb", "a\0", "x" * 1025]
)
def test_unsafe_names_are_refused(store: ObjectStore, name: str) -> None:
    for action in (store.read, store.exists, store.delete, store.list, lambda n: store.write_bytes(n, b"")):
        with pytest.raises(InputError, match="object name"):
            action(name)


@given(st.text(max_size=60))
def test_a_name_that_passes_stays_inside(name: str) -> None:
    try:
        check_name(name)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert Path("/root", name).resolve().is_relative_to("/root")
        assert not name.startswith("/")


INCREMENT = """
import sys
from assay.storage.objects import GenerationMismatch
from assay.storage.open import open_store
store = open_store(sys.argv[1])
done = 0
while done < 15:
    present = store.read("counter")
    try:
        store.write_bytes("counter", str(int(present.data) + 1).encode(), if_generation=present.generation)
        done += 1
    except GenerationMismatch:
        print("again")
"""


def test_compare_and_swap_loses_no_update_between_processes(root: str) -> None:
    open_store(root).write_bytes("counter", b"0")
    workers = [subprocess.Popen([sys.executable, "-c", INCREMENT, root]) for _ in range(3)]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    assert open_store(root).read_bytes("counter") == b"45"


def test_one_file_is_fetched_by_its_address(store: ObjectStore, tmp_path: Path) -> None:
    store.write_bytes("weights/vgg.h5", b"weights")
    assert download(store.uri("weights/vgg.h5"), tmp_path / "w" / "x.h5").read_bytes() == b"weights"
    with pytest.raises(ObjectNotFound, match=r"weights/none\.h5"):
        download(store.uri("weights/none.h5"), tmp_path / "y.h5")


def test_roots_are_told_apart() -> None:
    assert is_remote("gs://bucket/x")
    assert not is_remote("/gs/x")
    for root in ("s3://bucket", "gs://", "gs://UPPER/x", "gs:///x", "gs://bucket/a/../b"):
        with pytest.raises(InputError):
            open_store(root)
    with pytest.raises(InputError, match="names a bucket, not an object"):
        download("gs://bucket", Path("x"))
