"""The model artifact: a trained network with everything needed to use it, in one folder.

``model.keras`` is the network, ``saved_model/`` the same behind serving signatures (encoded images or pixels in,
calibrated probabilities out), and ``model.json`` what a stranger must know. ``model.json`` is written last: without
it the folder holds no model. A candidate has no ``saved_model/``: it is written of the model that is chosen, with the
threshold and the calibration that it is served with.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from assay.errors import AssayError, DamagedError, InputError
from assay.hashing import hash_file, hash_folder
from assay.measures.calibration import Calibration
from assay.models.info import INFO_FILE, KERAS_FILE, SAVED_MODEL_DIR, ModelInfo, read_info
from assay.storage.files import new_file

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to predict.

    Args:
        info: The content of ``model.json``.
        model: The Keras model, float32 raw values in, probabilities out.
    """

    info: ModelInfo
    model: keras.Model

    def predict(self, inputs: Any, batch_size: int = 64) -> np.ndarray:
        """Return calibrated probabilities.

        Args:
            inputs: (N, H, W, C) uint8 or (N, T, C) float32: an array, or anything with ``len`` and slices.
            batch_size: Examples a step.

        Returns:
            (N, K) float32.

        Raises:
            InputError: The inputs have another shape than the model's.
        """
        from assay.models.heads import probabilities

        count = len(inputs)
        shape = tuple(inputs.shape[1:])
        if shape != self.info.input_shape:
            raise InputError(
                f"model '{self.info.name}' takes inputs of shape {self.info.input_shape}. Received: {shape}. "
                "Preprocess the data with the model's own image_size and color_mode."
            )
        out = np.empty((count, len(self.info.classes)), dtype=np.float32)
        for start in range(0, count, batch_size):
            batch = np.asarray(inputs[start : start + batch_size])
            out[start : start + len(batch)] = probabilities(self.model.predict_on_batch(batch))
        return self.info.calibration.apply(out)

    def decide(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the decided class of each row; see `ModelInfo.decide`."""
        return self.info.decide(probabilities)


def save_model(model: keras.Model, out_dir: Path, info: ModelInfo, *, served: bool = True) -> ModelInfo:
    """Write the artifact into a folder, which may hold other files; an artifact there is replaced.

    Args:
        model: Raw values in (pixels 0..255), probabilities out.
        out_dir: Created where missing.
        info: What to store beside the weights.
        served: Write ``saved_model/`` too; else `update_info` does.

    Returns:
        The info as stored: with the parameters counted and the hashes of what lies beside it.

    Raises:
        InputError: The model's input or output does not fit ``info``.
        AssayError: The folder cannot be written.
    """
    _check_fits(model, info)
    with _staging(out_dir) as stage:
        model.save(stage / KERAS_FILE)
        info = info.model_copy(update={"parameters": model.count_params(), "sha256": hash_file(stage / KERAS_FILE)})
        info = _export(model, info, stage / SAVED_MODEL_DIR) if served else _unserved(info)
        (out_dir / INFO_FILE).unlink(missing_ok=True)
        (stage / KERAS_FILE).replace(out_dir / KERAS_FILE)
        _replace_folder(stage, out_dir, SAVED_MODEL_DIR)
        _write_info(info, out_dir)
    return info


def load_model(model_dir: Path) -> LoadedModel:
    """Load an artifact for prediction.

    Args:
        model_dir: The folder that `save_model` wrote.

    Raises:
        InputError: There is no model.
        DamagedError: Files are missing, damaged, or not of one model.
    """
    info = read_info(model_dir)
    path = model_dir / KERAS_FILE
    if not path.is_file():
        raise DamagedError(f"{path}: no such file, although {INFO_FILE} is there. Fetch the model again.")
    if info.sha256 and hash_file(path) != info.sha256:
        raise DamagedError(f"{path}: the content is not what {INFO_FILE} says (SHA-256). Fetch the model again.")
    import keras

    # They register the layers that the file may name.
    import assay.models.dropout
    import assay.models.layers  # noqa: F401

    try:
        model = keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises whatever the damaged part led to.
        reason = " ".join(str(error).split())[:200]
        raise DamagedError(f"{path}: Keras cannot read this model ({reason}). Fetch it again or retrain.") from error
    _check_fits(model, info)
    return LoadedModel(info, model)


def update_info(
    model_dir: Path,
    *,
    threshold: float | None = None,
    calibration: Calibration | None = None,
    class_offsets: tuple[float, ...] | None = None,
) -> ModelInfo:
    """Set threshold, calibration and class offsets of a stored model; the serving signature follows, or is written.

    Args:
        model_dir: The folder that `save_model` wrote.
        threshold: Probability of the positive class, 0..1, after the calibration; None: as it is.
        calibration: For as many classes; None: as it is.
        class_offsets: Of three classes or more, one each, or empty; None: as they are.

    Returns:
        The info as stored.

    Raises:
        InputError: A value is out of range, or the folder holds no whole model.
    """
    loaded = load_model(model_dir)
    changes = {"threshold": threshold, "calibration": calibration, "class_offsets": class_offsets}
    values = loaded.info.model_dump() | {key: value for key, value in changes.items() if value is not None}
    try:
        info = ModelInfo.model_validate(values)
    except ValidationError as error:
        raise InputError(
            f"{model_dir}: threshold must lie in 0..1, calibration and class_offsets be for "
            f"{len(loaded.info.classes)} classes. Received: {threshold}, {calibration}, {class_offsets}."
        ) from error
    if info == loaded.info and info.served_sha256:
        return info
    with _staging(model_dir) as stage:
        info = _export(loaded.model, info, stage / SAVED_MODEL_DIR)
        _replace_folder(stage, model_dir, SAVED_MODEL_DIR)
        _write_info(info, model_dir)
    return info


def copy_model(source: Path, destination: Path) -> None:
    """Copy an artifact, and nothing else that lies in its folder.

    Raises:
        InputError: The source holds no model.
    """
    info = read_info(source)
    with _staging(destination) as stage:
        shutil.copyfile(source / KERAS_FILE, stage / KERAS_FILE)
        if info.served_sha256:
            shutil.copytree(source / SAVED_MODEL_DIR, stage / SAVED_MODEL_DIR)
        (destination / INFO_FILE).unlink(missing_ok=True)
        (stage / KERAS_FILE).replace(destination / KERAS_FILE)
        _replace_folder(stage, destination, SAVED_MODEL_DIR)
        _write_info(info, destination)


def _check_fits(model: keras.Model, info: ModelInfo) -> None:
    if tuple(model.input_shape[1:]) != info.input_shape:
        raise InputError(
            f"model '{info.name}' takes inputs of shape {model.input_shape[1:]}, its description says "
            f"{info.input_shape}. Give the input_shape that it was built with."
        )
    outputs = model.output_shape[-1]
    if outputs != len(info.classes) and not (outputs == 1 and len(info.classes) == 2):
        raise InputError(
            f"model '{info.name}' has {outputs} outputs, its description names {len(info.classes)} classes. "
            "Give the classes that it was trained on."
        )


@contextlib.contextmanager
def _staging(out_dir: Path) -> Iterator[Path]:
    """Yield an empty folder inside ``out_dir``, on its file system, and remove it at the end."""
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=".model-", dir=out_dir))
    except OSError as error:
        raise AssayError(
            f"{out_dir}: cannot write a model here ({error.strerror}). Free space or name another folder."
        ) from error
    try:
        yield stage
    except OSError as error:
        raise AssayError(
            f"{out_dir}: cannot write the model ({error.strerror or error}). Free space or name another folder."
        ) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _replace_folder(stage: Path, out_dir: Path, name: str) -> None:
    target = out_dir / name
    if target.exists():
        target.replace(stage / f"old-{name}")
    if (stage / name).exists():
        (stage / name).replace(target)


def _write_info(info: ModelInfo, out_dir: Path) -> None:
    text = json.dumps(info.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
    with new_file(out_dir / INFO_FILE) as stage:
        stage.write_text(text, encoding="utf-8")


def _unserved(info: ModelInfo) -> ModelInfo:
    return info.model_copy(update={"served_sha256": ""})


def _export(model: keras.Model, info: ModelInfo, path: Path) -> ModelInfo:
    """Write a SavedModel whose signatures give calibrated probabilities and the decided labels; return its info."""
    import tensorflow as tf

    from assay.models.serving import serving_functions

    module = tf.Module()
    # The variables alone: tracking the Keras object would store its whole config a second time.
    module.weights = list(model.variables)
    try:
        tf.saved_model.save(module, str(path), signatures=serving_functions(model, info))
    except tf.errors.OpError as error:
        reason = " ".join(str(error.message).split())[-100:]
        raise AssayError(f"{path.parent.parent}: TensorFlow cannot write the model ({reason}). Free space.") from error
    return info.model_copy(update={"served_sha256": hash_folder(path)})
