"""The augmentation policy: which random changes a training image may undergo, in Keras's units."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from assay.errors import InputError, did_you_mean

POLICY_FILE = "policy.json"

FillMode = Literal["nearest", "reflect", "wrap", "constant"]


class Policy(BaseModel):
    """Ranges of random changes, with the names, meanings and units of Keras's ``ImageDataGenerator``.

    The default policy changes nothing. ``quarter_turns`` and ``color_jitter`` are additions.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rotation_range: float = Field(0.0, ge=0, le=180, description="degrees: uniform in -r..r")
    quarter_turns: bool = Field(False, description="turn by 0, 90, 180 or 270 degrees (square images; lossless)")
    width_shift_range: float = Field(0.0, ge=0, le=1, description="fraction of the width: uniform in -r..r")
    height_shift_range: float = Field(0.0, ge=0, le=1, description="fraction of the height: uniform in -r..r")
    shear_range: float = Field(0.0, ge=0, lt=90, description="degrees, as Keras means it: 0.1 is a tenth of a degree")
    zoom_range: float = Field(0.0, ge=0, lt=1, description="fraction: each axis scaled by uniform 1-r..1+r")
    brightness_range: tuple[float, float] | None = Field(
        None, description="factors low..high by which the image is multiplied; null: none"
    )
    horizontal_flip: bool = Field(False, description="mirror left-right with probability one half")
    vertical_flip: bool = Field(False, description="mirror up-down with probability one half")
    color_jitter: ColorJitter | None = Field(None, description="random hue, saturation and value; null: none")
    zca_whitening: bool = Field(False, description="whiten with a matrix fitted on the training split")
    fill_mode: FillMode = Field("nearest", description="what stands outside the image's border")
    fill_value: float = Field(0.0, ge=0, le=255, description="grey level outside the border for fill_mode constant")
    views: int = Field(0, ge=0, le=64, description="cached augmented views of each image; 0: fresh ones each epoch")

    @model_validator(mode="after")
    def _brightness_is_a_range(self) -> Policy:
        if self.brightness_range is not None:
            low, high = self.brightness_range
            if not 0 <= low <= high <= 10:
                raise ValueError(
                    f"brightness_range must be two factors with 0 <= low <= high <= 10. Received: [{low}, {high}]"
                )
        return self


class ColorJitter(BaseModel):
    """Random changes of hue, saturation and value, the variation that staining and scanners bring.

    All three are one linear product on RGB (see `assay.augmentation.color`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    hue: float = Field(0.0, ge=0, le=0.5, description="fraction of the colour circle: uniform in -h..h")
    saturation: float = Field(0.0, ge=0, le=2, description="log-range: factor exp(uniform -s..s)")
    value: float = Field(0.0, ge=0, le=2, description="log-range: factor exp(uniform -v..v)")


Policy.model_rebuild()


def save_policy(policy: Policy, path: Path) -> None:
    """Write a policy as JSON, whole or not at all.

    Args:
        policy: What to write.
        path: The file; its folder is created where it is missing.
    """
    from assay.storage.objects import new_file

    with new_file(path) as stage:
        stage.write_text(json.dumps(policy.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")


def load_policy(path: Path | str) -> Policy:
    """Read a policy.

    Args:
        path: A JSON file, or a folder that holds ``policy.json``.

    Raises:
        InputError: The file is missing, is not JSON, or is no policy.
    """
    file = Path(path)
    if file.is_dir():
        file = file / POLICY_FILE
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{file}: no such policy. The augment step writes it.") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: not readable as JSON ({error}). Run the augment step again.") from error
    try:
        return Policy.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(str(part) for part in problem["loc"]) or "policy"
        hint = did_you_mean(name, Policy.model_fields) if problem["type"] == "extra_forbidden" else ""
        raise InputError(f"{file}: {name}: {problem['msg']}. Received: {problem['input']!r}.{hint}") from error
