"""Into how many parts a source is preprocessed."""

from __future__ import annotations

import pytest

from assay.config import DataConfig
from assay.data import parts
from assay.data.parts import parts_of
from assay.storage.open import open_store


def test_a_number_in_the_config_is_that_number() -> None:
    assert parts_of(DataConfig(source="gs://not-looked-at/images", shards=7)) == 7


def test_what_has_no_size_before_a_step_looks_at_it_is_one_part() -> None:
    assert parts_of(DataConfig(source="demo://tissue", shards="auto")) == 1


@pytest.mark.parametrize(("objects", "count"), [(1, 1), (2, 1), (3, 2), (9, 4)])
def test_the_size_of_a_source_in_object_storage_says_how_many(
    gcs_root: str, monkeypatch: pytest.MonkeyPatch, objects: int, count: int
) -> None:
    monkeypatch.setattr(parts, "BYTES_A_PART", 2000)
    monkeypatch.setattr(parts, "MOST_PARTS", 4)
    source = f"{gcs_root}/images{objects}"
    for number in range(objects):
        open_store(source).write_bytes(f"a/{number}.jpg", bytes(1000))
    assert parts_of(DataConfig(source=source, shards="auto")) == count


def test_a_source_that_cannot_be_looked_at_is_one_part_and_said(
    gcs_root: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket = gcs_root.removeprefix("gs://").split("/")[0]
    assert parts_of(DataConfig(source=f"gs://{bucket}-absent/images", shards="auto")) == 1
    assert "size of the source is not known" in capsys.readouterr().out
