"""Records of runs: what promote writes, and what is read back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from assay.registry.records import RunRecord, list_records, read_record, write_record
from assay.registry.versions import UnreadableRecord
from assay.storage.objects import ObjectStore
from assay.storage.open import open_store
from tests.recorded import SECTIONS


def test_a_run_is_recorded_with_what_it_was_given(recorded: RunRecord) -> None:
    assert (recorded.run_id, recorded.name, recorded.seed) == ("run-1", "tiny", 0)
    assert recorded.config["data"]["image_size"] == [16, 16]
    assert recorded.config["baseline"]["epochs"] == SECTIONS["baseline"]["epochs"]
    assert recorded.config["finetune"] == {"enabled": False}
    assert set(recorded.config) > {"augment", "evaluate", "promote", "runtime"}
    assert recorded.source.endswith("/images")


def test_a_run_is_recorded_with_scores_cost_and_curves_of_its_candidates(recorded: RunRecord) -> None:
    (candidate,) = recorded.candidates.values()
    assert recorded.best == "baseline"
    assert candidate.model == "cnn"
    metrics = candidate.metrics
    assert metrics["test_auc_low"] <= metrics["test_auc"] <= metrics["test_auc_high"]
    assert candidate.training["train_seconds"] > 0
    # What the step cost, its start included: seconds at 0.36 an hour.
    assert candidate.training["cost"] == pytest.approx(candidate.training["step_seconds"] * 0.0001)
    assert [row["epoch"] for row in candidate.history] == [1, 2, 3]
    (kept,) = [row for row in candidate.history if row["kept"]]
    assert kept["epoch"] == candidate.training["best_epoch"]
    assert kept["val_auc"] == pytest.approx(candidate.training["val_auc"], abs=1e-6)


def test_a_run_is_recorded_with_its_decision(recorded: RunRecord) -> None:
    decision = recorded.decision
    assert (decision.promoted, decision.version, decision.champion_before) == (True, "v1", "")
    assert "new champion of tiny" in decision.reason


def test_records_are_listed_and_read_back_as_they_were(store: ObjectStore, recorded: RunRecord) -> None:
    for run_id in ("run-1", "run-2"):
        write_record(store, recorded.model_copy(update={"run_id": run_id}))
    assert list_records(store) == ["run-1", "run-2"]
    assert read_record(store, "run-1") == recorded


def test_a_step_tried_again_replaces_its_record(store: ObjectStore, recorded: RunRecord) -> None:
    write_record(store, recorded)
    write_record(store, recorded.model_copy(update={"best": "finetune"}))
    assert list_records(store) == ["run-1"]
    again = read_record(store, "run-1")
    assert again is not None
    assert again.best == "finetune"


def test_a_run_without_record_is_none_and_a_damaged_one_is_named(tmp_path: Path, recorded: RunRecord) -> None:
    store = open_store(tmp_path)
    assert read_record(store, "run-1") is None
    assert list_records(store) == []
    newer = {**json.loads(recorded.to_bytes()), "schema_version": 2}
    store.write_bytes("runs/run-1.json", json.dumps(newer).encode())
    with pytest.raises(UnreadableRecord, match=r"runs/run-1\.json: not a run record that this Assay can read"):
        read_record(store, "run-1")
