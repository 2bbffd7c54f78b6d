"""Whole runs through the command line, as a user starts them."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TINY = """
version: 1
name: tiny
data: {source: "demo://tissue?images=240&size=32&slides=24&difficulty=0.3&seed=0"}
augment: {policy: {quarter_turns: true, horizontal_flip: true}, preview_images: 1}
baseline: {model: {name: compact}, epochs: 2, batch_size: 32}
search: {trials: 2, epochs: 1, tuner: random, space: {width: [8], depth: [2], kernel: [3]}}
finetune:
  unfreeze_from: block5_conv1
  frozen: {epochs: 2}
  epochs: 1
  optimizer: {name: adamw, learning_rate: 0.0001}
evaluate: {resamples: 200, gradcam_images: 2}
runtime: {precision: float32, workers: 2}
"""

Assay = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def assay() -> Assay:
    """Call the command line in a subprocess: ``assay("run", config, cwd=folder, status=0)``."""

    def call(*arguments: object, cwd: Path, status: int = 0, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pipelines.cli", *map(str, arguments)]
        environment = {**os.environ, "COLUMNS": "160", "ASSAY_CACHE": str(cwd / "cache")}
        done = subprocess.run(command, cwd=cwd, env=environment, text=True, capture_output=True, timeout=timeout)
        assert done.returncode == status, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}\n{_logs(cwd)}"
        return done

    return call


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory, assay: Assay, vgg16_weights: Path) -> Path:
    """A folder in which the tiny demo has been run once; the processes of one test run share it."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, said = base / "demo", base / "demo" / "first.txt"
    folder.mkdir(exist_ok=True)
    with (base / "demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not said.exists():
            (folder / "tiny.yaml").write_text(TINY, encoding="utf-8")
            done = assay("run", "tiny.yaml", "--weights", vgg16_weights, cwd=folder)
            assert "Traceback" not in done.stdout + done.stderr
            assert not [line for line in done.stderr.splitlines() if "oneDNN" in line or "cuda" in line.lower()]
            said.write_text(done.stdout, encoding="utf-8")
    return folder


def _logs(folder: Path) -> str:
    return "\n".join(path.read_text(encoding="utf-8")[-6000:] for path in sorted(folder.rglob("run.log")))
