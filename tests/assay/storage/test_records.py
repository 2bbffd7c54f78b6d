"""Records of runs: what promote writes, and what is read back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from assay.errors import AssayError
from assay.storage.objects import ObjectStore, open_store
from assay.storage.records import RunRecord, read_record, read_records, write_record
from tests.recorded import SECTIONS


def test_a_run_is_recorded_with_what_it_was_given(recorded: RunRecord) -> None:
    assert (recorded.run_id, recorded.name, recorded.seed) == ("run-1", "tiny", 0)
    assert recorded.config["data"]["image_size"] == [16, 16]
    assert recorded.config["baseline"]["epochs"] == SECTIONS["baseline"]["epochs"]
    assert recorded.config["finetune"] == {"enabled": False}
    assert set(recorded.config) > {"augment", "evaluate", "promote", "runtime"}
    assert recorded.source.startswith("demo://tissue?images=120")


def test_a_run_is_recorded_with_scores_cost_and_curves_of_its_candidates(recorded: RunRecord) -> None:
    (candidate,) = recorded.candidates.values()
    assert recorded.best == "baseline"
    assert candidate.model == "cnn"
    metrics = candidate.metrics
    assert metrics["test_auc_low"] <= metrics["test_auc"] <= metrics["test_auc_high"]
    assert candidate.training["train_seconds"] > 0
    # What the step cost, its start included: seconds at 0.36 an hour.
    assert candidate.training["cost"] == pytest.approx(candidate.training["step_seconds"] * 0.0001)
    assert [row["epoch"] for row in candidate.history] == [1, 2]
    (kept,) = [row for row in candidate.history if row["kept"]]
    assert kept["epoch"] == candidate.training["best_epoch"]
    assert kept["val_auc"] == pytest.approx(candidate.training["val_auc"], abs=1e-6)


def test_a_run_is_recorded_with_its_decision(recorded: RunRecord) -> None:
    decision = recorded.decision
    assert (decision.promoted, decision.version, decision.champion_before) == (True, "v1", "")
    assert "new champion of tiny" in decision.reason


def test_records_read_back_the_latest_first(store: ObjectStore, recorded: RunRecord) -> None:
    later = recorded.model_copy(update={"run_id": "run-2", "finished": "2999-01-01T00:00:00+00:00"})
    for record in (later, recorded):
        write_record(store, record)
    assert read_record(store, "run-1") == recorded
    assert [record.run_id for record in read_records(store)] == ["run-2", "run-1"]


def test_a_step_tried_again_replaces_its_record(store: ObjectStore, recorded: RunRecord) -> None:
    write_record(store, recorded)
    write_record(store, recorded.model_copy(update={"best": "finetune"}))
    (record,) = read_records(store)
    assert record.best == "finetune"


def test_a_run_without_record_is_none_and_a_damaged_one_is_named(tmp_path: Path, recorded: RunRecord) -> None:
    store = open_store(tmp_path)
    assert read_record(store, "run-1") is None
    assert read_records(store) == []
    newer = {**json.loads(recorded.to_bytes()), "schema_version": 2}
    store.write_bytes("runs/run-1.json", json.dumps(newer).encode())
    with pytest.raises(AssayError, match=r"runs/run-1\.json: not a run record that this Assay can read"):
        read_record(store, "run-1")
