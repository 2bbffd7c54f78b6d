"""Random numbers by address: each image has its own stream, whatever batch or worker asks for it."""

from __future__ import annotations

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def uniforms(seed: int, epoch: int, indices: np.ndarray, count: int) -> np.ndarray:
    """Return uniform draws that depend on (seed, epoch, index, position) and on nothing else.

    A counter-based generator: no state, so no order of calls can change a draw, and no generator is
    built for an image.

    Args:
        seed: Of the run.
        epoch: Which pass over the data, from 0.
        indices: Positions of the images in their split, integers of shape (B,).
        count: Draws for each image.

    Returns:
        float64 of shape (B, count), uniform in [0, 1).

    Source:
        SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
    """
    key = _mix(np.array([seed], dtype=np.uint64) + _GOLDEN)
    key = _mix(key ^ (np.array([epoch], dtype=np.uint64) + _FIRST))
    streams = _mix(key + (np.asarray(indices).astype(np.uint64) + np.uint64(1)) * _SECOND)
    positions = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
    bits = _mix(streams[:, None] + positions[None, :])
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(z: np.ndarray) -> np.ndarray:
    """Apply SplitMix64's finaliser: every input bit reaches every output bit (arithmetic modulo 2**64)."""
    z = (z ^ (z >> np.uint64(30))) * _FIRST
    z = (z ^ (z >> np.uint64(27))) * _SECOND
    return z ^ (z >> np.uint64(31))
