"""What is known of a model besides its weights: ``model.json``, and the names of an artifact's files."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from assay.errors import DamagedError, InputError
from assay.hashing import code_version
from assay.measures.calibration import Calibration
from assay.measures.metrics import decide

# What a SavedModel can be asked by; `assay.models.serving` says what each takes and gives.
BYTES_SIGNATURE = "serving_default"
ERRORS_SIGNATURE = "with_errors"
PIXELS_SIGNATURE = "pixels"

INFO_FILE = "model.json"
KERAS_FILE = "model.keras"
SAVED_MODEL_DIR = "saved_model"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


class ModelInfo(BaseModel):
    """What is known of a model besides its weights; the content of ``model.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    schema_version: Literal[1] = 1
    name: str = Field(description="the registered architecture, such as vgg16")
    classes: tuple[str, ...] = Field(min_length=2, description="class names, in the order of the probabilities")
    positive_index: int = Field(-1, description="index of the class to detect; -1: the last")
    kind: Literal["image", "sensor"] = "image"
    input_shape: tuple[int, ...] = Field(description="H,W,C of images in pixels, or T,C of sensor windows")
    color_mode: Literal["rgb", "grayscale"] = "rgb"
    max_pixels: int = Field(100_000_000, ge=1, description="of training: a larger image is refused unread")
    window: tuple[float, float] | Literal["percentile"] | None = Field(None, description="of training: data.window")
    window_percentiles: tuple[float, float] = Field((0.5, 99.5), description="of training: data.window_percentiles")
    bands: tuple[int, ...] | None = Field(None, description="of training: data.bands")
    preprocessing: str = Field("", description="what the network itself does to raw pixels, in words")
    missing: Literal["error", "mean", "interpolate"] = Field("error", description="filling of missing sensor values")
    channel_means: tuple[float, ...] = Field((), description="of the training split, for missing sensor values")
    missing_values: tuple[float, ...] = Field((), description="of training: data.missing_values")
    missing_flat_steps: int | None = Field(None, description="of training: data.missing_flat_steps")
    missing_mask: bool = Field(False, description="of training: data.missing_mask; half of the channels are the mask")
    threshold: float = Field(0.5, ge=0, le=1, description="of two classes: positive at this probability or above")
    class_offsets: tuple[float, ...] = Field(
        (), description="of more classes: added to their log probabilities before the highest is decided"
    )
    calibration: Calibration = Field(
        default_factory=Calibration, description="from the network's probabilities to those reported"
    )
    config: dict[str, Any] = Field(default_factory=dict, description="the resolved config of the run")
    dataset_fingerprint: str = ""
    code_version: str = Field(default_factory=code_version)
    weights_hash: str = Field("", description="of the pretrained weights it began from; empty: none")
    parameters: int = Field(0, ge=0, description="weights in all; counted by save_model")
    created: str = Field(default_factory=_now, description="UTC")
    sha256: str = Field("", description="of model.keras; set by save_model")
    served_sha256: str = Field("", description="of what is in saved_model/; empty: there is none")

    @model_validator(mode="before")
    @classmethod
    def _with_a_temperature(cls, values: Any) -> Any:
        # What earlier versions wrote: a champion in use must stay one.
        if not isinstance(values, dict) or "temperature" not in values or "calibration" in values:
            return values
        kept = {name: value for name, value in values.items() if name != "temperature"}
        temperature = values["temperature"]
        if not isinstance(temperature, int | float) or not temperature > 0:
            raise ValueError(f"temperature must be above 0. Received: {temperature!r}")
        if temperature != 1:
            slopes = (1 / temperature,) * len(values.get("classes", ()))
            kept["calibration"] = Calibration(method="temperature", slopes=slopes)
        return kept

    @model_validator(mode="after")
    def _fits_together(self) -> ModelInfo:
        if not -1 <= self.positive_index < len(self.classes):
            raise ValueError(f"positive_index must name one of {len(self.classes)} classes: {self.positive_index}")
        if len(self.input_shape) != (3 if self.kind == "image" else 2):
            raise ValueError(f"input_shape of {self.kind} models is H,W,C or T,C. Received: {self.input_shape}")
        if self.missing_mask and self.input_shape[-1] % 2:
            raise ValueError(f"with missing_mask there is an even number of channels. Received: {self.input_shape}")
        if self.missing != "error" and len(self.channel_means) != self.file_shape[-1]:
            raise ValueError(f"channel_means needs a value for each channel. Received: {self.channel_means}")
        if self.class_offsets and (len(self.class_offsets) != len(self.classes) or len(self.classes) == 2):
            raise ValueError(f"class_offsets are for three classes or more, one each: {self.class_offsets}")
        if self.calibration.classes - {len(self.classes)}:
            raise ValueError(f"calibration needs a value for each of {len(self.classes)} classes: {self.calibration}")
        if self.positive_index == -1:
            object.__setattr__(self, "positive_index", len(self.classes) - 1)
        return self

    @property
    def file_shape(self) -> tuple[int, ...]:
        """Shape of what is decoded from a file: ``input_shape`` without the channels of a mask."""
        if not self.missing_mask:
            return self.input_shape
        return (*self.input_shape[:-1], self.input_shape[-1] // 2)

    def decide(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the decided class of each row: by the threshold for two classes, else by the class offsets.

        Args:
            probabilities: (N, K) float.

        Returns:
            (N,) int64 class indices.
        """
        threshold = self.threshold if len(self.classes) == 2 else None
        return decide(probabilities, threshold, self.positive_index, self.class_offsets)


def read_info(model_dir: Path) -> ModelInfo:
    """Read ``model.json`` of an artifact.

    Raises:
        InputError: The folder is missing or holds no model.
        DamagedError: Its ``model.json`` cannot be read.
    """
    path = model_dir / INFO_FILE
    try:
        return ModelInfo.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise InputError(f"{model_dir}: no model here ({INFO_FILE} is missing). Name a folder with one.") from error
    except (OSError, ValueError, RecursionError) as error:
        reason = f"{error.error_count()} wrong fields" if isinstance(error, ValidationError) else str(error)
        raise DamagedError(f"{path}: not a readable model description ({reason}). Fetch the model again.") from error
