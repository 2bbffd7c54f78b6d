"""The one size that all images of a dataset get, and what that size costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from assay.config import DataConfig

if TYPE_CHECKING:
    import pandas as pd

# A size that fewer images than this have is chance, not what the source is made of.
_LEAST_SHARE = 0.2
# The longer side of a size that nobody chose, in pixels.
_LARGEST_SIDE = 512
_SMALLEST_SIDE = 8
# What the first layer of a small network hands on: 32 channels of float32, for 32 images at a time.
_CHANNELS, _BATCH, _VALUE_BYTES = 32, 32, 4


@dataclass(frozen=True)
class TargetSize:
    """A size in pixels, and how it was found.

    Attributes:
        height: Of every image.
        width: Of every image.
        rule: ``asked`` (``data.image_size``), ``commonest``, or ``median`` where no size is common.
    """

    height: int
    width: int
    rule: str

    @property
    def reason(self) -> str:
        """The rule in words, to stand behind the size; empty where it needs none."""
        if self.rule != "median":
            return ""
        return (
            f", the median height and width (no size is common; the longer side is at most {_LARGEST_SIDE}). "
            "data.image_size=[height,width] sets another"
        )

    @property
    def batch_bytes(self) -> int:
        """Memory that the first layer of a small network takes for a batch of 32 images."""
        return self.height * self.width * _CHANNELS * _BATCH * _VALUE_BYTES


def target_size(table: pd.DataFrame, config: DataConfig) -> TargetSize:
    """Return the size that preprocessing gives to all images.

    That is ``data.image_size``; else the commonest size (of equally common ones the largest) where at least a fifth
    of the images have it; else the median height and width, made smaller where a side is longer than 512 pixels.

    Args:
        table: One row an image, with height and width in pixels.
        config: May name a size.
    """
    if config.image_size is not None:
        return TargetSize(*config.image_size, rule="asked")
    sizes = table.groupby(["height", "width"]).size()
    count = int(sizes.max())
    if count >= _LEAST_SHARE * len(table):
        height, width = max(sizes.index[sizes == count])
        return TargetSize(int(height), int(width), "commonest")
    height, width = float(table["height"].median()), float(table["width"].median())
    scale = min(1.0, _LARGEST_SIDE / max(height, width))
    height, width = (max(_SMALLEST_SIDE, int(side * scale + 0.5)) for side in (height, width))
    return TargetSize(int(height), int(width), "median")
