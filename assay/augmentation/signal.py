"""Random changes of sensor windows in training: moved in time, another gain, noise, and values hidden."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from assay.config import SignalChange
from assay.data.missing import MissingValues

Windows = npt.NDArray[np.float32]


class SignalAugmenter:
    """Changes batches of windows as a sensor would have given them another time.

    What happens to a window depends on (seed, epoch, row) alone, as for images.

    Args:
        change: How much; None: nothing of it.
        hide: Hides values afterwards; None: none.
        mean: Training mean of each channel (C,), about which the gain changes.
        std: Training deviation of each channel (C,), the unit of the noise.
        seed: Of the run.
        views: Of the policy: epoch e shows view e modulo so many; 0: a new one in each epoch.
        mask: Whether the second half of the channels says what is missing: it moves in time with the first, and is
            else left as it is.

    Source:
        Um et al. 2017, Data Augmentation of Wearable Sensor Data, arXiv:1706.00527.
    """

    def __init__(
        self,
        change: SignalChange | None,
        hide: MissingValues | None,
        mean: Sequence[float],
        std: Sequence[float],
        seed: int,
        views: int = 0,
        *,
        mask: bool = False,
    ) -> None:
        self.change = change or SignalChange()
        self.hide = hide
        self.mean, self.std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
        self.seed = seed
        self.views = views
        self.mask = mask

    def batch(
        self, windows: Windows, indices: npt.NDArray[np.integer], epoch: int, out: Windows | None = None, /
    ) -> Windows:
        """Return the changed windows.

        Args:
            windows: float32 (B, T, C), nothing missing; left as they are.
            indices: Row numbers (B,) in the training split.
            epoch: Which pass over the data, from 0.
            out: Where to put the result; a new array where it is absent.
        """
        if self.views:
            epoch %= self.views
        changed = windows
        if self.change != SignalChange():
            changed = np.stack(
                [self._changed(window, epoch, int(index)) for window, index in zip(windows, indices, strict=True)]
            )
        if self.hide is not None:
            changed = self.hide.batch(changed, indices, epoch)
        if out is None:
            return changed
        out[:] = changed
        return out

    def _changed(self, window: Windows, epoch: int, index: int) -> Windows:
        steps, channels = window.shape
        channels //= 2 if self.mask else 1
        random = np.random.default_rng([self.seed, 13, epoch, index])
        # Drawn whatever is asked for: leaving one change out leaves the others as they were.
        moved, gains = random.uniform(-1, 1), random.uniform(-1, 1, channels)
        if self.change.shift:
            # What comes in from outside of the window is not known: the first or last value is repeated.
            at = np.arange(steps) + round(moved * self.change.shift * steps)
            window = window[np.clip(at, 0, steps - 1)]
        window, told = window[:, :channels], window[:, channels:]
        mean, std = self.mean[:channels], self.std[:channels]
        if self.change.scale:
            window = mean + (window - mean) * np.exp(self.change.scale * gains).astype(np.float32)
        if self.change.jitter:
            noise = random.standard_normal(window.shape, dtype=np.float32)
            window = window + self.change.jitter * std * noise
        return np.concatenate([window, told], axis=1).astype(np.float32, copy=False)


def signal_in_words(change: SignalChange | None) -> list[str]:
    """Return what is done to training windows, one phrase a change; empty where nothing is."""
    if change is None:
        return []
    said = []
    if change.shift:
        said.append(f"moved in time by up to {change.shift:.3g} of the window")
    if change.scale:
        said.append(f"each channel's swing ×{np.exp(-change.scale):.2f} to ×{np.exp(change.scale):.2f}")
    if change.jitter:
        said.append(f"noise of {change.jitter:.3g} of each channel's deviation")
    return said
