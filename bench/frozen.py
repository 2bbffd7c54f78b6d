"""Target 3: the head of VGG16 on its frozen base, from cached features and through the whole network."""

from __future__ import annotations

import functools
import time

import numpy as np

from assay.config import Policy, RuntimeConfig
from assay.data.dataset import Dataset
from assay.training.compiled import Forward
from assay.training.feature_cache import CachedModel
from assay.training.fit import fit
from bench.harness import Check, Finding, Outcome, Settings, Timed, Way, combine, interleave, ratio
from bench.images import dataset, png_folder
from bench.reference import models as reference
from bench.reference.generator import BATCH, POLICY, flow
from bench.training import FLOAT32, JUDGED, SIDE, automatic, cached_features, config, fresh_cache, quiet, vgg16

EPOCHS = 10
TRIALS = 20
VIEWS = 4


def run(settings: Settings) -> Outcome:
    """Compare ten epochs of the head, features included, and a search of twenty heads."""
    count = 160 if settings.quick else 1536
    few = 64 if settings.quick else 128
    data = dataset(settings.folder, count, JUDGED)
    theirs = reference.vgg16(SIDE, None)
    batches = flow(png_folder(settings.folder, few), SIDE, augment=False)
    new_model = functools.partial(vgg16, automatic(), settings.weights, None)

    def first_head(policy: Policy) -> Timed:
        """Train a head from an empty cache; units are image-epochs."""
        with fresh_cache(settings.folder) as runtime:
            model = new_model()  # built before the clock starts, as the reference is
            started = time.perf_counter()
            train_head(model, data, policy, runtime)
            return Timed(EPOCHS * count, time.perf_counter() - started)

    with fresh_cache(settings.folder) as kept:
        train_head(new_model(), data, Policy(), kept)

        def further_head() -> Timed:
            """Train a head on the features that another one left."""
            model = new_model()
            started = time.perf_counter()
            train_head(model, data, Policy(), kept)
            return Timed(EPOCHS * count, time.perf_counter() - started)

        reference.train(theirs, batches, BATCH)
        ways: dict[str, Way] = {
            "reference": lambda: reference.train(theirs, batches, few),
            "first head, 10 epochs": lambda: first_head(Policy()),
            "further head, 10 epochs": further_head,
        }
        if not settings.quick:
            several = POLICY.model_copy(update={"views": VIEWS})
            ways[f"first head, 10 epochs of {VIEWS} augmented views"] = lambda: first_head(several)
        rates = interleave(ways, settings.rounds, "image-epochs/s")
    whole, first, further, *views = rates.values()
    heads = combine("heads", "x", lambda w, f, n: TRIALS / w / (1 / f + (TRIALS - 1) / n), whole, first, further)
    notes = [f"{count:,} images of {SIDE}x{SIDE}; an epoch's fixed cost weighs less on more of them."]
    if views:
        gain = ratio("views", views[0], whole).median
        notes.append(f"With {VIEWS} augmented views cached: {gain:.3g} times the reference.")
    return Outcome(
        "frozen",
        "Head on a frozen VGG16",
        findings=(
            Finding(3, "frozen phase of 10 epochs, features included", ratio("frozen", first, whole), 15),
            Finding(3, f"search of {TRIALS} heads, 10 epochs each", heads, 80, note="from the rates of its parts"),
        ),
        checks=(Check(3, "predictions from cached features, float32", difference(settings), 1e-5),),
        rates=tuple(rates.values()),
        notes=tuple(notes),
    )


def train_head(model: object, data: Dataset, policy: Policy, runtime: RuntimeConfig) -> CachedModel:
    """Compute or find the features and train ten epochs on them."""
    cached = cached_features(model, data, runtime, policy, epochs=EPOCHS)
    with quiet():
        heads = cached.batches(data.train.labels, BATCH, 0, runtime)
        fit(cached.tail, heads, cached.valid, config(EPOCHS), runtime, phase="head", seed=0)
    return cached


def difference(settings: Settings, side: int = 64) -> float:
    """Return the largest difference between predictions from cached features and the whole model's, in float32."""
    data = dataset(settings.folder, 16, 32, side)
    model = vgg16(FLOAT32, settings.weights, None, side=side)
    with fresh_cache(settings.folder) as runtime:
        cached = cached_features(model, data, runtime, Policy(), epochs=EPOCHS)
        from_features = Forward(cached.tail).probabilities(cached.valid.inputs)
    return float(np.abs(from_features - Forward(model).probabilities(data.valid.inputs)).max())
