"""Seals: what was written is what is read, to the byte."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.storage.seals import damaged, is_intact, seal_of, sealed, seals_of

NAMES = ["a", "deep/b"]


def write(root: Path) -> None:
    (root / "deep").mkdir(exist_ok=True)
    (root / "a").write_bytes(b"one" * 1_000_000)
    (root / "deep" / "b").write_bytes(b"")


def test_a_seal_is_the_size_and_the_checksum_that_zlib_gives(tmp_path: Path) -> None:
    write(tmp_path)
    content = (tmp_path / "a").read_bytes()
    assert seal_of(tmp_path / "a") == {"bytes": 3_000_000, "crc32": f"{zlib.crc32(content):08x}"}


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        (lambda root: None, None),
        (lambda root: (root / "a").write_bytes(b"onf" + b"one" * 999_999), ("a", "its content has changed")),
        (lambda root: (root / "deep" / "b").write_bytes(b"x"), ("deep/b", "1 bytes, 0 were written")),
        (lambda root: (root / "a").unlink(), ("a", "No such file or directory")),
    ],
)
def test_the_first_damaged_file_is_named(tmp_path: Path, harm, found: tuple[str, str] | None) -> None:
    write(tmp_path)
    seals = seals_of(tmp_path, NAMES)
    harm(tmp_path)
    assert damaged(tmp_path, json.loads(json.dumps(seals))) == found


VALUES = st.dictionaries(st.text(max_size=4), st.one_of(st.integers(), st.text(max_size=4), st.floats(allow_nan=False)))


@settings(max_examples=100, deadline=None)
@given(VALUES, VALUES)
def test_a_description_is_intact_until_it_changes(values: dict, others: dict) -> None:
    read = json.loads(json.dumps(sealed(values)))
    assert is_intact(read)
    assert not is_intact(values)
    assert sealed(sealed(values)) == sealed(values)
    changed = {**read, **{key: value for key, value in others.items() if key != "checksum"}}
    assert is_intact(changed) == (json.dumps(changed, sort_keys=True) == json.dumps(read, sort_keys=True))
