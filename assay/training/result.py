"""What a training step leaves behind: the model artifact, history, metrics and validation predictions."""

from __future__ import annotations

import json
import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.config import ModelConfig, Policy, Section
from assay.data.dataset import Dataset
from assay.data.missing import filling_policy, has_mask, sensor_channels
from assay.measures.calibration import Calibration
from assay.models.artifact import save_model
from assay.models.info import ModelInfo
from assay.models.summary import count_parameters
from assay.storage.files import new_file
from assay.training.checkpoint import note_place
from assay.training.compiled import Forward
from assay.training.history import History, history_table, kept_phase
from assay.training.metrics import validation_metrics

if TYPE_CHECKING:
    import keras
    import pandas as pd

# Training images looked at without augmentation: enough for the gap to validation, a second's work.
GAP_IMAGES = 1000


@dataclass(frozen=True)
class TrainingResult:
    """A trained model.

    Attributes:
        model_dir: The artifact's folder, with history.csv, metrics.json, validation.npz and checkpoints.json.
        metrics: Flat names, finite values.
        history: One row an epoch; see `assay.training.history.COLUMNS`.
    """

    model_dir: Path
    metrics: dict[str, float]
    history: pd.DataFrame


@dataclass(frozen=True)
class Trained:
    """A model at the end of its training, before it is written.

    Attributes:
        model: With the weights that are kept.
        model_config: What it was built from.
        histories: Its phases, in order.
        config: The step's section of the config.
        policy: The augmentation it was trained with.
        seed: Of the run.
        precision: The number format of its layers.
        weights_hash: Of the pretrained weights it began from; empty: none.
        checkpoints: Where the run's checkpoints are, which are kept until the outputs are known to be.
        extra: More metrics of the step, such as those of a search; they stand above the model's own.
    """

    model: keras.Model
    model_config: ModelConfig
    histories: Sequence[History]
    config: Section
    policy: Policy
    seed: int
    precision: str
    weights_hash: str
    checkpoints: str
    extra: Mapping[str, float] = field(default_factory=dict)


def write_result(trained: Trained, dataset: Dataset, out_dir: Path) -> TrainingResult:
    """Judge the model kept on the validation split and write everything that the step leaves behind.

    Args:
        trained: The model and how it came about.
        dataset: What it was trained on.
        out_dir: Created where missing; ``metrics.json`` is written last.
    """
    forward = Forward(trained.model)
    predicted = forward.probabilities(dataset.valid.inputs)
    metrics = _metrics(trained, dataset, forward, predicted)
    out_dir.mkdir(parents=True, exist_ok=True)
    kept = kept_phase(trained.histories)
    info = ModelInfo(
        name=trained.model_config.name,
        classes=dataset.classes,
        positive_index=dataset.positive_index,
        kind=dataset.kind,
        input_shape=dataset.input_shape,
        color_mode="grayscale" if dataset.kind == "image" and dataset.input_shape[-1] == 1 else "rgb",
        **decoding(dataset),
        preprocessing=_preprocessing(trained.model_config),
        **_missing(dataset),
        config={
            "section": trained.config.model_dump(mode="json"),
            "policy": trained.policy.model_dump(mode="json"),
            "seed": trained.seed,
            "precision": trained.precision,
        },
        calibration=Calibration(prior_shift=() if kept is None else kept.prior_shift),
        dataset_fingerprint=dataset.fingerprint,
        weights_hash=trained.weights_hash,
    )
    save_model(trained.model, out_dir, info, served=False)
    table = history_table(trained.histories)
    with new_file(out_dir / "history.csv") as stage:
        table.to_csv(stage, index=False)
    with new_file(out_dir / "validation.npz") as stage, stage.open("wb") as file:
        np.savez_compressed(file, labels=dataset.valid.labels, probabilities=predicted)
    note_place(out_dir, trained.checkpoints)
    with new_file(out_dir / "metrics.json") as stage:
        stage.write_text(json.dumps(metrics, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return TrainingResult(out_dir, metrics, table)


def _missing(dataset: Dataset) -> dict[str, Any]:
    """Return what a model must know to treat missing values of windows as its training did."""
    if dataset.kind != "sensor":
        return {}
    described = dataset.description.get("missing") or {}
    return {
        "missing": filling_policy(dataset),
        "channel_means": dataset.mean[: sensor_channels(dataset)],
        "missing_values": tuple(described.get("values", ())),
        "missing_flat_steps": described.get("flat_steps"),
        "missing_mask": has_mask(dataset),
    }


def _metrics(trained: Trained, dataset: Dataset, forward: Forward, predicted: Any) -> dict[str, float]:
    random = np.random.default_rng([trained.seed, len(dataset.train)])
    some = np.sort(random.permutation(len(dataset.train))[:GAP_IMAGES])
    of_train = validation_metrics(dataset.train.labels[some], forward.probabilities(dataset.train.inputs[some]))
    of_valid = validation_metrics(dataset.valid.labels, predicted)
    histories = trained.histories
    step_seconds = sum(history.step_seconds for history in histories)
    kept = kept_phase(histories)
    model = trained.model
    metrics = {
        **{f"val_{name}": value for name, value in of_valid.items()},
        **{f"train_{name}": value for name, value in of_train.items()},
        "auc_gap": of_train["auc"] - of_valid["auc"],
        "train_seconds": sum(history.seconds + history.feature_seconds for history in histories),
        "images_per_second": sum(history.images for history in histories) / step_seconds if step_seconds else 0.0,
        "epochs_run": sum(len(history.rows) for history in histories),
        "best_epoch": kept.best_epoch if kept else 0,
        "not_learning": float(any(history.not_learning for history in histories)),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "parameters": model.count_params(),
        "trainable_parameters": count_parameters(model.trainable_weights),
        # The search's own: it needs this field.
        **trained.extra,
    }
    if len(histories) > 1:
        for history in histories:
            metrics[f"{history.phase}_epochs_run"] = len(history.rows)
            metrics[f"{history.phase}_seconds"] = history.seconds + history.feature_seconds
            for column, name in {"epoch": "best_epoch", "val_auc": "val_auc", "val_accuracy": "val_accuracy"}.items():
                if history.best:
                    metrics[f"{history.phase}_{name}"] = history.best[column]
    return {name: float(value) for name, value in metrics.items() if np.isfinite(value)}


def decoding(dataset: Dataset) -> dict[str, Any]:
    """Return how a dataset's files were read, as `ModelInfo` keeps it: what is used must be read alike."""
    config = dataset.description.get("config") or {}
    names = ("max_pixels", "window", "window_percentiles", "bands")
    return {name: config[name] for name in names if name in config}


def _preprocessing(config: ModelConfig) -> str:
    from assay.models.catalog import check_options

    return str(getattr(check_options(config.name, config.options), "preprocessing", ""))
