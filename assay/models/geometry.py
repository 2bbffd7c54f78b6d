"""The least input that a chain of convolutions and pools can take, known before anything is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from assay.errors import InputError


@dataclass(frozen=True)
class Window:
    """One sliding window, of a convolution or a pool.

    Attributes:
        layer: The layer's name.
        size: Its sides, (height, width) or (time,), in values of its input.
        stride: Steps along the same axes.
        padding: ``same`` takes any input of at least one value; ``valid`` needs a whole window.
    """

    layer: str
    size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Literal["valid", "same"] = "valid"

    def reach(self, sides: tuple[int, ...]) -> tuple[int, ...]:
        """Return the output's sides for an input of ``sides``; 0 or less where the window does not fit."""
        if self.padding == "same":
            return tuple(-(-side // step) for side, step in zip(sides, self.stride, strict=True))
        return tuple(
            (side - width) // step + 1 for side, width, step in zip(sides, self.size, self.stride, strict=True)
        )


def least_input(windows: Sequence[Window]) -> tuple[int, ...]:
    """Return the smallest input sides that leave at least one value after every window."""
    need = tuple(1 for _ in windows[0].size)
    for window in reversed(windows):
        extra = tuple(1 for _ in window.size) if window.padding == "same" else window.size
        need = tuple((side - 1) * step + width for side, step, width in zip(need, window.stride, extra, strict=True))
    return need


def require_fit(model: str, input_shape: tuple[int, ...], windows: Sequence[Window]) -> None:
    """Raise unless every window fits into what reaches it.

    Args:
        model: The model's name, for the message.
        input_shape: (height, width, channels) or (time, channels).
        windows: The network's windows in order.

    Raises:
        InputError: Naming the first layer that does not fit and the least size that the whole network needs.
    """
    sides = input_shape[:-1]
    for window in windows:
        reached = window.reach(sides)
        if min(reached) < 1:
            raise InputError(
                f"model {model}: an input of {_times(input_shape[:-1])} is too small for layer '{window.layer}', "
                f"which needs {_times(window.size)} and is reached by {_times(sides)}. "
                f"Give at least {_times(least_input(windows))}, or a network with fewer pools."
            )
        sides = reached


def _times(sides: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in sides) if len(sides) > 1 else f"{sides[0]} steps"
