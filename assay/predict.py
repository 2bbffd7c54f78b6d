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

from assay.data.headers import IMAGE_EXTENSIONS, may_be_image
from assay.data.images import Rendering, decode
from assay.data.missing import window_for_network
from assay.data.sensors import decode_window
from assay.data.sources.files import SENSOR_EXTENSIONS
from assay.data.sources.tree import LocalTree
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
# Enough to know a format by; DICOM's mark stands at 128.
FIRST_BYTES = 132
# No file is read that is larger than its pixels could be: those, and as much again of everything else.
BYTES_PER_PIXEL = 16
LARGEST_FILE = 64 * 2**20


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


@dataclass(frozen=True)
class Predicted:
    """What `predict_files` made.

    Attributes:
        text: The table or the JSON.
        files: How many there were.
        failed: How many of them could not be used.
        header: Which model spoke, and which class it calls positive from what probability on.
    """

    text: str
    files: int
    failed: int
    header: str


def predict(
    model: LoadedModel, inputs: Path | Sequence[Path], batch_size: int = 64, *, max_pixels: int | None = None
) -> Iterator[Prediction]:
    """Predict files one batch after another; a file that cannot be used is a row with the reason.

    Args:
        model: From `assay.models.artifact.load_model`.
        inputs: Files, and folders, which are walked as ingest walks a source.
        batch_size: Files at a time; memory grows with it.
        max_pixels: A larger image is refused; None: the limit of the model's training.

    Returns:
        One prediction a file, in the order given; the files of a folder sorted by name.

    Raises:
        InputError: An input is missing, or a folder holds no such files.
    """
    found = find_files([inputs] if isinstance(inputs, Path) else inputs, model.info)
    return _predict(model, found, batch_size, max_pixels)


def predict_files(
    inputs: Sequence[Path],
    storage_root: str,
    name: str,
    *,
    version: str | None = None,
    form: str = "csv",
    batch_size: int = 64,
    max_pixels: int | None = None,
    output: Path | None = None,
) -> Predicted:
    """Predict files with a model of the registry and render the result.

    Args:
        inputs: Files and folders.
        storage_root: Where the registry is.
        name: The model's name in it.
        version: A version; None: the champion.
        form: ``csv`` or ``json``.
        batch_size: Files at a time.
        max_pixels: A larger image is refused; None: the limit of the model's training.
        output: Where the caller will write the result: refused where it is one of the files.

    Raises:
        InputError: There is no such model, an input is missing, or the output is one of the inputs.
    """
    registry = ModelRegistry(open_store(storage_root), name)
    resolved = registry.resolve(version)
    model = load_model(registry.fetch(resolved, cache_folder("models")))
    found = find_files(inputs, model.info)
    if output is not None and output.exists():
        for file in found:
            if not file.reason and file.path.exists() and output.samefile(file.path):
                raise InputError(f"{output}: is one of the files to predict. Name another file for the result.")
    predictions = list(_predict(model, found, batch_size, max_pixels))
    failed = sum(bool(prediction.error) for prediction in predictions)
    text = to_json(predictions, model.info, name, resolved) if form == "json" else to_csv(predictions, model.info)
    return Predicted(text, len(predictions), failed, header_of(model.info, name, resolved))


