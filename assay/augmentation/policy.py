"""The augmentation policy: which random changes a training image may undergo, in Keras's units."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

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
    """Random changes of colour in HSV, the variation that staining and scanners bring."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hue: float = Field(0.0, ge=0, le=0.5, description="fraction of the colour circle: uniform in -h..h")
    saturation: float = Field(0.0, ge=0, le=2, description="log-range: factor exp(uniform -s..s)")
    value: float = Field(0.0, ge=0, le=2, description="log-range: factor exp(uniform -v..v)")


Policy.model_rebuild()
