"""Target 2, and what input costs in training (target 1): cnn3 from scratch, augmented."""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np

from assay.augmentation.warp import Augmenter
from assay.config import RuntimeConfig
from assay.data.dataset import Dataset
from assay.training.fit import fit
from assay.training.inputs import Batches
from bench.harness import Finding, Measurement, Outcome, Settings, Timed, Way, combine, interleave, ratio
from bench.images import dataset, png_folder
from bench.reference import models as reference
from bench.reference.generator import BATCH, POLICY, flow
from bench.training import BFLOAT16, FLOAT32, JUDGED, SIDE, automatic, build, config, matmul, quiet, train

# Forward and backward, an image of 96x96.
GFLOP = 0.436
SHORT = {FLOAT32: "float32", BFLOAT16: "bfloat16"}
NO_DROPOUT: dict[str, Any] = {"pool_dropout": 0.0, "dropout": 0.0}
# Where number formats are compared by what they learn: small images, and so many that seeds differ little.
SMALL_SIDE, SMALL_EPOCHS, SEEDS = 48, 12, 5
IMAGES, JUDGES = 2000, 1000
# Easy enough that seeds of one format do not differ by more than what is looked for.
DIFFICULTY = 0.3


def run(settings: Settings) -> Outcome:
    """Compare end-to-end rates, and ours with what the processor multiplies."""
    count, multiplications = (192, 6) if settings.quick else (512, 24)
    # Shares of a ceiling, and small differences between rates, need more rounds than ratios do.
    rounds = settings.rounds if settings.quick else 2 * settings.rounds + 1
    data = dataset(settings.folder, count, JUDGED)
    theirs = reference.cnn3(SIDE)
    batches = flow(png_folder(settings.folder, count), SIDE, augment=True)
    ways: dict[str, Way] = {
        "matmul float32": matmul("float32", multiplications),
        "matmul bfloat16": matmul("bfloat16", multiplications),
        "reference": lambda: reference.train(theirs, batches, count // 2),
    }
    for precision, short in SHORT.items():
        model, augmenter = build("cnn3", precision), Augmenter(POLICY, (SIDE, SIDE, 3), 0)
        ways[f"{short}, augmented"] = functools.partial(_ours, model, data, augmenter)
        ways[f"{short}, from memory"] = functools.partial(_ours, model, data, None)
        if not settings.quick:
            undropped = build("cnn3", precision, **NO_DROPOUT)
            ways[f"{short}, from memory, without dropout"] = functools.partial(_ours, undropped, data, None)
    reference.train(theirs, batches, 2 * BATCH)
    rates = interleave(ways, rounds, "images/s")
    best = SHORT[automatic()]
    findings = [
        Finding(2, f"cnn3 end to end ({best})", ratio("end to end", rates[f"{best}, augmented"], rates["reference"]), 2)
    ]
    for short, ceiling, cost in (("float32", 0.70, 0.05), ("bfloat16", 0.65, 0.08)):
        memory, augmented = rates[f"{short}, from memory"], rates[f"{short}, augmented"]
        share = _share(memory, rates[f"matmul {short}"])
        lost = combine("cost", "fraction", lambda fed, whole: 1 - fed / whole, augmented, memory)
        findings.append(Finding(2, f"cnn3 from memory, share of the matmul ceiling, {short}", share, ceiling))
        findings.append(Finding(1, f"share of training time that input costs, {short}", lost, cost, "at most"))
    learned: list[Measurement] = []
    notes: list[str] = []
    if not settings.quick:
        for short in SHORT.values():
            bare = _share(rates[f"{short}, from memory, without dropout"], rates[f"matmul {short}"])
            notes.append(
                f"Without dropout the share of the ceiling is {bare.median:.2f} in {short}. What is left are "
                "convolutions below the rate of a large matrix product (three channels in, odd sides), and pools."
            )
        learned = [
            Measurement(f"AUC of {SEEDS} seeds, {short}", "", values) for short, values in aucs(settings).items()
        ]
        means = [np.mean(one.values) for one in learned]
        difference = Measurement("difference", "fraction", (float(abs(means[0] - means[1])),))
        note = f"{SEEDS} seeds, {IMAGES:,} generated images, validation split"
        findings.append(Finding(2, "mean AUC, bfloat16 against float32", difference, 0.005, "at most", note=note))
    return Outcome(
        "cnn3",
        "cnn3 from scratch",
        tuple(findings),
        rates=(
            *(
                Measurement(rate.name, "GFLOP/s" if rate.name.startswith("matmul") else rate.unit, rate.values)
                for rate in rates.values()
            ),
            *learned,
        ),
        notes=tuple(notes),
    )


def _share(rate: Measurement, ceiling: Measurement) -> Measurement:
    return combine("share", "fraction", lambda images, flops: images * GFLOP / flops, rate, ceiling)


def _ours(model: keras.Model, data: Dataset, augmenter: Augmenter | None) -> Timed:
    batches = Batches(data.train.inputs, data.train.labels, BATCH, augmenter=augmenter, shuffle=True)
    return train(model, batches, data.valid, RuntimeConfig(), 2)


def aucs(settings: Settings) -> dict[str, tuple[float, ...]]:
    """Return the validation AUC of each seed by number format."""
    data = dataset(settings.folder, IMAGES, JUDGES, SMALL_SIDE, DIFFICULTY)
    return {short: tuple(_auc(data, precision, seed) for seed in range(SEEDS)) for precision, short in SHORT.items()}


def _auc(data: Dataset, precision: str, seed: int) -> float:
    model = build("cnn3", precision, side=data.input_shape[0], **NO_DROPOUT)
    batches = Batches(data.train.inputs, data.train.labels, BATCH, shuffle=True, seed=seed)
    learning = config(SMALL_EPOCHS, 1e-3)
    with quiet():
        history = fit(model, batches, data.valid, learning, RuntimeConfig(), phase="train", seed=seed)
    return float(history.best_value)
