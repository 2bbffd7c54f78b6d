"""The operations of a policy, one by one: what each means, its extremes, and the policy with or without it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from assay.augmentation.parameters import Parameters
from assay.config import Policy

# Values of `Parameters` by name.
Change = dict[str, float]


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        field: Its field in `Policy`.
        title: What to call it.
        meaning: What it does, for a reader who knows images and no code.
        range: Says the range that a policy gives it, with units, for images of a size (height, width).
        extremes: The strongest changes that the policy allows, for images of that size.
        graded: Whether there are values between its extremes; a flip has none.
    """

    field: str
    title: str
    meaning: str
    range: Callable[[Policy, tuple[int, int]], str]
    extremes: Callable[[Policy, tuple[int, int]], list[Change]]
    graded: bool = True

    @property
    def name(self) -> str:
        """The title inside a sentence."""
        return self.title if self.title[:2].isupper() else self.title[0].lower() + self.title[1:]

    def active(self, policy: Policy) -> bool:
        """Return whether a policy asks for it."""
        return getattr(policy, self.field) != getattr(Policy(), self.field)

    def left_out(self, policy: Policy) -> Policy:
        """Return the policy without it."""
        return policy.model_copy(update={self.field: getattr(Policy(), self.field)})

    def alone(self, policy: Policy) -> Policy:
        """Return a policy of this operation and nothing else, with the same border."""
        kept = {name: getattr(policy, name) for name in ("fill_mode", "fill_value", "views", self.field)}
        return Policy(**kept)


def active_operations(policy: Policy) -> list[Operation]:
    """Return the operations that a policy asks for, in the order of its fields."""
    return [operation for operation in OPERATIONS if operation.active(policy)]


def policy_in_words(policy: Policy, size: tuple[int, int]) -> list[str]:
    """Return what a policy does to training images, one phrase an operation; empty where it changes nothing.

    Args:
        policy: The policy.
        size: Height and width of the images, pixels.
    """
    said = [
        f"{operation.name} {operation.range(policy, size)}" if operation.graded else operation.name
        for operation in active_operations(policy)
    ]
    return said + ([f"{policy.views} fixed views of each image"] if policy.views else [])


def describe(change: Change) -> list[str]:
    """Say in a few words what changes an image undergoes; nothing for values that change nothing.

    Parameters say which place of the input a pixel shows, so the picture moves the other way.

    Args:
        change: Values of `Parameters` by name, such as `Parameters.at` gives.
    """
    value = {**Parameters.one().at(0), **change}
    said = []
    if value["turns"]:
        said.append(f"turned {90 * value['turns']:.0f}°")
    if value["rotation"]:
        said.append(f"{'↺' if value['rotation'] > 0 else '↻'} {abs(value['rotation']):.1f}°")
    if value["shift_x"] or value["shift_y"]:
        along = f"{'←' if value['shift_x'] > 0 else '→'} {abs(value['shift_x']):.1f}" if value["shift_x"] else ""
        across = f"{'↑' if value['shift_y'] > 0 else '↓'} {abs(value['shift_y']):.1f}" if value["shift_y"] else ""
        said.append(f"{along} {across} px".strip())
    if value["shear"]:
        said.append(f"shear {value['shear']:+.2f}°")
    if value["zoom_x"] != 1 or value["zoom_y"] != 1:
        said.append(f"zoom {1 / value['zoom_x']:.2f} × {1 / value['zoom_y']:.2f}")
    mirrored = ("↔" if value["flip_horizontal"] else "") + ("↕" if value["flip_vertical"] else "")
    if mirrored:
        said.append(f"mirrored {mirrored}")
    if value["brightness"] != 1:
        said.append(f"bright ×{value['brightness']:.2f}")
    if value["hue"]:
        said.append(f"hue {360 * value['hue']:+.0f}°")
    said += [
        f"{short} ×{value[name]:.2f}"
        for name, short in (("saturation", "sat."), ("value", "value"))
        if value[name] != 1
    ]
    return said


def _brightness(policy: Policy) -> tuple[float, float]:
    return policy.brightness_range or (1.0, 1.0)


def _jitter(policy: Policy) -> tuple[float, float, float]:
    jitter = policy.color_jitter
    return (jitter.hue, jitter.saturation, jitter.value) if jitter else (0.0, 0.0, 0.0)


