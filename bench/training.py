"""What the benchmarks of training share: ceilings, models by number format, and the rate of a settled epoch."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from assay.config import Policy, RuntimeConfig, TrainConfig
from assay.data.dataset import Dataset
from assay.models.catalog import build_model
from assay.models.transfer import freeze_base, unfreeze_from
from assay.models.weights import load_weights
from assay.observability.resources import available_cores
from assay.runtime import apply_runtime, resolve_precision
from assay.training.feature_cache import CachedModel, cache_features
from assay.training.fit import Judged, fit
from assay.training.inputs import Batches
from bench.harness import Timed, Way
from bench.reference.generator import BATCH

SIDE = 96
FLOAT32, BFLOAT16 = "float32", "mixed_bfloat16"
MATMUL_SIDE = 2048
# Validation images: as few as can be, since the reference judges none.
JUDGED = 16


def set_up() -> None:
    """Give this process the threads of a run's step; the reference shares them."""
    apply_runtime(RuntimeConfig(), seed=0)
    keras.mixed_precision.set_global_policy(FLOAT32)


def matmul(dtype: str, repeats: int) -> Way:
    """Return a way that multiplies large matrices and counts GFLOP: the ceiling of what the processor computes."""
    factor = tf.cast(tf.random.normal((MATMUL_SIDE, MATMUL_SIDE)), dtype)
    multiply = tf.function(lambda: tf.matmul(factor, factor))
    multiply().numpy()

    def work() -> float:
        for _ in range(repeats):
            multiply().numpy()
        return repeats * 2 * MATMUL_SIDE**3 / 1e9

    return work


def automatic() -> str:
    """Return the number format that a run takes here by itself."""
    return resolve_precision(RuntimeConfig())


def build(name: str, precision: str, *, side: int = SIDE, **options: Any) -> keras.Model:
    """Build a registered model for two classes in a number format; float32 is what others build in afterwards."""
    keras.mixed_precision.set_global_policy(precision)
    try:
        return build_model(name, (side, side, 3), 2, options=options, seed=0)
    finally:
        keras.mixed_precision.set_global_policy(FLOAT32)


def vgg16(precision: str, weights: str, first_trained: str | None, *, side: int = SIDE) -> keras.Model:
    """Build VGG16 with a pooled head and no dropout, frozen below a layer or wholly (None)."""
    model = build("vgg16", precision, side=side, head="pooled", dropout=0.0)
    with quiet():  # random weights are announced loudly
        load_weights(model, weights)
    if first_trained is None:
        freeze_base(model)
    else:
        unfreeze_from(model, first_trained)
    return model


def config(epochs: int, rate: float = 1e-4) -> TrainConfig:
    """Return a training config that nothing ends early."""
    values = {"epochs": epochs, "batch_size": BATCH, "optimizer": {"name": "adam", "learning_rate": rate}}
    return TrainConfig.model_validate({**values, "callbacks": {"not_learning_steps": None}})


def train(model: keras.Model, batches: Batches, valid: Judged, runtime: RuntimeConfig, epochs: int) -> Timed:
    """Train by `assay.training.fit` and return the time of all epochs but the first, which traces the graph."""
    with quiet():
        history = fit(model, batches, valid, config(epochs), runtime, phase="bench", seed=0)
    seconds = history.rows[-1]["seconds"] - history.rows[0]["seconds"]
    return Timed((epochs - 1) * len(batches.labels), seconds)


def cached_features(
    model: keras.Model, data: Dataset, runtime: RuntimeConfig, policy: Policy, *, epochs: int, seed: int = 0
) -> CachedModel:
    """Compute the features of a model's frozen part, or find them in the runtime's cache."""
    with quiet():
        cached = cache_features(model, data, policy, epochs=epochs, seed=seed, runtime=runtime, mode="always")
    assert cached is not None
    return cached


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what a run tells its user off the terminal."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


@contextlib.contextmanager
def fresh_cache(folder: Path) -> Iterator[RuntimeConfig]:
    """Give a runtime with an empty feature cache, which goes afterwards."""
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        yield RuntimeConfig(cache_dir=cache, workers=min(2, available_cores()))
