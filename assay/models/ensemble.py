"""Several models as one: their calibrated probabilities averaged, in one network, one artifact, one SavedModel.

Lakshminarayanan et al. 2017, Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles; the models of
a cross-validation's folds are averaged so by nnU-Net (Isensee et al. 2021).
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from assay.hashing import code_version
from assay.measures.calibration import Calibration
from assay.models.artifact import load_model, save_model
from assay.models.info import ModelInfo
from assay.models.layers import Calibrated

# Enough to time a pass, after one that does not count.
TIMED = 32


def write_ensemble(
    model_dirs: Sequence[Path],
    calibrations: Sequence[Calibration],
    out_dir: Path,
    *,
    threshold: float | None,
    class_offsets: tuple[float, ...] = (),
    dataset: str,
) -> ModelInfo:
    """Write the mean of several models' calibrated probabilities as one artifact.

    Args:
        model_dirs: The artifacts, for the same classes and inputs.
        calibrations: Of each.
        out_dir: As for `save_model`.
        threshold: Probability of the positive class, 0..1; None: more than two classes.
        class_offsets: Of three classes or more, one each, or empty; see `ModelInfo.class_offsets`.
        dataset: Fingerprint of the dataset that all of them together have seen.

    Returns:
        The info as stored: of the first model, but for what is the ensemble's own. ``config.ensemble`` has the number
        of models and the seconds that one input takes here, in a batch of 32.
    """
    members = [load_model(folder) for folder in model_dirs]
    info = members[0].info
    inputs = keras.Input(info.input_shape)
    answers = []
    for number, (member, calibration) in enumerate(zip(members, calibrations, strict=True), start=1):
        member.model.name = f"fold_{number}"
        layer = Calibrated(calibration.model_dump(mode="json"), name=f"calibrated_{number}")
        answers.append(layer(member.model(inputs)))
    averaged = keras.layers.Average(name="mean", dtype="float32")(answers)
    model = keras.Model(inputs, averaged, name="ensemble")
    ensemble = {"members": len(members), "seconds_per_input": _seconds(model, info.input_shape)}
    # The members are calibrated: their mean is not once more.
    values = info.model_dump() | {
        "calibration": Calibration(),
        "threshold": 0.5 if threshold is None else threshold,
        "class_offsets": class_offsets,
        "config": {**info.config, "ensemble": ensemble},
        "dataset_fingerprint": dataset,
        "code_version": code_version(),
        "served_sha256": "",
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    return save_model(model, out_dir, ModelInfo.model_validate(values))


def _seconds(model: keras.Model, shape: tuple[int, ...]) -> float:
    """Return the seconds that one input takes, in a batch."""
    batch = np.zeros((TIMED, *shape), np.float32)
    model.predict_on_batch(batch)
    started = time.perf_counter()
    model.predict_on_batch(batch)
    return (time.perf_counter() - started) / TIMED
