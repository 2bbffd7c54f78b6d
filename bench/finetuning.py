"""Target 4: fine-tuning the last layers of VGG16, from cached features and through the whole network."""

from __future__ import annotations

import contextlib
import functools
import time
from pathlib import Path

import keras
import numpy as np

from assay.config import Policy, RuntimeConfig, TrainConfig
from assay.data.dataset import Dataset
from assay.data.shards import write_dataset
from assay.training.data import training_batches
from assay.training.fit import fit
from bench.harness import Check, Finding, Measurement, Outcome, Settings, Timed, Way, combine, interleave
from bench.images import CLASSES, dataset, png_folder, tissue
from bench.reference import models as reference
from bench.reference.generator import BATCH, flow
from bench.training import FLOAT32, JUDGED, SIDE, automatic, cached_features, fresh_cache, quiet, train, vgg16

EPOCHS = 10
# First trained layer, and the target.
TAILS = {"from block5": ("block5_conv1", 4.5), "last 8 layers": ("block4_conv1", 2.2)}


def run(settings: Settings) -> Outcome:
    """Compare ten epochs: each image's features once and ten steps from them, against ten steps from pixels."""
    # An epoch's fixed cost would hide the rate of ours on as few images as the reference needs.
    few, count = (64, 64) if settings.quick else (128, 512)
    data = dataset(settings.folder, count, JUDGED)
    batches = flow(png_folder(settings.folder, few), SIDE, augment=False)
    ways: dict[str, Way] = {}
    with contextlib.ExitStack() as kept:
        for name, (first, _) in TAILS.items():
            theirs = reference.vgg16(SIDE, first)
            reference.train(theirs, batches, BATCH)
            ways[f"reference, {name}"] = functools.partial(reference.train, theirs, batches, few)
            model = vgg16(automatic(), settings.weights, first)
            ways[f"features, {name}"] = functools.partial(_features, model, data, settings.folder)
            runtime = kept.enter_context(fresh_cache(settings.folder))
            ways[f"steps from features, {name}"] = functools.partial(_steps, model, data, runtime)
        rates = interleave(ways, settings.rounds, "images/s")
    findings = []
    for name, (_, limit) in TAILS.items():
        gain = _gain(*(rates[f"{part}, {name}"] for part in ("reference", "features", "steps from features")))
        findings.append(
            Finding(4, f"fine-tuning of 10 epochs, {name}", gain, limit, note="from the rates of its parts")
        )
    return Outcome(
        "finetuning",
        "Fine-tuning VGG16",
        tuple(findings),
        checks=(Check(4, "weights after 50 steps, float32", difference(settings), 1e-4),),
        rates=tuple(rates.values()),
        notes=(f"Ours in {automatic()}; an epoch of ours includes judging {len(data.valid)} validation images.",),
    )


def _features(model: keras.Model, data: Dataset, folder: Path) -> Timed:
    """Compute the features of all images."""
    with fresh_cache(folder) as runtime:
        started = time.perf_counter()
        cached_features(model, data, runtime, Policy(), epochs=EPOCHS)
        return Timed(len(data.train) + len(data.valid), time.perf_counter() - started)


def _steps(model: keras.Model, data: Dataset, runtime: RuntimeConfig) -> Timed:
    """Train on features that are there from the second call on."""
    cached = cached_features(model, data, runtime, Policy(), epochs=EPOCHS)
    return train(cached.tail, cached.batches(data.train.labels, BATCH, 0, runtime), cached.valid, runtime, 2)


def _gain(whole: Measurement, features: Measurement, steps: Measurement) -> Measurement:
    return combine("gain", "x", lambda w, f, s: (EPOCHS / w) / (1 / f + EPOCHS / s), whole, features, steps)


def difference(settings: Settings, side: int = 32, images: int = 80, epochs: int = 5) -> float:
    """Return the largest difference of any weight after 50 steps with and without the cache, in float32."""
    pictures, labels = tissue(images + 16, side)
    root = settings.folder / f"finetuning-{side}-{images}"
    rest = (pictures[images:], labels[images:], None)
    splits = {"train": (pictures[:images], labels[:images], None), "valid": rest, "test": rest}
    data = write_dataset(root, splits, CLASSES)
    values = {"epochs": epochs, "batch_size": 8, "optimizer": {"name": "sgd", "learning_rate": 5e-4, "momentum": 0.9}}
    few_steps = TrainConfig.model_validate(values)
    models = [vgg16(FLOAT32, settings.weights, "block5_conv3", side=side) for _ in range(2)]
    runtime = RuntimeConfig(precision="float32")
    with quiet():
        plain = training_batches(data, Policy(), 8, 3, runtime)
        fit(models[0], plain, data.valid, few_steps, runtime, phase="plain", seed=3)
        with fresh_cache(settings.folder) as cache:
            cached = cached_features(models[1], data, cache, Policy(), epochs=epochs, seed=3)
            batches = cached.batches(data.train.labels, 8, 3, cache)
            fit(cached.tail, batches, cached.valid, few_steps, cache, phase="cached", seed=3)
    pairs = zip(models[0].weights, models[1].weights, strict=True)
    return max(float(np.abs(np.asarray(one) - np.asarray(other)).max()) for one, other in pairs)
