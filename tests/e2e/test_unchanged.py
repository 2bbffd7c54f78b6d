"""Two runs give what they gave at commit 5c8bf8c, before the rooms of the library were laid out anew.

Fingerprints, counts and decisions are the same to the letter. Metrics were taken in float32 on two threads of a
processor with AVX-512: where another one rounds otherwise, a few ranks move. So an AUC may differ by 0.02, a share of
images by one image of the class, a loss by 2%. A change that is meant to alter results writes its own figures here
and says why:

- Probabilities are calibrated by slope and intercept where it was a temperature: every log loss is another. Of two
  thresholds that Youden's index finds equal on so few images, the one nearer to a calibrated one half is another.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

TINY: dict[str, Any] = {
    "snapshot": "8e2fc22a9c3a28ee165776e47b43742fa6f9de525c900c92262a19eac76e2bbe",
    "dataset": "0531778fd1b3e713e9d51a56e8560ccc",
    "counts": {
        "train": {"normal": 80, "tumor": 80},
        "valid": {"normal": 20, "tumor": 20},
        "test": {"normal": 20, "tumor": 20},
    },
    "best": "finetune",
    "candidates": {
        "baseline": {
            "parameters": 175_962,
            "test_auc": 0.37,
            "test_accuracy": 0.35,
            "test_sensitivity": 0.5,
            "test_specificity": 0.2,
            "test_log_loss": 0.77442,
            "val_auc": 0.6325,
            "val_log_loss": 0.66044,
        },
        "search": {
            "parameters": 2_682,
            "test_auc": 0.595,
            "test_accuracy": 0.5,
            "test_sensitivity": 0.3,
            "test_specificity": 0.7,
            "test_log_loss": 0.68099,
            "val_auc": 0.5725,
            "val_log_loss": 0.68010,
        },
        "finetune": {
            "parameters": 14_715_714,
            "test_auc": 0.8875,
            "test_accuracy": 0.775,
            "test_sensitivity": 0.8,
            "test_specificity": 0.75,
            "test_log_loss": 0.45261,
            "val_auc": 0.875,
            "val_log_loss": 0.43239,
        },
    },
}
HYPERPARAMETERS = {
    "width": 8,
    "depth": 2,
    "kernel": 3,
    "pooling": "average",
    "dense": 64,
    "dropout": 0.5,
    "optimizer": "adam",
    "batch_size": 32,
    "learning_rate": 0.000843,
}
PATCHES: dict[str, Any] = {
    "snapshot": "618083590c11ced5fe8176bd0a194ba67a425e3fec568591c8464bf99c08851c",
    "dataset": "88359a70e338e77261c0c787d9e7d070",
    "counts": {split: {"0": 150, "1": 150} for split in ("train", "valid", "test")},
    "best": "baseline",
    "candidates": {
        "baseline": {
            "parameters": 176_090,
            "test_auc": 0.87324,
            "test_accuracy": 0.80333,
            "test_sensitivity": 0.79333,
            "test_specificity": 0.81333,
            "test_log_loss": 0.45629,
            "val_auc": 0.8544,
            "val_log_loss": 0.46623,
        },
        "finetune": {
            "parameters": 14_715_714,
            "test_auc": 0.78529,
            "test_accuracy": 0.71333,
            "test_sensitivity": 0.67333,
            "test_specificity": 0.75333,
            "test_log_loss": 0.56689,
            "val_auc": 0.81213,
            "val_log_loss": 0.52699,
        },
    },
}
PATCHES_CONFIG = """
version: 1
name: patches
data: {positive_class: "1", limit_per_class: 150}
augment: {policy: {quarter_turns: true, horizontal_flip: true}, preview_images: 1}
baseline: {model: {name: compact}, epochs: 3, batch_size: 32}
search: {enabled: false}
finetune: {unfreeze_from: block5_conv1, frozen: {epochs: 5}, epochs: 1}
evaluate: {resamples: 200, gradcam_images: 2}
runtime: {precision: float32, workers: 2}
"""


def output(folder: Path, name: str) -> Any:
    """Return one JSON file that a step of the folder's first run wrote; folders of runs begin with the time."""
    return json.loads(min((folder / "runs" / "steps").rglob(name)).read_text(encoding="utf-8"))


def check_data(folder: Path, before: dict[str, Any]) -> None:
    dataset = output(folder, "dataset.json")
    assert dataset["snapshot"]["fingerprint"] == before["snapshot"]
    assert dataset["fingerprint"] == before["dataset"]
    assert dataset["counts"] == before["counts"]


def check_metrics(folder: Path, before: dict[str, Any]) -> None:
    comparison = output(folder, "comparison.json")
    assert comparison["best"] == before["best"]
    rows = {row["name"]: row for row in comparison["leaderboard"]}
    assert rows.keys() == before["candidates"].keys()
    images = min(before["counts"]["test"].values())
    for name, expected in before["candidates"].items():
        assert rows[name]["parameters"] == expected["parameters"]
        for metric in expected.keys() - {"parameters"}:
            if metric.endswith("log_loss"):
                wanted = pytest.approx(expected[metric], rel=0.02)
            else:
                wanted = pytest.approx(expected[metric], abs=0.02 if metric.endswith("auc") else 1.01 / images)
            assert rows[name][metric] == wanted, f"{name}: {metric}"


def check_decision(folder: Path, name: str, before: dict[str, Any]) -> None:
    decision = output(folder, "decision.json")
    kept = {key: decision[key] for key in ("name", "candidate", "version", "champion", "champion_before", "promoted")}
    assert kept == {
        "name": name,
        "candidate": before["best"],
        "version": "v1",
        "champion": "v1",
        "champion_before": "",
        "promoted": True,
    }
    assert decision["reason"].startswith(f"v1 ({before['best']}) is the new champion of {name} and its first: test AUC")
    assert decision["dataset_fingerprint"] == before["dataset"]
    assert decision["test_images"] == sum(before["counts"]["test"].values())


def test_the_tiny_demo_reads_and_splits_the_same_data(workplace: Path) -> None:
    check_data(workplace, TINY)


def test_the_tiny_demo_trains_the_same_models(workplace: Path) -> None:
    check_metrics(workplace, TINY)
    assert output(workplace, "best_hyperparameters.json") == HYPERPARAMETERS


def test_the_tiny_demo_takes_the_same_decision(workplace: Path) -> None:
    check_decision(workplace, "tiny", TINY)


@pytest.mark.slow
def test_a_seeded_subset_of_real_patches_gives_the_same_results(
    tmp_path: Path, assay, pcam: Path, vgg16_weights: Path
) -> None:
    (tmp_path / "patches.yaml").write_text(PATCHES_CONFIG, encoding="utf-8")
    assay("run", "patches.yaml", "--data", pcam, "--weights", vgg16_weights, cwd=tmp_path)
    check_data(tmp_path, PATCHES)
    check_metrics(tmp_path, PATCHES)
    check_decision(tmp_path, "patches", PATCHES)
