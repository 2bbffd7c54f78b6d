"""A run's steps called one after another, as the graph calls them, so that tests have a record that promote wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from assay import steps
from assay.config import parse_config
from assay.registry.records import RunRecord, read_record
from assay.storage.open import open_store
from pipelines.graphs.training import pipeline_arguments

SECTIONS: dict[str, Any] = {
    "data": {"source": "demo://tissue?images=120&size=16&slides=24&difficulty=0.2", "image_size": [16, 16]},
    "augment": {"preview_images": 1},
    "baseline": {"model": {"name": "cnn", "options": {"width": 4, "depth": 1}}, "epochs": 2, "batch_size": 32},
    "search": {"enabled": False},
    "finetune": {"enabled": False},
    "evaluate": {"resamples": 100, "gradcam_images": 1},
}


def recorded_run(folder: Path, run_id: str) -> RunRecord:
    """Run all steps with one candidate below a folder, its store included, and return the record in the store."""
    config = parse_config({"version": 1, "name": "tiny", "storage": {"root": str(folder / "store")}, **SECTIONS})
    given = pipeline_arguments(config)
    at = {name: str(folder / name) for name in ("dataset", "policy", "model", "evaluation", "decision")}
    root, page = given["system_storage_root"], str(folder / "page")
    common = {"runtime": "", "seed": 0, "dataset_path": at["dataset"]}
    snapshot = steps.ingest(
        data=given["data"],
        storage_root=root,
        name="tiny",
        config_fingerprint=given["system_config"],
        skip_unchanged=False,
        quality_path=page,
    ).value
    steps.preprocess(data=given["data"], snapshot=snapshot, **common)
    steps.augment(augment=given["augment"], policy_path=at["policy"], preview_path=page, **common)
    steps.train(
        "baseline",
        config=given["baseline"],
        storage_root=root,
        policy_path=at["policy"],
        model_path=at["model"],
        page_path=page,
        **common,
    )
    steps.evaluate(
        evaluate=given["evaluate"],
        candidates={"baseline": at["model"]},
        evaluation_path=at["evaluation"],
        report_path=page,
        leaderboard_path=page,
        classification_path=page,
        scores_path=page,
        **common,
    )
    steps.promote(
        promote=given.get("promote", ""),
        name="tiny",
        storage_root=root,
        run_id=run_id,
        config_fingerprint=given["system_config"],
        evaluation_path=at["evaluation"],
        decision_path=at["decision"],
        **common,
    )
    record = read_record(open_store(root), run_id)
    assert record is not None
    return record
