"""The same pipeline on inputs that are no square colour images: wide traces of one channel, and sensor windows."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

# Two whole runs; what is special about these inputs is also tested step by step.
pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).parents[2] / "pipelines" / "configs"
SMALLER = ("evaluate.resamples=200", "evaluate.gradcam_images=2", "augment.preview_images=1")


def run(folder: Path, assay: Any, config: str, *overrides: str) -> Any:
    """Run a shipped config with overrides, and return the dataset's description and the leaderboard's only row."""
    sets = [part for override in (*SMALLER, *overrides) for part in ("--set", override)]
    done = assay("run", CONFIGS / config, *sets, cwd=folder)
    assert "Traceback" not in done.stdout + done.stderr
    dataset = json.loads(next((folder / "runs" / "steps").rglob("dataset.json")).read_text(encoding="utf-8"))
    comparison = json.loads(next((folder / "runs" / "steps").rglob("comparison.json")).read_text(encoding="utf-8"))
    (row,) = comparison["leaderboard"]
    return dataset, row


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory, assay) -> Any:
    """A folder in which the fetal heart-rate config was run on few traces, with what came of it."""
    folder = tmp_path_factory.mktemp("fhr")
    source = "data.source=demo://fhr?images=120&patients=60&difficulty=0.2&seed=0"
    return folder, *run(folder, assay, "fhr.yaml", source, "baseline.epochs=3")


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory, assay) -> Any:
    """A folder in which the sensor config was run on few windows, with what came of it."""
    folder = tmp_path_factory.mktemp("sensors")
    source = "data.source=demo://sensors?windows=360&persons=20&missing=0.05&difficulty=0.2&seed=0"
    return folder, *run(folder, assay, "sensors.yaml", source, "baseline.epochs=4")


def test_wide_images_of_one_channel_keep_their_shape_through_the_pipeline(traces) -> None:
    _, dataset, row = traces
    assert dataset["input_shape"] == [240, 1201, 1]
    assert row["test_auc_low"] <= row["test_auc"] <= row["test_auc_high"]


def test_the_champion_of_traces_answers_for_a_picture_of_any_size(traces, assay) -> None:
    import cv2

    folder, _, _ = traces
    cv2.imwrite(str(folder / "trace.png"), np.full((120, 600), 240, np.uint8))
    (answer,) = csv.DictReader(io.StringIO(assay("predict", folder / "trace.png", "--name", "fhr", cwd=folder).stdout))
    assert answer["label"] in ("normal", "pathological")


def test_windows_with_missing_values_are_filled_and_told_apart(windows) -> None:
    _, dataset, row = windows
    assert dataset["input_shape"] == [80, 3]
    assert dataset["kind"] == "sensor"
    assert row["test_auc"] > 0.8


def test_the_report_of_windows_draws_them(windows) -> None:
    folder, _, _ = windows
    (report,) = (folder / "runs").glob("*-sensors/report.html")
    assert 'class="window' in report.read_text(encoding="utf-8")


def test_the_champion_of_windows_answers_for_a_window_with_gaps(windows, assay) -> None:
    folder, dataset, _ = windows
    window = np.zeros((80, 3), np.float32)
    window[10:20, 1] = np.nan
    np.save(folder / "window.npy", window)
    answers = assay("predict", folder / "window.npy", "--name", "sensors", cwd=folder).stdout
    (answer,) = csv.DictReader(io.StringIO(answers))
    total = sum(float(answer[key]) for key in answer if key.startswith("probability"))
    assert total == pytest.approx(1, abs=1e-4)
    assert len([key for key in answer if key.startswith("probability")]) == len(dataset["classes"]) == 6


def test_a_network_for_windows_refuses_images_before_it_trains(tmp_path: Path, assay) -> None:
    config = yaml.safe_load((CONFIGS / "fhr.yaml").read_text(encoding="utf-8"))
    config["data"]["source"] = "demo://fhr?images=40&patients=20&height=48&width=96&seed=0"
    config["baseline"]["model"] = {"name": "conv1d"}
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    done = assay("run", "wrong.yaml", cwd=tmp_path, status=2)
    (line,) = done.stderr.strip().splitlines()
    assert "conv1d" in line
    assert "sensor windows" in line
