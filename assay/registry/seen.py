"""What a stored model was trained on: kept with its version, so that a later test split can leave it out.

Splits last between trainings (`assay.data.kept`), but they can be drawn anew, be given by the source, or the
champion come from elsewhere: an image that it learned from may then lie in the challenger's test split. Scores on it
flatter the champion.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from assay.data.dataset import Dataset
from assay.storage.files import read_errors

SEEN_FILE = "seen.npz"
Keys = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Seen:
    """Training and validation examples, by 64 bits of hash.

    Args:
        images: Of the files' content, sorted.
        groups: Of the names of patients or slides, sorted; empty where the source has none.
    """

    images: Keys
    groups: Keys

    def mask(self, records: pd.DataFrame, group_column: str | None) -> npt.NDArray[np.bool_]:
        """Return which examples the model has seen, themselves or others of their group.

        Args:
            records: Of the examples (N rows), with ``sha256``.
            group_column: Column that names patient or slide; None: there is none.

        Returns:
            bool (N,).
        """
        seen = np.isin(hash_keys(records["sha256"]), self.images)
        if group_column is not None:
            seen |= np.isin(_of_names(records[group_column]), self.groups)
        return seen


def write_seen(dataset: Dataset, path: Path, tested: pd.DataFrame | None = None) -> bool:
    """Write what a model trained on this dataset has seen; return False where the records hold no hashes.

    Args:
        dataset: What it was trained on.
        path: The file.
        tested: Records of what was tested, where the model has seen that, too: with folds, each by the other folds'.
    """
    parts = [dataset.train.records, dataset.valid.records, *([tested] if tested is not None else [])]
    records = pd.concat(parts, ignore_index=True)
    if "sha256" not in records:
        return False
    groups = _of_names(records[dataset.group_column]) if dataset.group_column else np.empty(0, np.uint64)
    np.savez_compressed(path, images=np.unique(hash_keys(records["sha256"])), groups=np.unique(groups))
    return True


def read_seen(data: bytes, origin: str = SEEN_FILE) -> Seen:
    """Read what `write_seen` wrote.

    Args:
        data: The file's content.
        origin: What to call it in an error.

    Raises:
        InputError: It is damaged.
    """
    with read_errors(origin, "Restore the object: without it, no one can tell which test images the model has seen."):
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return Seen(arrays["images"].astype(np.uint64), arrays["groups"].astype(np.uint64))


def hash_keys(values: Iterable[str]) -> Keys:
    """Return the first 64 bits of each SHA-256 (hex), uint64 (N,)."""
    return np.array([int(value[:16], 16) for value in values], dtype=np.uint64)


def _of_names(values: Iterable[object]) -> Keys:
    return hash_keys(hashlib.sha256(str(value).encode()).hexdigest() for value in values)
