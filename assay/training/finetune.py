"""The fine-tuning step: the head on a frozen pretrained base, then an unfrozen tail at a low rate."""

from __future__ import annotations

import time
from pathlib import Path

import keras

from assay.config import FinetuneConfig, Policy, RuntimeConfig, TrainConfig
from assay.data.dataset import Dataset
from assay.errors import InputError
from assay.models.transfer import freeze_base, unfreeze_from
from assay.models.weights import load_weights
from assay.observability.progress import log
from assay.runtime import apply_runtime, strategy_for
from assay.training.checkpoint import Checkpoint, checkpoint_location, place_of_training
from assay.training.data import build_for, training_batches
from assay.training.feature_cache import Mode, cache_features
from assay.training.fit import fit, is_finished
from assay.training.history import History
from assay.training.result import Trained, TrainingResult, write_result

FROZEN, UNFROZEN = "frozen", "unfrozen"


def finetune(
    config: FinetuneConfig,
    runtime: RuntimeConfig,
    dataset_dir: Path,
    policy: Policy,
    out_dir: Path,
    seed: int,
    storage_root: str,
) -> TrainingResult:
    """Fine-tune a pretrained model in two phases and write it; an interrupted run is continued.

    Phase 2 begins with the best weights of phase 1, and the best epoch of both is kept.

    Args:
        config: The model, its weights, and both phases.
        runtime: Precision, threads, XLA, feature caches.
        dataset_dir: What preprocess wrote; its training and validation splits are read.
        policy: The augmentation of training images.
        out_dir: Created where missing; see `write_result` for what it gets.
        seed: Of the head's initial weights, order, augmentation and dropout.
        storage_root: Where checkpoints are kept; see `release_checkpoints`.

    Returns:
        The model's folder, metrics and history.

    Raises:
        InputError: The model does not suit the data, or the weights are not the model's.
        DivergedError: The loss was not finite before any epoch was finished.
    """
    if config.frozen.epochs == config.epochs == 0:
        raise InputError("finetune.frozen.epochs and finetune.epochs are both 0. Give at least one phase an epoch.")
    dataset = Dataset.open(dataset_dir)
    precision = apply_runtime(runtime, seed)
    with strategy_for(config.frozen.batch_size, config.batch_size).scope():
        model = build_for(dataset, config.model, policy, seed)
    weights_hash = load_weights(model, config.weights)
    location = checkpoint_location(
        storage_root,
        "finetune",
        dataset=dataset.fingerprint,
        config=config.fingerprint(),
        weights=weights_hash,
        policy=policy.model_dump(mode="json"),
        seed=seed,
        precision=precision,
    )
    with place_of_training(location, "finetune") as lease:
        histories: list[History] = []
        for phase, recipe in ((FROZEN, config.frozen), (UNFROZEN, config)):
            if recipe.epochs == 0:
                continue
            counts = freeze_base(model) if phase == FROZEN else unfreeze_from(model, config.unfreeze_from)
            log(f"{model.name}, {phase}: {counts.trainable:,} parameters trainable, {counts.frozen:,} frozen")
            histories.append(
                _train_phase(
                    model,
                    dataset,
                    _policy_of(phase, policy, config.frozen_views),
                    recipe,
                    runtime,
                    phase=phase,
                    checkpoint=Checkpoint(location, phase, lease),
                    seed=seed,
                    before=histories[-1] if histories else None,
                    cache=config.cache,
                )
            )
        trained = Trained(model, config.model, histories, config, policy, seed, precision, weights_hash, location)
        return write_result(trained, dataset, out_dir)


def _train_phase(
    model: keras.Model,
    dataset: Dataset,
    policy: Policy,
    recipe: TrainConfig,
    runtime: RuntimeConfig,
    *,
    phase: str,
    checkpoint: Checkpoint,
    seed: int,
    before: History | None,
    cache: Mode,
) -> History:
    """Train what is not frozen, from cached features where that pays, and leave the best weights in the model."""
    started, cached = time.perf_counter(), None
    if not is_finished(checkpoint):
        cached = cache_features(model, dataset, policy, epochs=recipe.epochs, seed=seed, runtime=runtime, mode=cache)
    feature_seconds = time.perf_counter() - started
    trained, batches = model, training_batches(dataset, policy, recipe.batch_size, seed, runtime)
    if cached is not None and cached.views:
        trained, batches = cached.tail, cached.batches(dataset.train.labels, recipe.batch_size, seed, runtime)
    history = fit(
        trained,
        batches,
        dataset.valid if cached is None else cached.valid,
        recipe,
        runtime,
        phase=phase,
        seed=seed,
        checkpoint=checkpoint,
        before=before,
        judged_model=None if cached is None else cached.tail,
    )
    history.feature_seconds = feature_seconds
    return history


def _policy_of(phase: str, policy: Policy, frozen_views: int) -> Policy:
    """Return the policy with the views that a phase shows: few train a head well, and those can be cached."""
    if phase == FROZEN and policy.views == 0:
        return policy.model_copy(update={"views": frozen_views})
    return policy
