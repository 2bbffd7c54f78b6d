"""The bucket store: what the service refuses, loses or lacks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from assay.errors import AssayError, InputError
from assay.storage.files import ObjectNotFound
from assay.storage.gcs import GCSStore
from assay.storage.objects import GenerationMismatch
from assay.storage.open import open_store
from bench.faults.proxy import FAULTS, Fault, FaultProxy


def test_a_missing_bucket_is_told_from_a_missing_object(gcs_root: str, tmp_path: Path) -> None:
    with pytest.raises(ObjectNotFound, match="some/prefix/x: no such object"):
        open_store(gcs_root).read("x")
    store = open_store("gs://no-such-bucket/x")
    for action in (
        lambda: store.read("x"),
        lambda: store.list(),
        lambda: store.write_bytes("x", b""),
        lambda: store.download_file("x", tmp_path / "x"),
    ):
        with pytest.raises(InputError, match="gs://no-such-bucket: no such bucket") as caught:
            action()
        assert not isinstance(caught.value, ObjectNotFound)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("status", "way_out"), [("401", "gcloud auth application-default login"), ("403", r"roles/storage\.objectUser")]
)
def test_a_refusal_names_the_way_out(faults: FaultProxy, gcs_root: str, status: Fault, way_out: str) -> None:
    store = open_store(gcs_root)
    for action in (lambda: store.read("x"), lambda: store.list(), lambda: store.write_bytes("x", b"")):
        faults.planned.append(status)
        with pytest.raises(AssayError, match=way_out) as caught:
            action()
        assert "\n" not in str(caught.value)


FITTING: tuple[Fault, ...] = tuple(fault for fault in FAULTS if fault != "slow")


@pytest.mark.parametrize("fault", FITTING)
@pytest.mark.parametrize("size", [7, 9 * 2**20])
def test_what_a_fault_spoils_is_sent_again_until_it_is_right(
    faults: FaultProxy, gcs_root: str, tmp_path: Path, fault: Fault, size: int
) -> None:
    store, data = open_store(gcs_root), os.urandom(size)
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(data)
    uploads, downloads = fault != "flip", fault != "flip sent"
    faults.planned.extend([fault] * 2 if uploads else [])
    store.upload_file(source, "x")
    faults.planned.extend([fault] * 2 if downloads else [])
    store.download_file("x", copy)
    assert copy.read_bytes() == data
    faults.planned.extend([fault] if uploads else [])
    store.write_bytes("y", data)
    faults.planned.extend([fault] if downloads else [])
    assert store.read_bytes("y") == data
    assert faults.done[fault] == 3 * (uploads + downloads)
    assert not faults.planned


def test_a_long_download_goes_on_behind_what_has_arrived(
    faults: FaultProxy, gcs_root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No patience at all: each break would be the end, were nothing to have arrived since the one before.
    store, data = GCSStore(gcs_root, patience_seconds=0.0), os.urandom(2**20)
    store.write_bytes("x", data)
    faults.planned.extend(["cut"] * 5)
    store.download_file("x", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data
    faults.planned.append("reset")
    with pytest.raises(AssayError, match="tried again for 0 s without getting on, which is the limit"):
        store.download_file("x", tmp_path / "copy")


def test_damage_before_a_break_is_found_behind_it(faults: FaultProxy, gcs_root: str, tmp_path: Path) -> None:
    store, data = open_store(gcs_root), os.urandom(2**20)
    store.write_bytes("x", data)
    faults.planned.extend(["cut", "flip"])
    store.download_file("x", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data


def test_damage_each_time_is_one_line_and_no_file(faults: FaultProxy, gcs_root: str, tmp_path: Path) -> None:
    store = GCSStore(gcs_root, patience_seconds=0.3)
    store.write_bytes("x", os.urandom(1000))
    faults.planned.extend(["flip"] * 10_000)
    for action in (lambda: store.download_file("x", tmp_path / "copy"), lambda: store.read("x")):
        with pytest.raises(AssayError, match="the checksum of what arrived is wrong, each time") as caught:
            action()
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_conditional_write_that_arrives_damaged_is_mended_and_no_mismatch(faults: FaultProxy, gcs_root: str) -> None:
    store = open_store(gcs_root)
    faults.planned.append("flip sent")
    generation = store.write_bytes("x", b"mine", if_generation=0)
    assert (store.read("x").data, store.read("x").generation) == (b"mine", generation)
    faults.planned.append("flip sent")
    store.write_bytes("x", b"newer", if_generation=generation)
    assert store.read_bytes("x") == b"newer"


def test_a_service_that_stays_down_is_one_line(faults: FaultProxy, gcs_root: str) -> None:
    faults.planned.extend(["503"] * 1000)
    with pytest.raises(AssayError, match="the storage service cannot be used") as caught:
        GCSStore(gcs_root, patience_seconds=0.1).read("x")
    assert "\n" not in str(caught.value)


def test_no_server_at_all_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    with pytest.raises(AssayError, match="the storage service cannot be used"):
        GCSStore("gs://bucket/x", patience_seconds=0.1).list()


def test_without_credentials_the_way_to_them_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    with pytest.raises(AssayError, match="gcloud auth application-default login"):
        open_store("gs://bucket/x").list()


def test_a_conditional_write_whose_answer_is_lost_reads_as_a_mismatch_although_it_took_place(
    faults: FaultProxy, gcs_root: str
) -> None:
    store = open_store(gcs_root)
    faults.planned.append("lost")
    with pytest.raises(GenerationMismatch):
        store.write_bytes("x", b"mine", if_generation=0)
    assert store.read_bytes("x") == b"mine"


def test_placeholders_of_folders_are_no_objects(gcs_root: str) -> None:
    from google.cloud import storage

    store = GCSStore(gcs_root)
    storage.Client().bucket(store.bucket_name).blob("some/prefix/folder/").upload_from_string(b"")
    store.write_bytes("folder/x", b"")
    assert store.list() == ["folder/x"]


def test_a_bucket_without_prefix(gcs_root: str, tmp_path: Path) -> None:
    store = open_store(gcs_root.removesuffix("/some/prefix"))
    store.write_bytes("a/x", b"1")
    assert store.list() == ["a/x"]
    assert store.download_dir("", tmp_path / "all") == ["a/x"]
