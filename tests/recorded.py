"""A run's steps called one after another, as the graph calls them, so that tests have a record that promote wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from assay import steps
from assay.config import parse_config
from assay.storage.objects import open_store
from assay.storage.records import RunRecord, read_record
from pipelines.training import pipeline_arguments

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
    names = ("dataset", "policy", "model", "evaluation", "page", "curves.html", "decision")
    at = {name.removesuffix(".html"): str(folder / name) for name in names}
    data, runtime, root, marker = given["data"], given["runtime"], given["storage_root"], str(folder / "metrics")
    snapshot = steps.ingest(data, root, "tiny", False, at["page"], marker).value
    steps.preprocess(data, snapshot, 0, runtime, at["dataset"], marker)
    steps.augment(given["augment_config"], runtime, at["dataset"], 0, at["policy"], at["page"], marker)
    steps.baseline(
        given["baseline_config"], runtime, at["dataset"], at["policy"], 0, root, at["model"], at["curves"], marker
    )
    steps.evaluate(
        given["evaluate_config"], runtime, at["dataset"], {"baseline": at["model"]}, 0, at["evaluation"], at["page"],
        at["page"], at["page"], marker,
    )  # fmt: skip
    steps.promote(
        given["promote_config"], runtime, "tiny", root, at["dataset"], at["evaluation"], 0, run_id, data,
        given["augment_config"], given["evaluate_config"], at["decision"], marker,
    )  # fmt: skip
    record = read_record(open_store(root), run_id)
    assert record is not None
    return record
