"""A run's steps called one after another, as the graph calls them, so that tests have a record that promote wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from assay import steps
from assay.config import RunConfig, parse_config
from assay.registry.records import RunRecord, read_record
from assay.storage.open import open_store
from pipelines.graphs.training import pipeline_arguments

SECTIONS: dict[str, Any] = {
    "data": {"image_size": [16, 16], "near_duplicates": False},
    "augment": {"preview_images": 1},
    "baseline": {
        "model": {"name": "cnn", "options": {"width": 4, "depth": 1}},
        "epochs": 3,
        "batch_size": 16,
        "optimizer": {"learning_rate": 0.01},
    },
    "search": {"enabled": False},
    "finetune": {"enabled": False},
    "evaluate": {"resamples": 100, "gradcam_images": 1},
}


def tiny_config(folder: Path) -> RunConfig:
    """Return the config of a run on images that any network tells apart, drawn below a folder, its store included."""
    source = folder / "images"
    draw_images(source)
    sections = {**SECTIONS, "data": {**SECTIONS["data"], "source": str(source)}}
    return parse_config({"version": 1, "name": "tiny", "storage": {"root": str(folder / "store")}, **sections})


def draw_images(folder: Path, count: int = 80) -> None:
    """Draw noise, dark for one class and bright for the other: a champion has to be better than guessing."""
    random = np.random.default_rng(0)
    for label, level in (("dark", 60), ("bright", 190)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = random.integers(level - 60, level + 60, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.png")


def recorded_run(folder: Path, run_id: str) -> RunRecord:
    """Run all steps with one candidate below a folder, its store included, and return the record in the store."""
    config = tiny_config(folder)
    given = pipeline_arguments(config)
    at = {name: str(folder / name) for name in ("dataset", "policy", "model", "evaluation", "decision")}
    root, page = given["system_storage_root"], str(folder / "page")
    common = {"runtime": "", "seed": 0, "dataset_path": at["dataset"]}
    snapshot = steps.ingest(
        data=given["data"],
        storage_root=root,
        name="tiny",
        seed=0,
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
        policy="",
        policy_path=at["policy"],
        model_path=at["model"],
        page_path=page,
        **common,
    )
    steps.evaluate(
        evaluate=given["evaluate"],
        candidates={"baseline": at["model"]},
        name="tiny",
        storage_root=root,
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
