"""Storage: a folder or gs://; an address of another kind never becomes a folder of that name."""

from __future__ import annotations

import pytest

from assay.config import parse_config
from assay.errors import InputError
from assay.storage.open import open_store

UNKNOWN = ["s3://bucket/x", "az://c/x", "abfss://c@a/x", "https://host/x", "file:///tmp/x", "hdfs://x/y", "s3:/bucket"]


@pytest.mark.parametrize("root", [*UNKNOWN, "GS://bucket/x", "gcs://bucket", "gs:/bucket/x", "gs://"])
def test_an_unknown_scheme_is_refused_before_anything_is_written(root: str) -> None:
    with pytest.raises(InputError, match="storage is a local directory or gs://bucket/prefix") as caught:
        parse_config({"version": 1, "storage": {"root": root}})
    assert root in str(caught.value)
    with pytest.raises(InputError):
        open_store(root)


@pytest.mark.parametrize(("root", "meant"), [("GS://b/x", "gs://b/x"), ("gs:/b/x", "gs://b/x"), ("gcs://b", "gs://b")])
def test_what_is_nearly_gs_is_offered_as_gs(root: str, meant: str) -> None:
    with pytest.raises(InputError, match=f"Did you mean {meant}"):
        parse_config({"version": 1, "storage": {"root": root}})


@pytest.mark.parametrize("root", ["runs/store", "/abs/x", "~/x", "C:/store", "a:b/c", "gs://bucket", "gs://bucket/x"])
def test_folders_and_buckets_are_taken(root: str) -> None:
    assert parse_config({"version": 1, "storage": {"root": root}}).storage.root == root
