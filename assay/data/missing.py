"""Missing values of sensor windows: filled by a policy, from the training split's statistics alone.

Where values are missing in use but not in training, `MissingValues` hides some in training too and fills them
in the same way: a network must have seen what filling looks like.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from assay.data.unusable import UnusableWindow

if TYPE_CHECKING:
    from assay.data.dataset import Dataset

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


def count_gaps(windows: Windows) -> tuple[int, int]:
    """Return how many values of windows are missing, and in how many gaps: runs in time of one channel.

    Args:
        windows: float32 (N, T, C), NaN where missing.
    """
    missing = np.isnan(windows)
    begins = missing.copy()
    begins[:, 1:] &= ~missing[:, :-1]
    return int(missing.sum()), int(begins.sum())


class MissingValues:
    """Hides values of training windows and fills them again, anew in each epoch.

    It has the interface of the image augmenter, so that batches are made in the same way. Sensors fail for a while
    and not for single values: gaps begin and end by chance with the mean length given, each channel by itself.

    Args:
        fraction: Share of the values that is hidden.
        policy: How they are filled; see `fill_missing`.
        means: Training mean of each channel.
        seed: With epoch and row it decides what is hidden.
        gap: Mean length of a gap, steps; no shorter than independent values would make it.

    Source:
        Gaps by a chain of two states: Gilbert 1960, Bell System Technical Journal 39.
    """

    def __init__(self, fraction: float, policy: str, means: Sequence[float], seed: int, gap: float = 1.0) -> None:
        self.fraction = fraction
        self.policy = policy
        self.means = tuple(means)
        self.seed = seed
        self.gap = gap

    def batch(self, windows: Windows, indices: npt.NDArray[Any], epoch: int, out: Windows | None = None, /) -> Windows:
        """Return the windows with some values hidden and filled.

        Args:
            windows: float32 (B, T, C).
            indices: Row numbers (B,) in the training split.
            epoch: Number of the epoch.
            out: Where to put the result; a new array where it is absent.
        """
        draws = [
            np.random.default_rng([self.seed, 11, epoch, int(index)]).random(windows.shape[1:]) for index in indices
        ]
        hidden = windows.copy()
        hidden[self._gaps(np.stack(draws))] = np.nan
        filled = fill_missing(hidden, self.policy, self.means)
        if out is None:
            return filled
        out[:] = filled
        return out

    def _gaps(self, draws: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Return what is hidden, bool (B, T, C), by uniform draws of that shape."""
        hidden: npt.NDArray[np.bool_] = draws < self.fraction
        # Independent values already make gaps of this length.
        if self.gap <= 1 / (1 - self.fraction):
            return hidden
        ends = 1 / self.gap
        begins = self.fraction / (1 - self.fraction) * ends
        for step in range(1, draws.shape[1]):
            now = draws[:, step]
            hidden[:, step] = np.where(hidden[:, step - 1], now >= ends, now < begins)
        return hidden


def filling_policy(dataset: Dataset) -> Literal["error", "mean", "interpolate"]:
    """Return how missing values of windows are filled in training, and so in use; error: there were none."""
    missing = dataset.description.get("missing") or {"policy": "error", "simulate": 0}
    if missing["policy"] == "error":
        return "mean" if missing["simulate"] else "error"
    return "mean" if missing["policy"] == "mean" else "interpolate"


def hidden_values(dataset: Dataset, seed: int) -> MissingValues | None:
    """Return what hides values of a dataset's windows in training, or None where nothing is hidden."""
    missing = dataset.description.get("missing")
    if not missing or not missing["simulate"]:
        return None
    gap = missing.get("gap", 1.0)
    return MissingValues(missing["simulate"], filling_policy(dataset), dataset.mean, seed, gap)
