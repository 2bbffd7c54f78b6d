"""Sensor windows as one array a class: ``<class>.npy`` of shape (N, T, C), each row one example."""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Sequence

import numpy as np

from assay.data.sources.base import Entry, Listing
from assay.data.sources.splits import split_of
from assay.data.sources.tree import LocalTree, Tree
from assay.errors import InputError

ROW_MARK = "#"
_ROW = re.compile(r"\.npy#\d+$", re.IGNORECASE)


def find_arrays(names: Sequence[str]) -> list[str]:
    """Return the arrays of a source that has one a class: ``<class>.npy`` or ``<split>/<class>.npy``."""
    arrays = [name for name in names if name.lower().endswith(".npy")]
    if arrays and all(
        "/" not in name or (name.count("/") == 1 and split_of(name.split("/")[0]) is not None) for name in arrays
    ):
        return arrays
    return []


def is_row(entry_id: str) -> bool:
    """Return whether an entry is a row of an array, and not a file of its own."""
    return _ROW.search(entry_id) is not None


class ArrayRows:
    """The rows of arrays in a tree, read one at a time.

    Args:
        tree: Where the arrays are.
    """

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._array = functools.lru_cache(maxsize=64 if isinstance(tree, LocalTree) else 4)(self._open)

    def listing(self, arrays: Sequence[str]) -> Listing:
        """Return one entry a row; the array's name is the class.

        Raises:
            InputError: A file is no array of windows.
        """
        entries = []
        for name in arrays:
            where = f"{self._tree.root}/{name}"
            try:
                shape = self._array(name).shape
            except Exception as error:  # numpy raises nearly anything on a damaged header
                raise InputError(f"{where}: not a whole array of numbers. Save it again with numpy.save.") from error
            if len(shape) not in (2, 3):
                raise InputError(f"{where}: has shape {shape}. One array a class holds windows x steps x channels.")
            folder, _, file = name.rpartition("/")
            split = (split_of(folder) or "") if folder else ""
            label = file.rpartition(".")[0]
            entries += [
                Entry(f"{name}{ROW_MARK}{row}", f"{where}{ROW_MARK}{row}", label, split) for row in range(shape[0])
            ]
        return Listing(tuple(entries), "one array a class" + (", splits given" if "/" in arrays[0] else ""))

    def read(self, entry_id: str) -> bytes:
        """Return one row as a ``.npy`` file."""
        name, _, row = entry_id.rpartition(ROW_MARK)
        buffer = io.BytesIO()
        try:
            np.save(buffer, np.ascontiguousarray(self._array(name)[int(row)]), allow_pickle=False)
        except Exception as error:  # the file may have been replaced or cut since it was listed
            raise OSError(f"row {row} of {name} is not there ({error})") from error
        return buffer.getvalue()

    def _open(self, name: str) -> np.ndarray:
        if isinstance(self._tree, LocalTree):
            return np.load(f"{self._tree.root}/{name}", mmap_mode="r", allow_pickle=False)
        return np.load(io.BytesIO(self._tree.read(name)), allow_pickle=False)
