"""What a dataset and a policy mean for training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from assay.config import ColorJitter, ModelConfig, Policy, RuntimeConfig, SignalChange
from assay.data.dataset import DATASET_FILE, Dataset
from assay.data.shards import write_dataset, write_description
from assay.training.compiled import Forward
from assay.training.data import augmenter_for, build_for, changes_images, training_batches


@pytest.mark.parametrize(
    ("policy", "changes"),
    [
        (Policy(), False),
        (Policy(views=3, fill_mode="constant", fill_value=7), False),
        (Policy(zca_whitening=True), False),
        (Policy(vertical_flip=True), True),
        (Policy(brightness_range=(0.9, 1.1)), True),
        (Policy(color_jitter=ColorJitter(hue=0.1)), True),
    ],
)
def test_a_policy_changes_images_when_an_operation_has_a_range(policy: Policy, changes: bool, spots: Dataset) -> None:
    assert changes_images(policy) == changes
    assert (augmenter_for(spots, policy, 0) is not None) == changes


def test_training_batches_hold_every_image_once_an_epoch_with_its_label(spots: Dataset) -> None:
    batches = training_batches(spots, Policy(horizontal_flip=True), 32, 3, RuntimeConfig(workers=1))
    labels = np.concatenate([batches[index][1] for index in range(len(batches))])
    np.testing.assert_array_equal(labels, spots.train.labels[batches.order(0)])
    assert batches[0][0].dtype == np.uint8


def test_whitening_is_fitted_on_the_training_split_and_part_of_the_model(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images = np.repeat(random.integers(0, 256, (60, 12, 12, 1), dtype=np.uint8), 3, axis=3)
    labels = np.arange(60) % 2
    parts = {"train": slice(0, 40), "valid": slice(40, 50), "test": slice(50, 60)}
    splits = {name: (images[part], labels[part], None) for name, part in parts.items()}
    dataset = write_dataset(tmp_path / "grey", splits, ["a", "b"])
    config = ModelConfig(name="cnn", options={"width": 4, "depth": 1, "dense": 0})
    model = build_for(dataset, config, Policy(zca_whitening=True), 0)
    assert any("whiten" in layer.name for layer in model.layers)
    assert not any("whiten" in layer.name for layer in build_for(dataset, config, Policy(), 0).layers)
    assert Forward(model).probabilities(dataset.valid.inputs).shape == (10, 2)


def _sensors(folder: Path, simulate: float, policy: str) -> Dataset:
    windows = np.random.default_rng(0).normal(5, 1, (30, 16, 2)).astype(np.float32)
    labels = np.arange(30) % 2
    parts = {"train": slice(0, 20), "valid": slice(20, 25), "test": slice(25, 30)}
    splits = {name: (windows[part], labels[part], None) for name, part in parts.items()}
    write_dataset(folder, splits, ["a", "b"])
    path = folder / DATASET_FILE
    description = json.loads(path.read_text())
    description["missing"] = {"policy": policy, "simulate": simulate, "fractions": {}}
    write_description(folder, description)
    return Dataset.open(folder)


@pytest.mark.parametrize("policy", ["mean", "error"])
def test_values_that_may_be_missing_in_use_are_hidden_in_training(tmp_path: Path, policy: str) -> None:
    dataset = _sensors(tmp_path / "sensors", 0.3, policy)
    batches = training_batches(dataset, Policy(), 20, 0, RuntimeConfig(workers=1))
    shown, kept = batches[0][0], dataset.train.inputs[batches.order(0)]
    hidden = shown != kept
    assert 0.2 < hidden.mean() < 0.4
    np.testing.assert_allclose(shown[hidden], np.broadcast_to(dataset.mean, shown.shape)[hidden], rtol=1e-5)


def test_windows_are_changed_as_the_policy_of_signals_says(tmp_path: Path) -> None:
    dataset = _sensors(tmp_path / "sensors", 0.0, "mean")
    policy = Policy(signal=SignalChange(jitter=0.1))
    batches = training_batches(dataset, policy, 20, 0, RuntimeConfig(workers=1))
    noise = batches[0][0] - dataset.train.inputs[batches.order(0)]
    np.testing.assert_allclose(noise.std(axis=(0, 1)), 0.1 * np.array(dataset.std), rtol=0.15)
    assert augmenter_for(dataset, Policy(signal=SignalChange()), 0) is None


def test_whole_sensor_windows_are_left_alone_whatever_the_policy_of_images(tmp_path: Path) -> None:
    dataset = _sensors(tmp_path / "sensors", 0.0, "mean")
    assert augmenter_for(dataset, Policy(horizontal_flip=True), 0) is None
