from __future__ import annotations

import json
import re

import numpy as np

from assay.augmentation.sensor_preview import write_sensor_preview
from assay.config import SignalChange
from assay.data.dataset import Dataset
from assay.data.shards import write_dataset, write_description


def dataset(folder, simulate: float) -> Dataset:
    random = np.random.default_rng(0)
    splits = {
        name: (random.normal(size=(count, 30, 2)).astype(np.float32), np.arange(count) % 2, None)
        for name, count in (("train", 12), ("valid", 4), ("test", 4))
    }
    write_dataset(folder, splits, ["walking", "sitting"])
    file = folder / "dataset.json"
    description = json.loads(file.read_text())
    write_description(folder, {**description, "missing": {"policy": "interpolate", "simulate": simulate}})
    return Dataset.open(folder)


def test_windows_are_shown_with_the_values_that_training_hides(tmp_path):
    write_sensor_preview(tmp_path / "preview.html", dataset(tmp_path / "data", 0.2), None, 3, 0)
    page = (tmp_path / "preview.html").read_text(encoding="utf-8")
    assert "<b>20 %</b>" in page and "straight line between their neighbours" in page
    assert "walking" in page and "sitting" in page
    assert page.count("<svg") == 9
    shares = [int(share) for share in re.findall(r"</b>(\d+) % of the values hidden", page)]
    assert len(shares) == 6 and 10 < np.mean(shares) < 30
    assert page.count("<circle") == sum(round(share * 60 / 100) for share in shares)


def test_without_hidden_values_the_windows_are_shown_as_they_are(tmp_path):
    write_sensor_preview(tmp_path / "preview.html", dataset(tmp_path / "data", 0.0), None, 2, 0)
    page = (tmp_path / "preview.html").read_text(encoding="utf-8")
    assert "as it is" in page and "simulate_missing" in page
    assert page.count("<svg") == 2 and "<circle" not in page


def test_changed_windows_are_shown_with_what_is_done_to_them(tmp_path):
    change = SignalChange(scale=0.2, jitter=0.05)
    write_sensor_preview(tmp_path / "preview.html", dataset(tmp_path / "data", 0.0), change, 2, 0)
    page = (tmp_path / "preview.html").read_text(encoding="utf-8")
    assert "swing ×0.82 to ×1.22; noise of 0.05 of each" in page and "No value is hidden" in page
    assert page.count("<svg") == 6 and page.count("</b>changed") == 4
