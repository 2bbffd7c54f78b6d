"""Hypermodels: a trial's values become a network and its training; heads on VGG16 train on cached features."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assay.config import Policy, RuntimeConfig, SearchConfig
from assay.data.dataset import Dataset
from assay.data.shards import write_dataset
from assay.models.artifact import load_model
from assay.models.weights import VGG16_SHA256
from assay.runtime import apply_runtime
from assay.search.hypermodels import SGD_MOMENTUM, HeadHyperModel, open_hypermodel, train_config
from assay.search.search import run_search
from assay.search.spec import SearchSpec

VALUES = {
    "width": 8,
    "depth": 2,
    "kernel": 3,
    "pooling": "flatten",
    "dense": 16,
    "dropout": 0.5,
    "optimizer": "sgd",
    "batch_size": 32,
    "learning_rate": 0.003,
}


def test_a_trial_trains_at_full_length_on_the_objective() -> None:
    search = SearchConfig(epochs=7, objective="val_loss")
    config = train_config(search, VALUES)
    assert (config.epochs, config.batch_size, config.callbacks.monitor) == (7, 32, "val_loss")
    assert (config.optimizer.name, config.optimizer.learning_rate) == ("sgd", 0.003)
    assert (config.optimizer.momentum, config.optimizer.nesterov) == (SGD_MOMENTUM, True)
    assert train_config(search, VALUES | {"optimizer": "adam"}).optimizer.momentum == 0


def test_the_cnn_is_the_registered_one_of_these_values(dataset: Dataset) -> None:
    spec = SearchSpec(SearchConfig(), RuntimeConfig(), Policy(), str(dataset.root), "", seed=0)
    whole = open_hypermodel(spec, dataset).build(VALUES, seed=1).whole
    assert whole.name == "cnn"
    names = [layer.name for layer in whole.layers]
    assert [name for name in names if "conv" in name] == ["block1_conv1", "block2_conv1"]
    assert {"head_flatten", "head_dense", "head_dropout", "head_output"} <= set(names)
    again = open_hypermodel(spec, dataset).build(VALUES, seed=1).whole
    for ours, theirs in zip(whole.weights, again.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


@pytest.fixture(scope="module")
def patches(pcam: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """120 real training patches and 60 for validation, their centres of 32x32."""
    splits = {}
    for split, count in {"train": 60, "valid": 30, "test": 4}.items():
        images, labels = [], []
        for label in (0, 1):
            for path in sorted((pcam / split).glob(f"{label}/*.jpg"))[:count]:
                images.append(np.asarray(Image.open(path).convert("RGB"))[32:64, 32:64])
                labels.append(label)
        splits[split] = (np.stack(images), np.array(labels, dtype=np.int64), None)
    return write_dataset(tmp_path_factory.mktemp("patches") / "dataset", splits, ["normal", "tumour"])


@pytest.fixture
def head_search(vgg16_weights: Path) -> SearchConfig:
    return SearchConfig.model_validate(
        {
            "hypermodel": "vgg16_head",
            "weights": str(vgg16_weights),
            "tuner": "random",
            "trials": 3,
            "epochs": 3,
            "space": {"dense": [0, 16], "batch_size": [30], "learning_rate": [1e-3, 1e-2]},
        }
    )


def test_heads_are_searched_on_features_and_the_model_takes_pixels(
    head_search: SearchConfig, patches: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime = RuntimeConfig(precision="float32", workers=2, cache_dir=str(tmp_path / "cache"))
    policy = Policy(horizontal_flip=True)
    result = run_search(head_search, runtime, patches.root, policy, tmp_path / "out", 0, str(tmp_path / "store"))
    said = capsys.readouterr().out
    assert said.count("features after") == 2, "once for each kind of head, and not for each trial"
    assert result.metrics["search_trials"] == 3
    loaded = load_model(result.model_dir)
    assert (loaded.info.name, loaded.info.weights_hash) == ("vgg16", VGG16_SHA256)
    with (tmp_path / "out" / "trials.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert "width" not in rows[0]
    (best,) = [row for row in rows if row["best"]]
    # The score was measured on features; this one is of the whole model, from pixels.
    assert result.metrics["val_auc"] == pytest.approx(float(best["val_auc"]), abs=1e-6)
    assert loaded.info.parameters == int(best["parameters"])


def test_features_are_shared_by_trials_and_show_two_views(
    head_search: SearchConfig, patches: Dataset, tmp_path: Path
) -> None:
    runtime = RuntimeConfig(precision="float32", workers=2, cache_dir=str(tmp_path / "cache"))
    apply_runtime(runtime, 0)
    spec = SearchSpec(head_search, runtime, Policy(vertical_flip=True), str(patches.root), str(tmp_path), seed=0)
    hypermodel = open_hypermodel(spec, patches)
    assert isinstance(hypermodel, HeadHyperModel)
    values = {**VALUES, "pooling": "average", "batch_size": 30}
    built = hypermodel.build(values, seed=1)
    batches = hypermodel.training(values, seed=1)
    features, labels = batches[0]
    assert features.shape == (30, *built.trainable.input_shape[1:])
    np.testing.assert_array_equal(labels, patches.train.labels[batches.order(0)[:30]])
    assert len(batches.views) == 2  # type: ignore[attr-defined]
    assert not np.array_equal(batches.views[0], batches.views[1])  # type: ignore[attr-defined]
    assert len(hypermodel.validation(values).inputs) == len(patches.valid)


def test_random_weights_are_the_same_for_features_and_for_the_model(
    head_search: SearchConfig, patches: Dataset, tmp_path: Path
) -> None:
    search = head_search.model_copy(update={"weights": "none", "trials": 1, "epochs": 1})
    runtime = RuntimeConfig(precision="float32", workers=2, cache_dir=str(tmp_path / "cache"))
    result = run_search(search, runtime, patches.root, Policy(), tmp_path / "out", 0, str(tmp_path / "store"))
    with (tmp_path / "out" / "trials.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert result.metrics["val_auc"] == pytest.approx(float(row["val_auc"]), abs=1e-6)
