"""Prediction on files: the decode of training, calibrated probabilities, the decision at the stored threshold."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from assay.config import DataConfig
from assay.data.headers import IMAGE_EXTENSIONS
from assay.data.images import decode
from assay.data.missing import fill_missing
from assay.data.sensors import decode_window
from assay.data.sources.files import SENSOR_EXTENSIONS
from assay.data.unusable import Unusable, UnusableWindow
from assay.errors import InputError
from assay.models.artifact import LoadedModel, load_model
from assay.models.info import ModelInfo
from assay.observability.resources import available_cores
from assay.registry.versions import ModelRegistry
from assay.storage.cache import cache_folder
from assay.storage.open import open_store

# A spreadsheet takes a cell that begins so for a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Prediction:
    """What a model says of one file.

    Args:
        file: Its path as given or found.
        label: The decided class; empty where the file cannot be used.
        probabilities: Of each class, in the model's order; empty likewise.
        error: Why the file cannot be used; empty where it can.
    """

    file: str
    label: str = ""
    probabilities: tuple[float, ...] = ()
    error: str = ""


def predict(model: LoadedModel, inputs: Path | Sequence[Path], batch_size: int = 64) -> Iterator[Prediction]:
    """Predict files one batch after another; a file that cannot be used is a row with the reason.

    Args:
        model: From `assay.models.artifact.load_model`.
        inputs: Files, and folders whose files (by their extensions) are taken however deep.
        batch_size: Files at a time; memory grows with it.

    Returns:
        One prediction a file, in the order given; the files of a folder sorted by name.

    Raises:
        InputError: An input is missing, or a folder holds no such files.
    """
    files = _files([inputs] if isinstance(inputs, Path) else inputs, model.info)
    return _predict(model, files, batch_size)


def predict_files(
    inputs: Sequence[Path],
    storage_root: str,
    name: str,
    *,
    version: str | None = None,
    form: str = "csv",
    batch_size: int = 64,
) -> tuple[str, int]:
    """Predict files with a model of the registry and render the result.

    Args:
        inputs: Files and folders.
        storage_root: Where the registry is.
        name: The model's name in it.
        version: A version; None: the champion.
        form: ``csv`` or ``json``.
        batch_size: Files at a time.

    Returns:
        The text, and the number of files that could not be used.

    Raises:
        InputError: There is no such model, or an input is missing.
    """
    registry = ModelRegistry(open_store(storage_root), name)
    resolved = registry.resolve(version)
    model = load_model(registry.fetch(resolved, cache_folder("models")))
    predictions = list(predict(model, inputs, batch_size))
    failed = sum(bool(prediction.error) for prediction in predictions)
    if form == "json":
        return to_json(predictions, model.info, name, resolved), failed
    return to_csv(predictions, model.info), failed


def to_csv(predictions: Sequence[Prediction], info: ModelInfo) -> str:
    """Return one line a file: file, label, a probability for each class, error.

    Text that a spreadsheet would run as a formula gets a ``'`` before it.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["file", "label", *(f"probability_{name}" for name in info.classes), "error"])
    for row in predictions:
        numbers = [f"{value:.6f}" for value in row.probabilities] or [""] * len(info.classes)
        writer.writerow([_harmless(row.file), _harmless(row.label), *numbers, _harmless(row.error)])
    return out.getvalue()


def to_json(predictions: Sequence[Prediction], info: ModelInfo, name: str, version: str) -> str:
    """Return an object with the model used and a list of predictions."""
    rows = [
        {
            "file": row.file,
            "label": row.label or None,
            "probabilities": dict(zip(info.classes, row.probabilities, strict=True)) if row.probabilities else None,
            "error": row.error or None,
        }
        for row in predictions
    ]
    model = {
        "name": name,
        "version": version,
        "architecture": info.name,
        "classes": info.classes,
        "positive_class": info.classes[info.positive_index],
        "threshold": info.threshold if len(info.classes) == 2 else None,
        "temperature": info.temperature,
        "dataset_fingerprint": info.dataset_fingerprint,
    }
    return json.dumps({"model": model, "predictions": rows}, indent=1, ensure_ascii=False) + "\n"


def _predict(model: LoadedModel, files: Sequence[Path], batch_size: int) -> Iterator[Prediction]:
    with ThreadPoolExecutor(available_cores()) as executor:
        for start in range(0, len(files), batch_size):
            batch = files[start : start + batch_size]
            read = list(executor.map(lambda path: _read(path, model.info), batch))
            usable = [value for value in read if isinstance(value, np.ndarray)]
            probabilities = model.predict(np.stack(usable), batch_size) if usable else np.empty((0, 2))
            results = iter(zip(probabilities, model.decide(probabilities), strict=True))
            for path, value in zip(batch, read, strict=True):
                if isinstance(value, np.ndarray):
                    row, decided = next(results)
                    yield Prediction(_text(path), model.info.classes[decided], tuple(row.tolist()))
                else:
                    yield Prediction(_text(path), error=value)


def _read(path: Path, info: ModelInfo) -> np.ndarray | str:
    """Return what the network is shown of a file, or why it cannot be used."""
    try:
        data = path.read_bytes()
        if info.kind == "image":
            height, width, _ = info.input_shape
            return decode(data, info.color_mode, (height, width), DataConfig().max_pixels)
        window = decode_window(data)
        if window.shape != info.input_shape:
            raise UnusableWindow(f"the window is {_sides(window.shape)}, the model takes {_sides(info.input_shape)}")
        return fill_missing(window, info.missing, info.channel_means)
    except Unusable as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)


def _files(inputs: Sequence[Path], info: ModelInfo) -> list[Path]:
    extensions = IMAGE_EXTENSIONS if info.kind == "image" else SENSOR_EXTENSIONS
    files: list[Path] = []
    for path in inputs:
        if path.is_dir():
            inside = sorted(
                found
                for found in path.rglob("*")
                if found.suffix.lower().removeprefix(".") in extensions and found.is_file()
            )
            if not inside:
                raise InputError(f"{_text(path)}: no files of {info.kind}s in this folder. Name another one.")
            files += inside
        elif path.exists() or path.is_symlink():
            files.append(path)
        else:
            raise InputError(f"{_text(path)}: no such file or folder. Correct the path.")
    if not files:
        raise InputError("no files to predict. Name files or a folder.")
    return files


def _text(path: Path) -> str:
    """Return a path as text that can be written anywhere, whatever bytes its name is made of."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def _sides(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
