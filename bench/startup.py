"""Start-up: the command line, the imports of a training step, and a pipeline whose steps are all cached."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from bench.harness import Finding, Measurement, Outcome, Settings

# A pipeline that trains next to nothing. A quick run leaves out two of its eight steps: cached, they cost nothing.
CONFIG = """
version: 1
name: startup
data: {source: "demo://tissue?images=240&size=32&slides=24&difficulty=0.3&seed=0"}
augment: {policy: {quarter_turns: true}, preview_images: 1}
baseline: {model: {name: compact}, epochs: 1}
evaluate: {resamples: 200, gradcam_images: 1}
"""
FURTHER = """
search: {trials: 1, epochs: 1, tuner: random, space: {width: [8], depth: [2], kernel: [3]}}
finetune: {weights: none, unfreeze_from: block5_conv1, frozen: {epochs: 1}, epochs: 1}
"""
WITHOUT_FURTHER = """
search: {enabled: false}
finetune: {enabled: false}
"""


def run(settings: Settings) -> Outcome:
    """Time each as a user meets it: a process from its start to its end."""
    help_, imports, cached = [], [], []
    folder = settings.folder / "startup"
    folder.mkdir()
    config = CONFIG + (WITHOUT_FURTHER if settings.quick else FURTHER)
    (folder / "config.yaml").write_text(config, encoding="utf-8")
    pipeline = ("-m", "pipelines.cli", "run", "config.yaml")
    environment = {**os.environ, "ASSAY_CACHE": str(folder / "cache"), "PYTHONPATH": os.pathsep.join(sys.path)}

    def seconds(*arguments: str) -> float:
        started = time.perf_counter()
        command = [sys.executable, *arguments]
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True)
        return time.perf_counter() - started

    first = seconds(*pipeline)
    for number in range(settings.rounds):
        help_.append(seconds("-m", "pipelines.cli", "--help"))
        if number == 0 or not settings.quick:
            cached.append(seconds(*pipeline))
        if not settings.quick:
            imports.append(seconds("-c", "import assay.training.finetune"))
    return Outcome(
        "startup",
        "Start-up",
        findings=(
            Finding(8, "assay --help", Measurement("help", "s", tuple(help_)), 0.5, "at most"),
            Finding(8, "a pipeline of cached steps", Measurement("cached", "s", tuple(cached)), 10, "at most"),
        ),
        rates=(
            *([Measurement("imports of a training step", "s", tuple(imports))] if imports else []),
            Measurement("the same pipeline with nothing cached", "s", (first,)),
        ),
    )