def header_of(info: ModelInfo, name: str, version: str) -> str:
    """Return which model speaks and how it decides, in one line."""
    if len(info.classes) != 2:
        offsets = ", rare ones given more weight" if info.class_offsets else ""
        return f"{name} {version} ({info.name}): the most probable of {len(info.classes)} classes{offsets}"
    positive = info.classes[info.positive_index]
    return f"{name} {version} ({info.name}): positive is '{positive}', at a probability of {info.threshold:.3f} or more"


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
        "class_offsets": info.class_offsets,
        "calibration": info.calibration.model_dump(mode="json"),
        "dataset_fingerprint": info.dataset_fingerprint,
    }
    return json.dumps({"model": model, "predictions": rows}, indent=1, ensure_ascii=False) + "\n"


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file to predict, or why it cannot be."""

    path: Path
    reason: str = ""


def find_files(inputs: Sequence[Path], info: ModelInfo) -> list[FoundFile]:
    """Return the files to predict, those of folders by the walk that ingest makes.

    That is: no hidden files, nothing that systems leave behind, no links out of the folder. Of images the ones whose
    names say so or whose first bytes do; of sensors those whose names say so.

    Args:
        inputs: Files and folders.
        info: Whether the model takes images or windows.

    Raises:
        InputError: An input is missing, or a folder holds no such files.
    """
    files: list[FoundFile] = []
    for path in inputs:
        if path.is_dir():
            inside = _in_folder(path, info)
            if not inside:
                raise InputError(f"{_text(path)}: no files of {info.kind}s in this folder. Name another one.")
            files += inside
        elif path.exists() and not path.is_file():
            files.append(FoundFile(path, "neither a file nor a folder"))
        elif path.exists() or path.is_symlink():
            files.append(FoundFile(path))
        else:
            raise InputError(f"{_text(path)}: no such file or folder. Correct the path.")
    if not files:
        raise InputError("no files to predict. Name files or a folder.")
    return files


def _in_folder(folder: Path, info: ModelInfo) -> list[FoundFile]:
    tree = LocalTree(folder)
    names, rejected = tree.files()
    found = [FoundFile(folder / name) for name in names if _is_meant(tree, name, info)]
    found += [FoundFile(folder / refused.uri.removeprefix(f"{tree.root}/"), refused.reason) for refused in rejected]
    return sorted(found, key=lambda file: str(file.path))


def _is_meant(tree: LocalTree, name: str, info: ModelInfo) -> bool:
    extension = name.rpartition(".")[2].lower()
    if info.kind == "sensor":
        return extension in SENSOR_EXTENSIONS
    if extension in IMAGE_EXTENSIONS or extension in ("dcm", "dicom"):
        return True
    try:
        with Path(tree.root, name).open("rb") as file:
            return may_be_image(file.read(FIRST_BYTES))
    except OSError:
        return False


def _predict(
    model: LoadedModel, files: Sequence[FoundFile], batch_size: int, max_pixels: int | None
) -> Iterator[Prediction]:
    with ThreadPoolExecutor(available_cores()) as executor:
        for start in range(0, len(files), batch_size):
            batch = files[start : start + batch_size]
            read = list(executor.map(lambda file: _read(file, model.info, max_pixels), batch))
            usable = [value for value in read if isinstance(value, np.ndarray)]
            probabilities = model.predict(np.stack(usable), batch_size) if usable else np.empty((0, 2))
            results = iter(zip(probabilities, model.decide(probabilities), strict=True))
            for file, value in zip(batch, read, strict=True):
                if isinstance(value, np.ndarray):
                    row, decided = next(results)
                    yield Prediction(_text(file.path), model.info.classes[decided], tuple(row.tolist()))
                else:
                    yield Prediction(_text(file.path), error=value)


def _read(file: FoundFile, info: ModelInfo, max_pixels: int | None) -> np.ndarray | str:
    """Return what the network is shown of a file, or why it cannot be used."""
    if file.reason:
        return file.reason
    try:
        limit = max_pixels or info.max_pixels
        size = file.path.stat().st_size
        if size > LARGEST_FILE + BYTES_PER_PIXEL * limit:
            return f"too large: {size:,} bytes, which no image of {limit:,} pixels takes"
        return model_input(file.path.read_bytes(), info, max_pixels)
    except Unusable as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)


def model_input(data: bytes, info: ModelInfo, max_pixels: int | None = None) -> np.ndarray:
    """Return what the network is shown of an encoded file: decoded by the rules of the model's training.

    Args:
        data: The whole file.
        info: The model's.
        max_pixels: A larger image is refused; None: the limit of the model's training.

    Returns:
        uint8 (H, W, C), or float32 (T, C).

    Raises:
        Unusable: The file cannot be used, with the reason.
    """
    if info.kind == "image":
        height, width, _ = info.input_shape
        return decode(data, info.color_mode, (height, width), max_pixels or info.max_pixels, Rendering.of(info))
    return window_input(decode_window(data), info)


def window_input(window: np.ndarray, info: ModelInfo) -> np.ndarray:
    """Return a window (T, C) of float32 with its missing values marked, filled and told as in training.

    Raises:
        Unusable: It has another shape than the model takes, or missing values that training refused.
    """
    if window.shape != info.file_shape:
        raise UnusableWindow(f"the window is {_sides(window.shape)}, the model takes {_sides(info.file_shape)}")
    return window_for_network(
        window,
        info.missing,
        info.channel_means,
        values=info.missing_values,
        flat_steps=info.missing_flat_steps,
        mask=info.missing_mask,
    )


def _text(path: Path) -> str:
    """Return a path as text that can be written anywhere, whatever bytes its name is made of."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def _sides(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