def _jitter_range(policy: Policy, size: tuple[int, int]) -> str:
    hue, saturation, value = _jitter(policy)
    parts = [f"hue ±{360 * hue:.3g}°"] if hue else []
    for name, strength in (("saturation", saturation), ("value", value)):
        if strength:
            parts.append(f"{name} ×{np.exp(-strength):.2f} to ×{np.exp(strength):.2f}")
    return ", ".join(parts)


def _jitter_extremes(policy: Policy, size: tuple[int, int]) -> list[Change]:
    hue, saturation, value = _jitter(policy)
    extremes: list[Change] = [{"hue": -hue}, {"hue": hue}] if hue else []
    for name, strength in (("saturation", saturation), ("value", value)):
        if strength:
            extremes += [{name: float(np.exp(-strength))}, {name: float(np.exp(strength))}]
    return extremes


def _shift_range(fraction: float, side: int, name: str) -> str:
    return f"±{100 * fraction:.3g} % of the {name} (±{fraction * side:.3g} px)"


OPERATIONS = (
    Operation(
        "rotation_range",
        "Rotation",
        "Turned about the centre.",
        lambda policy, size: f"±{policy.rotation_range:.3g}°",
        lambda policy, size: [{"rotation": -policy.rotation_range}, {"rotation": policy.rotation_range}],
    ),
    Operation(
        "quarter_turns",
        "Quarter turns",
        "Turned counter-clockwise by a multiple of 90°, each as likely; no pixel is interpolated.",
        lambda policy, size: "0°, 90°, 180° or 270°",
        lambda policy, size: [{"turns": 1}, {"turns": 2}, {"turns": 3}],
        graded=False,
    ),
    Operation(
        "width_shift_range",
        "Shift along the width",
        "Moved left or right; the border fills what becomes free.",
        lambda policy, size: _shift_range(policy.width_shift_range, size[1], "width"),
        lambda policy, size: [
            {"shift_x": -policy.width_shift_range * size[1]},
            {"shift_x": policy.width_shift_range * size[1]},
        ],
    ),
    Operation(
        "height_shift_range",
        "Shift along the height",
        "Moved up or down; the border fills what becomes free.",
        lambda policy, size: _shift_range(policy.height_shift_range, size[0], "height"),
        lambda policy, size: [
            {"shift_y": -policy.height_shift_range * size[0]},
            {"shift_y": policy.height_shift_range * size[0]},
        ],
    ),
    Operation(
        "shear_range",
        "Shear",
        "Slanted. In degrees, as Keras means it: 0.1 is a tenth of a degree.",
        lambda policy, size: f"±{policy.shear_range:.3g}°",
        lambda policy, size: [{"shear": -policy.shear_range}, {"shear": policy.shear_range}],
    ),
    Operation(
        "zoom_range",
        "Zoom",
        "Width and height scaled, each by a factor of its own.",
        lambda policy, size: f"×{1 / (1 + policy.zoom_range):.3g} to ×{1 / (1 - policy.zoom_range):.3g} on each axis",
        lambda policy, size: [
            {"zoom_x": 1 - policy.zoom_range, "zoom_y": 1 - policy.zoom_range},
            {"zoom_x": 1 + policy.zoom_range, "zoom_y": 1 + policy.zoom_range},
            {"zoom_x": 1 - policy.zoom_range, "zoom_y": 1 + policy.zoom_range},
        ],
    ),
    Operation(
        "brightness_range",
        "Brightness",
        "All channels multiplied by one factor; what passes white is cut off.",
        lambda policy, size: "×{:.3g} to ×{:.3g}".format(*_brightness(policy)),
        lambda policy, size: [{"brightness": factor} for factor in _brightness(policy)],
    ),
    Operation(
        "horizontal_flip",
        "Horizontal flip",
        "Mirrored left-right, every second time.",
        lambda policy, size: "yes or no",
        lambda policy, size: [{"flip_horizontal": 1}],
        graded=False,
    ),
    Operation(
        "vertical_flip",
        "Vertical flip",
        "Mirrored up-down, every second time.",
        lambda policy, size: "yes or no",
        lambda policy, size: [{"flip_vertical": 1}],
        graded=False,
    ),
    Operation(
        "color_jitter",
        "Colour jitter",
        "Hue turned, saturation and value multiplied: what differs between stains and scanners.",
        _jitter_range,
        _jitter_extremes,
    ),
    Operation(
        "zca_whitening",
        "ZCA whitening",
        "Correlations between pixels, measured on the training split, are taken out. Not random: it is done at "
        "test time too, inside the model.",
        lambda policy, size: "always",
        lambda policy, size: [],
        graded=False,
    ),
)
