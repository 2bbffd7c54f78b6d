"""The baseline step: a small network trained from scratch, the floor that anything else must beat."""

from __future__ import annotations

from pathlib import Path

from assay.config import BaselineConfig, Policy, RuntimeConfig
from assay.data.dataset import Dataset
from assay.runtime import apply_runtime, strategy_for
from assay.training.checkpoint import Checkpoint, checkpoint_location, place_of_training
from assay.training.data import build_for, training_batches
from assay.training.fit import fit
from assay.training.result import Trained, TrainingResult, write_result


def train_baseline(
    baseline: BaselineConfig,
    runtime: RuntimeConfig,
    dataset_dir: Path,
    policy: Policy,
    out_dir: Path,
    seed: int,
    storage_root: str,
) -> TrainingResult:
    """Train a registered model from scratch and write it with its history; an interrupted run is continued.

    Args:
        baseline: The model, its optimizer, epochs and what watches it.
        runtime: Precision, threads, XLA.
        dataset_dir: What preprocess wrote; its training and validation splits are read.
        policy: The augmentation of training images.
        out_dir: Created where missing; see `write_result` for what it gets.
        seed: Of initial weights, order, augmentation and dropout.
        storage_root: Where checkpoints are kept; see `release_checkpoints`.

    Returns:
        The model's folder, metrics and history.

    Raises:
        InputError: The model does not suit the data.
        DivergedError: The loss was not finite before any epoch was finished.
    """
    dataset = Dataset.open(dataset_dir)
    precision = apply_runtime(runtime, seed)
    location = checkpoint_location(
        storage_root,
        "baseline",
        dataset=dataset.fingerprint,
        config=baseline.fingerprint(),
        policy=policy.model_dump(mode="json"),
        seed=seed,
        precision=precision,
    )
    with strategy_for(baseline.batch_size).scope():
        model = build_for(dataset, baseline.model, policy, seed)
    with place_of_training(location, "baseline") as lease:
        history = fit(
            model,
            training_batches(dataset, policy, baseline.batch_size, seed, runtime),
            dataset.valid,
            baseline,
            runtime,
            phase="train",
            seed=seed,
            checkpoint=Checkpoint(location, "train", lease),
        )
        trained = Trained(model, baseline.model, [history], baseline, policy, seed, precision, "", location)
        return write_result(trained, dataset, out_dir)
