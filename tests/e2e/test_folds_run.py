"""A cross-validation from the command line: killed in the middle, and finished by the same command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from assay.models.info import read_info

CONFIG = """
version: 1
name: tiny
data: {source: "demo://tissue?images=120&size=32&slides=24&difficulty=0&seed=0"}
augment: {preview_images: 1}
baseline: {model: {name: cnn, options: {depth: 1, width: 4, dense: 0}}, epochs: 2, batch_size: 16}
search: {enabled: false}
finetune: {enabled: false}
evaluate: {resamples: 200, gradcam_images: 2}
validate: {folds: 3}
promote: {beat_guessing: false}
runtime: {precision: float32, workers: 1}
"""


def models_of_folds(folder: Path) -> list[Path]:
    return sorted((folder / "runs" / "store" / "folds").glob("*/fold.json"))


@pytest.mark.slow
def test_a_killed_cross_validation_goes_on_fold_by_fold_to_one_report_and_one_model(tmp_path: Path, assay) -> None:
    (tmp_path / "tiny.yaml").write_text(CONFIG, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", "run", "tiny.yaml"],
        cwd=tmp_path,
        env={**os.environ, "ASSAY_CACHE": str(tmp_path / "cache")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    # Once the second fold trains, the first is done and in the cache.
    while process.poll() is None and len(models_of_folds(tmp_path)) < 2:
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in models_of_folds(tmp_path)}
    assert len(kept) == 2

    said = assay("run", "tiny.yaml", cwd=tmp_path).stdout
    assert "baseline, fold 3" in said
    assert "baseline, fold 1" not in said
    assert "all images, by 3 folds" in said
    assert {path: path.stat().st_mtime_ns for path in models_of_folds(tmp_path)}.items() >= {
        path: written for path, written in kept.items() if json.loads(path.read_text())["fold"] == 0
    }.items()
    (evaluation,) = (tmp_path / "runs" / "steps").rglob("comparison.json")
    comparison = json.loads(evaluation.read_text(encoding="utf-8"))
    assert [fold["fold"] for fold in comparison["folds"]] == [1, 2, 3]
    assert comparison["test"]["images"] == len(pd.read_parquet(evaluation.with_name("predictions.parquet"))) == 120
    version = tmp_path / "runs" / "store" / "models" / "tiny" / "versions" / "v1"
    assert read_info(version / "model").config["ensemble"]["members"] == 3
    assert (version / "report" / "out_of_fold.npz").is_file()

    # Again all is reused, and the model meets itself.
    again = assay("run", "tiny.yaml", cwd=tmp_path).stdout
    assert "baseline, fold" not in again
    assert "it is this very model" in again or "the same data, config and code" in again
