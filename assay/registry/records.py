"""What a run was given and what came of it: one object a run, ``runs/<id>.json``, for the comparison of runs.

Kubeflow's API tells the parameters and the state of a run, and not what it measured.
"""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from assay.config import CANDIDATES, Section
from assay.data.dataset import Dataset
from assay.hashing import code_version
from assay.registry.versions import StoredRecord
from assay.storage.files import ObjectNotFound
from assay.storage.objects import ObjectStore

RUNS = "runs"


class CandidateRecord(BaseModel):
    """One model of a run."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: str = Field(description="the registered architecture")
    parameters: int = Field(description="weights in all")
    metrics: dict[str, float] = Field(description="of evaluate: test_auc, test_auc_low, test_auc_high, val_auc ...")
    training: dict[str, float] = Field(description="of its step: train_seconds, images_per_second, cost if priced ...")
    history: list[dict[str, Any]] = Field(description="one row an epoch: phase, epoch, loss, val_loss, val_auc ...")


class DecisionRecord(BaseModel):
    """What promote decided."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    promoted: bool
    version: str = Field(description="the best candidate's; empty: it was not kept")
    champion_before: str = Field(description="empty: there was none")
    reason: str
    metric: str


class RunRecord(StoredRecord):
    """One finished run."""

    run_id: str
    name: str = Field(description="of the model in the registry")
    finished: str = Field(description="UTC")
    seed: int
    config: dict[str, Any] = Field(description="the sections of the config that the run used")
    source: str
    dataset_fingerprint: str
    test_fingerprint: str = Field(description="of the test cases and their labels")
    test_images: int
    positive_class: str = Field("", description="of two classes the one that sensitivity is of; empty: more classes")
    confidence: float = Field(description="level of the intervals")
    code_version: str
    image: str
    best: str = Field(description="the candidate that validation chose")
    candidates: dict[str, CandidateRecord]
    decision: DecisionRecord


def make_record(
    run_id: str,
    sections: Mapping[str, Section],
    seed: int,
    evaluation_dir: Path,
    dataset_dir: Path,
    decision_dir: Path,
) -> RunRecord:
    """Return the record of a run that has just been decided.

    Args:
        run_id: Its id; on this machine its folder's name.
        sections: Of the config, by name; data, augment, evaluate and those of the candidates are added from what the
            steps left.
        seed: Of the run.
        evaluation_dir: What evaluate wrote.
        dataset_dir: What preprocess wrote.
        decision_dir: What promote wrote.
    """
    comparison = json.loads((evaluation_dir / "comparison.json").read_text(encoding="utf-8"))
    decision = json.loads((decision_dir / "decision.json").read_text(encoding="utf-8"))
    candidates = comparison["candidates"]
    dataset = Dataset.open(dataset_dir)
    return RunRecord(
        run_id=run_id,
        name=decision["name"],
        finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        seed=seed,
        config={
            "data": dataset.description["config"],
            "augment": {"policy": comparison["policy"]},
            **{name: section.model_dump(mode="json") for name, section in sections.items()},
            "evaluate": comparison["config"],
            **{name: candidates[name]["config"] if name in candidates else {"enabled": False} for name in CANDIDATES},
        },
        source=dataset.description.get("snapshot", {}).get("source", ""),
        dataset_fingerprint=dataset.fingerprint,
        test_fingerprint=comparison["test"]["fingerprint"],
        test_images=comparison["test"]["images"],
        positive_class=comparison.get("positive_class") or "",
        confidence=comparison["intervals"]["confidence"],
        code_version=code_version(),
        image=os.environ.get("ASSAY_IMAGE", "local"),
        best=comparison["best"],
        candidates={name: CandidateRecord.model_validate(values) for name, values in candidates.items()},
        decision=DecisionRecord.model_validate(decision),
    )


def write_record(store: ObjectStore, record: RunRecord) -> None:
    """Store a record; that of the same run is replaced, for a step may be tried again."""
    store.write_bytes(_name(record.run_id), record.to_bytes())


def read_record(store: ObjectStore, run_id: str) -> RunRecord | None:
    """Return the record of a run, or None where there is none.

    Raises:
        UnreadableRecord: It is damaged or of another schema.
    """
    try:
        data = store.read_bytes(_name(run_id))
    except ObjectNotFound:
        return None
    return RunRecord.parse(data, store.uri(_name(run_id)))


def list_records(store: ObjectStore) -> list[str]:
    """Return the ids of the runs that have a record."""
    return [name.removeprefix(f"{RUNS}/").removesuffix(".json") for name in store.list(RUNS) if name.endswith(".json")]


def _name(run_id: str) -> str:
    return f"{RUNS}/{run_id}.json"
