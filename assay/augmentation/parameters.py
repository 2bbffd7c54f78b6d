"""What is drawn at random for an image: one number for each operation of a policy, and the matrix they compose to."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from assay.augmentation.streams import uniforms
from assay.config import Policy

# One position in an image's stream for each draw. They are fixed, so that leaving one operation out of a
# policy leaves the draws of all others as they were: an ablation then compares like with like.
_POSITIONS = (
    "rotation",
    "shift_x",
    "shift_y",
    "shear",
    "zoom_x",
    "zoom_y",
    "flip_horizontal",
    "flip_vertical",
    "turns",
    "brightness",
    "hue",
    "saturation",
    "value",
)


@dataclass(frozen=True)
class Parameters:
    """The changes of B images, each field an array of shape (B,).

    Attributes:
        rotation: Degrees.
        shift_x: Pixels along the width.
        shift_y: Pixels along the height.
        shear: Degrees.
        zoom_x: Factor along the width on coordinates: above 1 the image looks smaller, as in Keras.
        zoom_y: The same along the height.
        flip_horizontal: Mirrored left-right.
        flip_vertical: Mirrored up-down.
        turns: Quarter turns counter-clockwise, 0 to 3.
        brightness: Factor on all channels.
        hue: Fraction of the colour circle.
        saturation: Factor on the distance from grey.
        value: Factor on all channels.
    """

    rotation: np.ndarray
    shift_x: np.ndarray
    shift_y: np.ndarray
    shear: np.ndarray
    zoom_x: np.ndarray
    zoom_y: np.ndarray
    flip_horizontal: np.ndarray
    flip_vertical: np.ndarray
    turns: np.ndarray
    brightness: np.ndarray
    hue: np.ndarray
    saturation: np.ndarray
    value: np.ndarray

    def __len__(self) -> int:
        return len(self.rotation)

    @staticmethod
    def identity(count: int) -> Parameters:
        """Return parameters that change none of ``count`` images."""
        zeros, ones, false = np.zeros(count), np.ones(count), np.zeros(count, dtype=bool)
        return Parameters(
            rotation=zeros,
            shift_x=zeros,
            shift_y=zeros,
            shear=zeros,
            zoom_x=ones,
            zoom_y=ones,
            flip_horizontal=false,
            flip_vertical=false,
            turns=np.zeros(count, dtype=np.int64),
            brightness=ones,
            hue=zeros,
            saturation=ones,
            value=ones,
        )

    @staticmethod
    def one(**values: Any) -> Parameters:
        """Return the parameters of a single image: those named, and no change otherwise."""
        identity = Parameters.identity(1)
        return replace(
            identity,
            **{name: np.array([value], dtype=getattr(identity, name).dtype) for name, value in values.items()},
        )

    def lossless(self) -> np.ndarray:
        """Return which images are only flipped and turned, so that no pixel need be interpolated: bool (B,)."""
        return (
            (self.rotation == 0)
            & (self.shift_x == 0)
            & (self.shift_y == 0)
            & (self.shear == 0)
            & (self.zoom_x == 1)
            & (self.zoom_y == 1)
        )

    def at(self, position: int) -> dict[str, float]:
        """Return the parameters of one image by name."""
        return {field.name: float(getattr(self, field.name)[position]) for field in fields(self)}


def draw(policy: Policy, size: tuple[int, int], seed: int, epoch: int, indices: np.ndarray) -> Parameters:
    """Draw what happens to each image in one epoch.

    Args:
        policy: The ranges.
        size: Height and width of the images, pixels: shifts are fractions of them.
        seed: Of the run.
        epoch: Which pass over the data, from 0.
        indices: Positions of the images in their split, integers of shape (B,).

    Returns:
        The parameters, which depend on (policy, size, seed, epoch, index) alone.
    """
    height, width = size
    columns = uniforms(seed, epoch, indices, len(_POSITIONS)).T
    drawn = dict(zip(_POSITIONS, columns, strict=True))

    def between(name: str, low: float, high: float) -> np.ndarray:
        return low + (high - low) * drawn[name]

    changes: dict[str, np.ndarray] = {}
    if policy.rotation_range:
        changes["rotation"] = between("rotation", -policy.rotation_range, policy.rotation_range)
    if policy.width_shift_range:
        changes["shift_x"] = between("shift_x", -policy.width_shift_range, policy.width_shift_range) * width
    if policy.height_shift_range:
        changes["shift_y"] = between("shift_y", -policy.height_shift_range, policy.height_shift_range) * height
    if policy.shear_range:
        changes["shear"] = between("shear", -policy.shear_range, policy.shear_range)
    if policy.zoom_range:
        changes["zoom_x"] = between("zoom_x", 1 - policy.zoom_range, 1 + policy.zoom_range)
        changes["zoom_y"] = between("zoom_y", 1 - policy.zoom_range, 1 + policy.zoom_range)
    if policy.horizontal_flip:
        changes["flip_horizontal"] = drawn["flip_horizontal"] < 0.5
    if policy.vertical_flip:
        changes["flip_vertical"] = drawn["flip_vertical"] < 0.5
    if policy.quarter_turns:
        changes["turns"] = (drawn["turns"] * 4).astype(np.int64)
    if policy.brightness_range is not None:
        changes["brightness"] = between("brightness", *policy.brightness_range)
    if policy.color_jitter is not None:
        jitter = policy.color_jitter
        changes["hue"] = between("hue", -jitter.hue, jitter.hue)
        changes["saturation"] = np.exp(between("saturation", -jitter.saturation, jitter.saturation))
        changes["value"] = np.exp(between("value", -jitter.value, jitter.value))
    return replace(Parameters.identity(len(indices)), **changes)


def matrices(parameters: Parameters, size: tuple[int, int]) -> np.ndarray:
    """Compose all geometric changes of each image into one matrix.

    The order is the generator's: rotation, shift, shear and zoom about the centre, then the flips;
    quarter turns come before all of them. Shear is an angle s with the matrix (1, -sin s; 0, cos s).

    Keras applies ``height_shift_range`` along the width and the reverse, and turns a rectangular image
    about the centre of its transpose (its matrix is built in x, y but given height first). Here each range
    acts along the axis that it names and the centre is the image's own; on square images with equal
    ranges the two cannot be told apart.

    Args:
        parameters: Of B images.
        size: Height and width, pixels.

    Returns:
        float64 (B, 2, 3): for a pixel (x, y, 1) of the output, the place in the input that it shows.
    """
    height, width = size
    count = len(parameters)
    angle = np.deg2rad(parameters.rotation)
    shear = np.deg2rad(parameters.shear)
    cos, sin = np.cos(angle), np.sin(angle)
    # rotation @ shear @ zoom; the shift is turned by the rotation alone.
    linear = np.empty((count, 2, 2))
    linear[:, 0, 0] = cos * parameters.zoom_x
    linear[:, 0, 1] = (-cos * np.sin(shear) - sin * np.cos(shear)) * parameters.zoom_y
    linear[:, 1, 0] = sin * parameters.zoom_x
    linear[:, 1, 1] = (-sin * np.sin(shear) + cos * np.cos(shear)) * parameters.zoom_y
    moved = np.stack(
        [cos * parameters.shift_x - sin * parameters.shift_y, sin * parameters.shift_x + cos * parameters.shift_y],
        axis=1,
    )
    # About the centre, a flip is a change of sign and a quarter turn is a permutation: nothing else moves.
    linear[:, :, 0] *= np.where(parameters.flip_horizontal, -1.0, 1.0)[:, None]
    linear[:, :, 1] *= np.where(parameters.flip_vertical, -1.0, 1.0)[:, None]
    if parameters.turns.any():
        turn = _TURNS[parameters.turns]
        linear = turn @ linear
        moved = (turn @ moved[:, :, None])[:, :, 0]
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    return np.concatenate([linear, (moved + centre - linear @ centre)[:, :, None]], axis=2)


# Output to input, in x to the right and y down, for 0 to 3 quarter turns counter-clockwise (numpy.rot90).
_TURNS = np.array(
    [[[1.0, 0.0], [0.0, 1.0]], [[0.0, -1.0], [1.0, 0.0]], [[-1.0, 0.0], [0.0, -1.0]], [[0.0, 1.0], [-1.0, 0.0]]]
)
