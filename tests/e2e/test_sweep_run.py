"""A sweep from the command line: killed in the middle, finished by the same command, wrong input in one line."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

BASE = """
version: 1
data: {source: "demo://tissue?images=240&size=32&slides=24&difficulty=0.3&seed=0"}
augment: {preview_images: 1}
baseline: {model: {name: cnn3}, epochs: 4}
"""
SPEC = """
version: 1
name: tiny
config: base.yaml
seeds: [0, 1]
rows: [{}, {batch_size: 16}, {optimizer: {name: sgd, learning_rate: 0.01, momentum: 0.9, nesterov: true}}]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sweep of six runs."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "base.yaml").write_text(BASE, encoding="utf-8")
    (folder / "sweep.yaml").write_text(SPEC, encoding="utf-8")
    return folder


def records(folder: Path) -> list[Path]:
    return sorted((folder / "runs" / "store" / "sweeps").glob("*/record.json"))


@pytest.mark.slow
def test_a_killed_sweep_goes_on_where_it_was(folder: Path, assay) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", "sweep", "sweep.yaml"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not records(folder) and process.poll() is None:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in records(folder)}
    assert 1 <= len(kept) < 6

    said = assay("sweep", "sweep.yaml", cwd=folder).stdout
    assert len(records(folder)) == 6
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert "0 without a model" in said

    with (folder / "runs" / "sweeps" / "tiny" / "table.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    assert all(row["val_auc_seed_0"] and row["val_auc_seed_1"] for row in rows)
    assert [row["best"] for row in rows].count("*") == 1


@pytest.mark.slow
def test_once_finished_it_only_writes_the_table(folder: Path, assay) -> None:
    said = assay("sweep", "sweep.yaml", cwd=folder).stdout
    assert "0 runs now, 6 from earlier" in said


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("batch_size: 16", "batchsize: 16", "Did you mean 'batch_size'"),
        ("batch_size: 16", "batch_size: 0", "batch_size"),
        ("batch_size: 16", "model: {name: cnn9}", "cnn9"),
        ("base.yaml", "absent.yaml", "absent.yaml"),
    ],
)
def test_wrong_input_is_one_line_before_anything_trains(folder: Path, assay, old: str, new: str, said: str) -> None:
    (folder / "wrong.yaml").write_text(SPEC.replace(old, new), encoding="utf-8")
    before = len(records(folder))
    done = assay("sweep", "wrong.yaml", cwd=folder, status=2)
    (line,) = done.stderr.strip().splitlines()
    assert said in line
    assert len(records(folder)) == before
