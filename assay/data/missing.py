"""Missing values of sensor windows: filled by a policy, from the training split's statistics alone.

Where values are missing in use but not in training, `MissingValues` hides some in training too and fills them
in the same way: a network must have seen what filling looks like.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.data.unusable import UnusableWindow

Windows = npt.NDArray[np.float32]


def fill_missing(windows: Windows, policy: str, means: Sequence[float]) -> Windows:
    """Return windows without missing values.

    Args:
        windows: float32 (N, T, C) or (T, C), NaN where missing.
        policy: ``mean``: the channel's training mean. ``interpolate``: linear in time within the window, the nearest
            value before the first and after the last one, the training mean where a channel has none. ``error``:
            nothing may be missing.
        means: Training mean of each channel (C,).

    Returns:
        A filled copy, or ``windows`` itself where nothing is missing.

    Raises:
        UnusableWindow: The policy is ``error`` and a value is missing.
    """
    missing = np.isnan(windows)
    if not missing.any():
        return windows
    if policy == "error":
        raise UnusableWindow(
            f"{int(missing.sum()):,} of {missing.size:,} values are missing, and data.missing is error"
        )
    filled = windows.copy()
    if policy == "interpolate":
        _interpolate(filled.reshape(-1, *filled.shape[-2:]))
    return np.where(np.isnan(filled), np.asarray(means, np.float32), filled)


def _interpolate(windows: Windows) -> None:
    missing = np.isnan(windows)
    steps = np.arange(windows.shape[1])
    for row, channel in np.argwhere(missing.any(axis=1) & ~missing.all(axis=1)):
        gap = missing[row, :, channel]
        windows[row, gap, channel] = np.interp(steps[gap], steps[~gap], windows[row, ~gap, channel])


def window_statistics(blocks: Iterable[Windows], channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel over the values that are there.

    One pass, by the combination of blocks of Chan, Golub and LeVeque (1979). The same blocks in the same order
    give the same digits.

    Args:
        blocks: Windows float32 (B, T, C), NaN where a value is missing.
        channels: C.

    Returns:
        Both (C,), in the sensor's units; 0 for a channel that has no value at all.
    """
    count, mean, squares = np.zeros((3, channels))
    for block in blocks:
        values = block.reshape(-1, channels).astype(np.float64)
        there = ~np.isnan(values)
        more = there.sum(axis=0)
        block_mean = np.where(there, values, 0.0).sum(axis=0) / np.maximum(more, 1)
        squares += (np.where(there, values - block_mean, 0.0) ** 2).sum(axis=0)
        step, total = block_mean - mean, np.maximum(count + more, 1)
        squares += step**2 * count * more / total
        mean += step * more / total
        count += more
    deviation = np.sqrt(squares / np.maximum(count, 1))
    return tuple(mean.tolist()), tuple(deviation.tolist())


class MissingValues:
    """Hides values of training windows and fills them again, anew in each epoch.

    It has the interface of the image augmenter, so that batches are made in the same way.

    Args:
        fraction: Share of the values that is hidden.
        policy: How they are filled; see `fill_missing`.
        means: Training mean of each channel.
        seed: With epoch and row it decides what is hidden.
    """

    def __init__(self, fraction: float, policy: str, means: Sequence[float], seed: int) -> None:
        self.fraction = fraction
        self.policy = policy
        self.means = tuple(means)
        self.seed = seed

    def batch(self, windows: Windows, indices: npt.NDArray[Any], epoch: int, out: Windows | None = None, /) -> Windows:
        """Return the windows with some values hidden and filled.

        Args:
            windows: float32 (B, T, C).
            indices: Row numbers (B,) in the training split.
            epoch: Number of the epoch.
            out: Where to put the result; a new array where it is absent.
        """
        hidden = windows.copy()
        for window, index in zip(hidden, indices, strict=True):
            random = np.random.default_rng([self.seed, 11, epoch, int(index)])
            window[random.random(window.shape) < self.fraction] = np.nan
        filled = fill_missing(hidden, self.policy, self.means)
        if out is None:
            return filled
        out[:] = filled
        return out
