"""The bucket store: what the service refuses, loses or lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from assay.errors import AssayError, InputError
from assay.storage.files import ObjectNotFound
from assay.storage.gcs import GCSStore
from assay.storage.objects import GenerationMismatch
from assay.storage.open import open_store


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
    ("status", "way_out"), [(401, "gcloud auth application-default login"), (403, r"roles/storage\.objectUser")]
)
def test_a_refusal_names_the_way_out(faults: Any, gcs_root: str, status: int, way_out: str) -> None:
    store = open_store(gcs_root)
    for action in (lambda: store.read("x"), lambda: store.list(), lambda: store.write_bytes("x", b"")):
        faults.statuses = [status]
        with pytest.raises(AssayError, match=way_out) as caught:
            action()
        assert "\n" not in str(caught.value)


def test_failures_that_pass_are_retried(faults: Any, gcs_root: str) -> None:
    store = open_store(gcs_root)
    faults.statuses = [503]
    store.write_bytes("x", b"1")
    faults.statuses = [429]
    assert store.read_bytes("x") == b"1"


def test_a_service_that_stays_down_is_one_line(faults: Any, gcs_root: str) -> None:
    faults.statuses = [503] * 1000
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
    faults: Any, gcs_root: str
) -> None:
    store = open_store(gcs_root)
    faults.lost_answers = 1
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
