"""Small datasets and really trained small models, shared by the tests of evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from assay.config import BaselineConfig, EvaluateConfig, ModelConfig, OptimizerConfig, Policy, RuntimeConfig
from assay.data.dataset import Dataset
from assay.data.shards import write_dataset

RUNTIME = RuntimeConfig(precision="float32", workers=1)
QUICK = {"resamples": 200, "gradcam_images": 4}


def squares(count: int, seed: int, classes: int = 2):
    """Noise images 32x32: class 0 has no square, class k a bright one of its own colour; one in ten is mislabelled."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 110, (count, 32, 32, 3), dtype=np.uint8)
    labels = (np.arange(count) % classes).astype(np.int64)
    for image, label in zip(images, labels, strict=True):
        top, left = generator.integers(0, 22, 2)
        if label:
            image[top : top + 10, left : left + 10, label % 3] = generator.integers(130, 255, (10, 10))
    wrong = generator.random(count) < 0.1
    labels[wrong] = generator.integers(0, classes, int(wrong.sum()))
    return images, labels


def records(name: str, labels, classes, groups: int | None) -> pd.DataFrame:
    """Records as preprocess writes them, with a slide for each row where asked for."""
    frame = pd.DataFrame(
        {"id": [f"{name}/{row:04d}.png" for row in range(len(labels))], "label": [classes[one] for one in labels]}
    )
    if groups:
        frame["group"] = [f"{name}-slide-{row % groups:02d}" for row in range(len(labels))]
    return frame


def image_dataset(
    folder: Path,
    classes: tuple[str, ...] = ("normal", "tumor"),
    *,
    groups: int | None = 12,
    only: dict[str, int] | None = None,
) -> Dataset:
    """A dataset of squares; ``only`` keeps one class in the splits it names."""
    splits = {}
    for index, (name, count) in enumerate((("train", 240), ("valid", 120), ("test", 180))):
        images, labels = squares(count, index, len(classes))
        if only and name in only:
            images, labels = images[labels == only[name]], labels[labels == only[name]]
        splits[name] = images, labels, records(name, labels, classes, groups)
    return write_dataset(folder, splits, classes, group_column="group" if groups else None)


def train(dataset: Dataset, out_dir: Path, epochs: int = 5, name: str = "cnn", **options) -> Path:
    """Train a small model for a few seconds, with everything that a training step leaves behind."""
    from assay.training.baseline import train_baseline

    if name == "cnn" and not options:
        options = {"width": 8, "depth": 2, "dense": 0}
    config = BaselineConfig(
        model=ModelConfig(name=name, options=options),
        epochs=epochs,
        optimizer=OptimizerConfig(learning_rate=5e-3),
        batch_size=16,
    )
    train_baseline(
        config, RUNTIME, dataset.root, Policy(horizontal_flip=True), out_dir, 0, str(out_dir.parent / "store")
    )
    return out_dir


@pytest.fixture(scope="session")
def grouped(tmp_path_factory) -> Dataset:
    """Two classes, slides, images 32x32."""
    return image_dataset(tmp_path_factory.mktemp("grouped") / "dataset")


@pytest.fixture(scope="session")
def candidates(grouped, tmp_path_factory) -> dict[str, Path]:
    """A model that has learnt, and a baseline that has had one epoch only."""
    folder = tmp_path_factory.mktemp("candidates")
    return {
        "baseline": train(grouped, folder / "baseline", epochs=1, width=4, depth=1, dense=0),
        "search": train(grouped, folder / "search", epochs=8),
    }


@pytest.fixture(scope="session")
def evaluated(grouped, candidates, tmp_path_factory):
    """The whole step, done once: its result and its folder."""
    from assay.evaluation.evaluate import evaluate

    out = tmp_path_factory.mktemp("evaluated") / "out"
    return evaluate(EvaluateConfig(**QUICK), grouped.root, candidates, out, 0, RUNTIME), out


@pytest.fixture(scope="session")
def quick() -> dict:
    """Settings of ``evaluate`` that take little time."""
    return dict(QUICK)


@pytest.fixture(scope="session")
def runtime() -> RuntimeConfig:
    """float32 in one thread."""
    return RUNTIME


@pytest.fixture(scope="session")
def make_dataset():
    """The function `image_dataset`."""
    return image_dataset


@pytest.fixture(scope="session")
def train_model():
    """The function `train`."""
    return train


@pytest.fixture(scope="session")
def evaluation(grouped, candidates):
    """What was found, before anything is written."""
    from assay.evaluation.evaluate import judge_candidates

    return judge_candidates(EvaluateConfig(**QUICK), grouped, candidates, 0)
