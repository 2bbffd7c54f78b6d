"""The page of a training step."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from assay.models.info import ModelInfo
from assay.registry.records import RunRecord
from assay.training.curves_page import write_page
from assay.training.result import TrainingResult


def test_the_page_shows_curves_and_metrics_and_needs_nothing_else(recorded: RunRecord, tmp_path: Path) -> None:
    (candidate,) = recorded.candidates.values()
    info = ModelInfo(name="cnn", classes=("a", "b"), input_shape=(16, 16, 3), parameters=16690)
    (tmp_path / "model.json").write_text(info.model_dump_json(), encoding="utf-8")
    result = TrainingResult(tmp_path, {**candidate.training, "not_learning": 1.0}, pd.DataFrame(candidate.history))
    write_page("baseline", result, tmp_path / "curves.html")
    page = (tmp_path / "curves.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2
    assert f"validation AUC {candidate.training['val_auc']:.3f}" in page
    assert "learnt nothing" in page
    assert "images_per_second" in page
    assert "http" not in page
    assert "src=" not in page


def test_a_model_that_was_not_trained_has_a_page_too(recorded: RunRecord, tmp_path: Path) -> None:
    (candidate,) = recorded.candidates.values()
    info = ModelInfo(name="cnn", classes=("a", "b"), input_shape=(16, 16, 3))
    (tmp_path / "model.json").write_text(info.model_dump_json(), encoding="utf-8")
    metrics = {"epochs_run": 0.0, "not_learning": 0.0}
    write_page("finetune", TrainingResult(tmp_path, metrics, pd.DataFrame(candidate.history)[:0]), tmp_path / "c.html")
    page = (tmp_path / "c.html").read_text(encoding="utf-8")
    assert "No epoch was trained." in page
    assert "no validation AUC" in page
