"""Probabilities come from the model that they are said to come from."""

from __future__ import annotations

import shutil

import numpy as np

from assay.evaluation.predictions import eight_views, predict_split, uncalibrated, validation_probabilities
from assay.measures.calibration import Calibration
from assay.models.artifact import LoadedModel, load_model


def test_stored_validation_probabilities_are_used_where_they_fit(candidates, grouped, capsys):
    model = load_model(candidates["search"])
    stored = validation_probabilities(candidates["search"], model, grouped.valid)
    assert "predict" not in capsys.readouterr().out
    assert np.abs(stored - predict_split(model, grouped.valid.inputs)).max() < 1e-4


def test_probabilities_of_another_model_or_other_cases_are_not_believed(candidates, grouped, tmp_path, capsys):
    model = load_model(candidates["search"])
    honest = predict_split(model, grouped.valid.inputs)
    folder = tmp_path / "model"
    shutil.copytree(candidates["search"], folder)
    labels = grouped.valid.labels
    for labels_, probabilities in (
        (labels, honest[:, ::-1]),
        (1 - labels, honest),
        (labels[:50], honest[:50]),
        (labels, np.full_like(honest, np.nan)),
    ):
        np.savez(folder / "validation.npz", labels=labels_, probabilities=probabilities)
        assert np.abs(validation_probabilities(folder, model, grouped.valid) - honest).max() < 1e-4
    (folder / "validation.npz").write_bytes(b"not an archive")
    assert np.abs(validation_probabilities(folder, model, grouped.valid) - honest).max() < 1e-4
    (folder / "validation.npz").unlink()
    assert np.abs(validation_probabilities(folder, model, grouped.valid) - honest).max() < 1e-4
    assert "is not of this model" in capsys.readouterr().out


def test_the_calibration_is_left_off(candidates, grouped):
    model = load_model(candidates["search"])
    hot = LoadedModel(model.info.model_copy(update={"calibration": Calibration(slopes=(0.3, 0.3))}), model.model)
    inputs = grouped.valid.inputs[:8]
    assert np.abs(predict_split(hot, inputs) - model.predict(inputs)).max() < 1e-6
    assert np.abs(hot.predict(inputs) - uncalibrated(hot).predict(inputs)).max() > 1e-3


def test_views_are_the_eight_turns_and_mirrors_of_a_square():
    image = np.arange(2 * 3 * 3 * 1).reshape(2, 3, 3, 1)
    views = eight_views(image)
    assert len({view.tobytes() for view in map(np.ascontiguousarray, views)}) == 8
    assert (views[0] == image).all()
    assert all(view.shape == image.shape for view in views)
    assert len(eight_views(np.zeros((2, 3, 5, 1)))) == 4
    assert len(eight_views(np.zeros((2, 30, 5)))) == 1


def test_the_mean_over_views_does_not_depend_on_how_the_image_lies(candidates, grouped):
    model = load_model(candidates["search"])
    images = grouped.valid.inputs[:6]
    turned = np.ascontiguousarray(np.rot90(images, 1, axes=(1, 2)))
    assert np.abs(predict_split(model, images, views=True) - predict_split(model, turned, views=True)).max() < 1e-5
