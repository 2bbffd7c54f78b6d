"""A cross-validated model's answers to what it was trained on, each by the fold that had not seen it.

The model that is kept has seen all images of its dataset, so it cannot be set against a challenger on any of them. The
answers of its folds can: they are kept with the version, by the content of the images.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from assay.measures.metrics import Scored
from assay.registry.seen import hash_keys
from assay.storage.files import read_errors

OUT_OF_FOLD_FILE = "out_of_fold.npz"


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """Answers by content.

    Attributes:
        images: uint64 (N,), sorted and each once: 64 bits of hash of the files' content.
        probabilities: float32 (N, K), calibrated, in the order of the model's classes.
        predicted: int64 (N,), index of the class decided.
    """

    images: npt.NDArray[np.uint64]
    probabilities: npt.NDArray[np.float32]
    predicted: npt.NDArray[np.int64]

    def find(self, records: pd.DataFrame) -> npt.NDArray[np.int64]:
        """Return which answer is that of each example, int64 (M,); -1: there is none.

        Args:
            records: Of the examples (M rows), with ``sha256``.
        """
        wanted = hash_keys(records["sha256"])
        if not len(self.images):
            return np.full(len(wanted), -1, np.int64)
        at = np.minimum(np.searchsorted(self.images, wanted), len(self.images) - 1)
        return np.where(self.images[at] == wanted, at, -1).astype(np.int64)


def write_out_of_fold(records: pd.DataFrame, scored: Scored, path: Path) -> None:
    """Write the answers to examples with these records (N rows, with ``sha256``)."""
    images, first = np.unique(hash_keys(records["sha256"]), return_index=True)
    probabilities = scored.probabilities[first].astype(np.float32)
    np.savez_compressed(path, images=images, probabilities=probabilities, predicted=scored.predicted[first])


def read_out_of_fold(data: bytes, origin: str) -> OutOfFold:
    """Read what `write_out_of_fold` wrote.

    Args:
        data: The file's content.
        origin: What to call it in an error.

    Raises:
        InputError: It is damaged.
    """
    with read_errors(origin, "Restore the object: without it, the model cannot be compared on what it has seen."):
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            found: dict[str, Any] = {name: arrays[name] for name in ("images", "probabilities", "predicted")}
            if len({len(values) for values in found.values()}) != 1:
                raise ValueError("its arrays do not fit each other")
            return OutOfFold(**found)
