"""Missing values of sensor windows: filled by a policy, from the training split's statistics alone.

Many a sensor says that it has failed with a zero or by repeating its last value: `mark_missing` makes such values
missing ones, in training and in use. Where a mask is asked for, the network is given another channel for each of the
sensor's, 1 where the value was missing and 0 where it was there.

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


def mark_missing(windows: Windows, values: Sequence[float] = (), flat_steps: int | None = None) -> Windows:
    """Return windows with NaN where a sensor says, in its own way, that it has no value.

    Args:
        windows: float32 (N, T, C) or (T, C), NaN where missing.
        values: What stands for a missing value, compared as float32.
        flat_steps: A channel that stays at one value for so many steps or more, 2 at least, has none there; only what
            lies within the window is counted. None: it has.

    Returns:
        A copy, or ``windows`` itself where nothing is asked for.
    """
    if values:
        windows = np.where(np.isin(windows, np.asarray(values, np.float32)), np.float32(np.nan), windows)
    if flat_steps is not None:
        windows = np.where(_flat(windows, flat_steps), np.float32(np.nan), windows)
    return windows


def _flat(windows: Windows, steps: int) -> npt.NDArray[np.bool_]:
    """Return which values lie in a run in time of so many equal ones or more, bool of the windows' shape."""
    time = windows.shape[-2]
    if steps > time:
        return np.zeros(windows.shape, bool)

    def summed(values: npt.NDArray[np.bool_], before: int, after: int) -> npt.NDArray[np.int64]:
        margins = [(0, 0)] * (windows.ndim - 2) + [(before + 1, after), (0, 0)]
        return np.cumsum(np.pad(values, margins), axis=-2, dtype=np.int64)

    repeats = summed(windows[..., 1:, :] == windows[..., :-1, :], 0, 0)
    # Where a run of `steps` begins, each of the `steps - 1` values after the first repeats the one before.
    begins = repeats[..., steps - 1 :, :] - repeats[..., : time - steps + 1, :] == steps - 1
    begun = summed(begins, steps - 1, steps - 1)
    flat: npt.NDArray[np.bool_] = begun[..., steps:, :] > begun[..., :time, :]
    return flat


def window_for_network(
    window: Windows,
    policy: str,
    means: Sequence[float],
    *,
    values: Sequence[float] = (),
    flat_steps: int | None = None,
    mask: bool = False,
) -> Windows:
    """Return what a network is shown of a window: missing values marked, filled and, where it is to know, told.

    Args:
        window: float32 (T, C) or (N, T, C), NaN where missing.
        policy: See `fill_missing`.
        means: Training mean of each channel (C,).
        values: See `mark_missing`.
        flat_steps: See `mark_missing`.
        mask: Whether the channels of the mask follow those of the sensor.

    Returns:
        float32 (T, C), with a mask (T, 2C).

    Raises:
        UnusableWindow: The policy is ``error`` and a value is missing.
    """
    marked = mark_missing(window, values, flat_steps)
    filled = fill_missing(marked, policy, means)
    return with_mask(filled, np.isnan(marked)) if mask else filled


def with_mask(windows: Windows, missing: npt.NDArray[np.bool_]) -> Windows:
    """Return windows (..., T, C) with the channels of the mask behind the sensor's, float32 (..., T, 2C)."""
    return np.concatenate([windows, missing.astype(np.float32)], axis=-1)


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


def window_statistics(
    blocks: Iterable[Windows], channels: int, *, mask: bool = False
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel over the values that are there.

    One pass, by the combination of blocks of Chan, Golub and LeVeque (1979). The same blocks in the same order
    give the same digits.

    Args:
        blocks: Windows float32 (B, T, C), NaN where a value is missing.
        channels: C.
        mask: Whether the second half of the channels is a mask: it has the mean 0 and the deviation 0, so that no
            statistics change what it says.

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
    if mask:
        mean[channels // 2 :] = deviation[channels // 2 :] = 0
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
        mask: Whether the windows bring a mask, which then says what is hidden, too.

    Source:
        Gaps by a chain of two states: Gilbert 1960, Bell System Technical Journal 39.
    """

    def __init__(
        self,
        fraction: float,
        policy: str,
        means: Sequence[float],
        seed: int,
        gap: float = 1.0,
        *,
        mask: bool = False,
    ) -> None:
        self.fraction = fraction
        self.policy = policy
        self.means = tuple(means)
        self.seed = seed
        self.gap = gap
        self.mask = mask

    def batch(self, windows: Windows, indices: npt.NDArray[Any], epoch: int, out: Windows | None = None, /) -> Windows:
        """Return the windows with some values hidden and filled.

        Args:
            windows: float32 (B, T, C), with a mask (B, T, 2C).
            indices: Row numbers (B,) in the training split.
            epoch: Number of the epoch.
            out: Where to put the result; a new array where it is absent.
        """
        values = windows[..., : len(self.means)]
        draws = [
            np.random.default_rng([self.seed, 11, epoch, int(index)]).random(values.shape[1:]) for index in indices
        ]
        gone = self._gaps(np.stack(draws))
        filled = fill_missing(np.where(gone, np.float32(np.nan), values), self.policy, self.means)
        if self.mask:
            filled = with_mask(filled, gone | (windows[..., len(self.means) :] > 0))
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
    gap, mask = missing.get("gap", 1.0), has_mask(dataset)
    means = dataset.mean[: sensor_channels(dataset)]
    return MissingValues(missing["simulate"], filling_policy(dataset), means, seed, gap, mask=mask)


def has_mask(dataset: Dataset) -> bool:
    """Return whether the second half of a dataset's channels says where the first half was missing."""
    return bool((dataset.description.get("missing") or {}).get("mask"))


def sensor_channels(dataset: Dataset) -> int:
    """Return how many channels of a dataset's windows are the sensor's own."""
    return dataset.input_shape[-1] // (2 if has_mask(dataset) else 1)
