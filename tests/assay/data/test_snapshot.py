"""Snapshots: read back as written, and refused when they are not whole."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.data.snapshot import COLUMNS, Snapshot, fingerprint
from assay.errors import InputError


def table(*rows: tuple[str, str, str, str, str]) -> pd.DataFrame:
    named = pd.DataFrame(rows, columns=["id", "label", "split", "group", "sha256"])
    return named.assign(uri="/somewhere/" + named["id"], size=10, width=4, height=3, mode="RGB")[list(COLUMNS)]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    rows = table(("é 1.png", "a", "train", "g", "00"), ("2.png", "b", "", "g", "11"))
    Snapshot(tmp_path, "/somewhere", "image", ("b", "a"), "ff", {"used": 2}).write(rows)
    snapshot = Snapshot.open(tmp_path)
    assert (snapshot.source, snapshot.kind, snapshot.classes) == ("/somewhere", "image", ("b", "a"))
    assert (snapshot.fingerprint, snapshot.report) == ("ff", {"used": 2})
    assert snapshot.table.equals(rows)
    first = snapshot.entries()[0]
    assert (first.id, first.uri, first.label, first.split) == ("é 1.png", "/somewhere/é 1.png", "a", "train")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"no snapshot here \(snapshot.json is missing\)"),
        ("{", "not valid JSON"),
        (json.dumps({"schema_version": 99}), "schema version 99, this Assay reads 1"),
    ],
)
def test_a_folder_without_a_whole_snapshot_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "snapshot.json").write_text(content)
    with pytest.raises(InputError, match=message):
        Snapshot.open(tmp_path)


NAMES = st.text(st.characters(blacklist_categories=("Cs",)), max_size=5)
ROWS = st.lists(st.tuples(NAMES, NAMES, st.sampled_from(["", "train"]), NAMES, NAMES), min_size=1, max_size=6)


@given(ROWS, st.randoms(use_true_random=False))
def test_the_fingerprint_ignores_order_and_place_only(rows, random) -> None:
    whole = table(*rows)
    shuffled = list(rows)
    random.shuffle(shuffled)
    elsewhere = table(*shuffled).assign(uri="gs://bucket/x")
    assert fingerprint(elsewhere, "image") == fingerprint(whole, "image")
    assert fingerprint(whole, "sensor") != fingerprint(whole, "image")
    for column in ("id", "label", "split", "group", "sha256"):
        changed = whole.copy()
        changed.loc[0, column] = changed.loc[0, column] + "x"
        assert fingerprint(changed, "image") != fingerprint(whole, "image")
