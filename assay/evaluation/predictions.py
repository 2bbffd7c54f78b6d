"""A model's probabilities for a split: in batches from the memory map, and never twice where they are stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.data.dataset import Dataset, Split
from assay.measures.calibration import Calibration
from assay.models.artifact import LoadedModel
from assay.models.info import ModelInfo
from assay.observability.progress import Progress, log

Probabilities = npt.NDArray[np.float32]
VALIDATION_FILE = "validation.npz"
BATCH_VALUES = 2**22
LARGEST_BATCH = 128
SPOT_CHECKS = 32
# bfloat16 has 8 bits of mantissa, and its sums depend on the batch's size.
SPOT_CHECK_TOLERANCE = 0.03


def misfit(info: ModelInfo, dataset: Dataset, *, reordered: bool = False) -> str:
    """Return why a model cannot answer for a dataset's splits, as a clause, or an empty text.

    Args:
        info: Of the model.
        dataset: What it is to answer for.
        reordered: Whether the caller puts its answers into the dataset's order of classes: another order then fits,
            and another class to detect.
    """
    ours, theirs = ", ".join(dataset.classes), ", ".join(info.classes)
    if info.classes != dataset.classes and not (reordered and set(info.classes) == set(dataset.classes)):
        return f"its classes are {theirs}, not {ours}"
    if info.input_shape != dataset.input_shape:
        sides = (" x ".join(map(str, shape)) for shape in (info.input_shape, dataset.input_shape))
        return "its inputs are {}, not {}".format(*sides)
    if len(dataset.classes) == 2 and info.positive_index != dataset.positive_index and not reordered:
        return f"it detects {info.classes[info.positive_index]}, not {dataset.classes[dataset.positive_index]}"
    return ""


def uncalibrated(model: LoadedModel) -> LoadedModel:
    """Return the model without its calibration: the network's own probabilities."""
    return LoadedModel(model.info.model_copy(update={"calibration": Calibration()}), model.model)


def predict_split(model: LoadedModel, inputs: Any, *, task: str = "predict", views: bool = False) -> Probabilities:
    """Return the network's own probabilities, uncalibrated.

    Args:
        model: The model.
        inputs: (N,H,W,C) uint8 or (N,T,C) float32: an array, or anything with ``len``, ``shape`` and slices.
        task: What to call the work in the progress report.
        views: Average over flips and, for square images, quarter turns.

    Returns:
        float32 (N, K).
    """
    network = uncalibrated(model)
    shape = tuple(inputs.shape[1:])
    size = int(np.clip(BATCH_VALUES // max(1, int(np.prod(shape))), 1, LARGEST_BATCH))
    out = np.empty((len(inputs), len(model.info.classes)), np.float32)
    with Progress(task, total=len(inputs), unit="images" if len(shape) == 3 else "windows") as progress:
        for start in range(0, len(inputs), size):
            batch = np.asarray(inputs[start : start + size])
            some = eight_views(batch) if views else [batch]
            answers = [network.predict(np.ascontiguousarray(view), size) for view in some]
            out[start : start + len(batch)] = np.mean(answers, axis=0)
            progress.advance(len(batch))
    return out


def eight_views(images: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """Return the images as they are, mirrored, and turned: 8 views of square images, 4 of others, 1 of windows.

    Args:
        images: (N,H,W,C), or (N,T,C).
    """
    if images.ndim != 4:
        return [images]
    turns = range(4) if images.shape[1] == images.shape[2] else (0, 2)
    turned = [np.rot90(images, turn, axes=(1, 2)) for turn in turns]
    return [view for way in turned for view in (way, way[:, :, ::-1])]


def validation_probabilities(model_dir: Path, model: LoadedModel, split: Split) -> Probabilities:
    """Return the network's own probabilities of the validation split.

    Training left them in ``validation.npz``. They are taken from there if they belong to the same cases and a few
    that are predicted again agree; else all are predicted.

    Args:
        model_dir: The candidate's folder.
        model: Loaded from it.
        split: The validation split.

    Returns:
        float32 (N, K).
    """
    stored = _stored(model_dir / VALIDATION_FILE, split, len(model.info.classes))
    if stored is not None:
        rows = np.unique(np.linspace(0, len(split) - 1, SPOT_CHECKS).astype(np.int64))
        again = uncalibrated(model).predict(split.inputs[rows])
        if np.abs(again - stored[rows]).max(initial=0.0) <= SPOT_CHECK_TOLERANCE:
            return stored
        log(f"{model_dir.name}: {VALIDATION_FILE} is not of this model; predicting the validation split again")
    return predict_split(model, split.inputs, task=f"predict validation split, {model.info.name}")


def _stored(path: Path, split: Split, classes: int) -> Probabilities | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            labels, probabilities = file["labels"], np.asarray(file["probabilities"], np.float32)
    except Exception:  # damaged archives raise nearly anything; the split is predicted then
        return None
    if probabilities.shape != (len(split), classes) or not np.array_equal(labels, split.labels):
        return None
    return probabilities if np.isfinite(probabilities).all() else None
