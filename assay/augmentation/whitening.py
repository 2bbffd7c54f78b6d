"""ZCA whitening fitted on training images: exact for small images, of low rank for larger ones.

Bell & Sejnowski 1997; the exact form is that of Keras's ``ImageDataGenerator`` with ``featurewise_center`` and
``zca_whitening``. The exact matrix has a row and a column for every value of an image, so that its cost grows with the
sixth power of the side; above `LARGEST_EXACT` values only the strongest components are kept and the rest dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.errors import InputError

# 32x32x3 values: a matrix of 38 MB, fitted in seconds.
LARGEST_EXACT = 3_072
# 224x224x3 values: with 256 components a matrix of 154 MB.
LARGEST = 150_528
LOW_RANK = 256
# Enough to estimate the strongest components; bounds the memory of the fit.
SAMPLE = 2_000


@dataclass(frozen=True)
class Whitening:
    """What was fitted.

    Attributes:
        mean: float32 (values,): each channel's mean of pixels rescaled to 0..1, repeated for every pixel.
        matrix: float32 (values, values), or (values, rank): a factor F of the matrix F F^T.
    """

    mean: npt.NDArray[np.float32]
    matrix: npt.NDArray[np.float32]


def fit_whitening(images: Any, *, epsilon: float = 1e-6, seed: int = 0) -> Whitening:
    """Fit ZCA whitening on training images.

    Args:
        images: uint8 (N, height, width, channels): an array, or whatever is indexed like one. Only the training split.
        epsilon: Added to each variance, in squared units of 0..1, before its root is divided by; Keras's default.
        seed: Of the sample drawn where there are more than `SAMPLE` images, and of the low-rank solver.

    Returns:
        Mean and matrix for `build_model`.

    Raises:
        InputError: Fewer than two images, or images too large for either form.
    """
    count, size = len(images), int(np.prod(images.shape[1:]))
    shape = "x".join(str(side) for side in images.shape[1:])
    if count < 2:
        raise InputError(f"ZCA whitening needs at least two training images. Received: {count}")
    if size > LARGEST:
        raise InputError(
            f"ZCA whitening is limited to {LARGEST:,} values an image (224x224x3). Received: {shape}. "
            "Set a smaller data.image_size, or augment.policy.zca_whitening to false."
        )
    rng = np.random.default_rng([seed, 0])
    chosen = np.sort(rng.choice(count, SAMPLE, replace=False)) if count > SAMPLE else np.arange(count)
    values = np.asarray(images[chosen], dtype=np.float32).reshape(len(chosen), size) / np.float32(255)
    channels = images.shape[-1]
    mean = np.tile(values.reshape(-1, channels).mean(axis=0, dtype=np.float64).astype(np.float32), size // channels)
    values -= mean
    if size <= LARGEST_EXACT:
        matrix = _exact(values, epsilon)
    else:
        matrix = _factor(values, epsilon, seed)
    return Whitening(mean, matrix)


def _exact(values: npt.NDArray[np.float32], epsilon: float) -> npt.NDArray[np.float32]:
    wide = values.astype(np.float64)
    variances, directions = np.linalg.eigh(wide.T @ wide / len(values))
    # Rounding can leave a variance of zero slightly negative.
    gains = 1 / np.sqrt(np.maximum(variances, 0) + epsilon)
    return ((directions * gains) @ directions.T).astype(np.float32)


def _factor(values: npt.NDArray[np.float32], epsilon: float, seed: int) -> npt.NDArray[np.float32]:
    from sklearn.utils.extmath import randomized_svd

    rank = min(LOW_RANK, len(values))
    _, singular, directions = randomized_svd(values, n_components=rank, random_state=seed)
    gains = 1 / np.sqrt(np.square(singular) / len(values) + epsilon)
    return np.ascontiguousarray((directions.T * np.sqrt(gains)).astype(np.float32))
