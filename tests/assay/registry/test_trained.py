"""What has changed since a model was trained: data, config or code."""

from __future__ import annotations

from typing import Any

import pytest

from assay.config import apply_overrides, parse_config
from assay.hashing import code_version
from assay.registry.trained import config_fingerprint, record_training, what_changed
from assay.registry.versions import UnreadableRecord
from assay.storage.objects import ObjectStore


def fingerprint(*overrides: str) -> str:
    base = {"version": 1, "name": "tiny", "data": {"source": "gs://bucket/images"}, "finetune": {"enabled": False}}
    return config_fingerprint(parse_config(apply_overrides(base, list(overrides)), "test"))


def test_a_model_that_was_never_trained_is_trained(store: ObjectStore) -> None:
    assert what_changed(store, "tiny", "data", "config") == (True, "no training of tiny is on record")


def test_the_same_data_config_and_code_are_told_with_their_run(store: ObjectStore) -> None:
    record = record_training(store, "tiny", "data", "config", "run-1")
    changed, said = what_changed(store, "tiny", "data", "config")
    assert not changed
    assert record.finished[:10] in said
    assert "(run run-1)" in said
    # Of another model nothing is known.
    assert what_changed(store, "other", "data", "config")[0]


@pytest.mark.parametrize(
    ("data", "config", "code", "said"),
    [
        ("new", "config", None, "the data"),
        ("data", "new", None, "the config"),
        ("data", "config", "0.2.0+feedfeedfeed", f"the code ({code_version()}, now 0.2.0+feedfeedfeed)"),
        ("new", "new", None, "the data; the config"),
    ],
)
def test_what_differs_from_the_last_training_is_named(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch, data: str, config: str, code: str | None, said: str
) -> None:
    record_training(store, "tiny", "data", "config")
    if code:
        monkeypatch.setattr("assay.registry.trained.code_version", lambda: code)
    changed, sentence = what_changed(store, "tiny", data, config)
    assert changed
    assert sentence.startswith("changed since the training of ")
    assert sentence.endswith(f": {said}")


def test_an_earlier_training_counts_as_well_as_the_last(store: ObjectStore) -> None:
    for data in ("first", "second"):
        record_training(store, "tiny", data, "config", f"run-{data}")
    changed, said = what_changed(store, "tiny", "first", "config")
    assert not changed
    assert "(run run-first)" in said


def test_a_damaged_record_is_no_reason_to_believe_either(store: ObjectStore) -> None:
    record_training(store, "tiny", "data", "config")
    store.write_bytes("models/tiny/trained/latest.json", b"{")
    with pytest.raises(UnreadableRecord, match=r"trained/latest\.json"):
        what_changed(store, "tiny", "new", "config")


@pytest.mark.parametrize(
    "override",
    ["seed=1", "baseline.epochs=9", "evaluate.confidence=0.9", "data.image_size=[9,9]", "search.enabled=true"],
)
def test_what_makes_another_model_or_decision_makes_another_fingerprint(override: str) -> None:
    base: Any = "search.enabled=false"
    assert fingerprint(base) != fingerprint(base, override)


@pytest.mark.parametrize(
    "override",
    [
        "data.source=gs://b/elsewhere",
        "data.shards=4",
        "storage.root=gs://other",
        "runtime.workers=1",
        "finetune.epochs=9",
    ],
)
def test_addresses_parts_machines_and_candidates_that_are_off_make_none(override: str) -> None:
    assert fingerprint() == fingerprint(override)
