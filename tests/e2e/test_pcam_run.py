"""The whole pipeline on a few hundred real patches, with the real ImageNet weights."""

from __future__ import annotations

import json
from pathlib import Path

SMALL = """
version: 1
name: patches
data: {positive_class: "1", limit_per_class: 150}
augment: {policy: {quarter_turns: true, horizontal_flip: true}, preview_images: 1}
baseline: {enabled: false}
search: {enabled: false}
finetune: {unfreeze_from: block5_conv1, frozen: {epochs: 5}, epochs: 1}
evaluate: {resamples: 200, gradcam_images: 2}
"""


def test_transfer_beats_chance_on_real_patches_and_the_test_split_is_the_folders(
    tmp_path: Path, assay, pcam: Path, vgg16_weights: Path
) -> None:
    (tmp_path / "small.yaml").write_text(SMALL, encoding="utf-8")
    assay("run", "small.yaml", "--data", pcam, "--weights", vgg16_weights, cwd=tmp_path)
    comparison = json.loads(next((tmp_path / "runs" / "steps").rglob("comparison.json")).read_text(encoding="utf-8"))
    (row,) = comparison["leaderboard"]
    assert row["test_auc_low"] > 0.65
    dataset = json.loads(next((tmp_path / "runs" / "steps").rglob("dataset.json")).read_text(encoding="utf-8"))
    assert dataset["counts"]["test"] == {"0": 150, "1": 150}
