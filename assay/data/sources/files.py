"""A source made of files, local or in object storage: finds out which layout they have."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import replace

from assay.config import DataConfig
from assay.data.headers import IMAGE_EXTENSIONS
from assay.data.sources.arrays import ArrayRows, find_arrays, is_row
from assay.data.sources.base import Entry, Listing
from assay.data.sources.folder import list_class_folders
from assay.data.sources.labelled import find_tables, list_labelled
from assay.data.sources.tree import Tree
from assay.errors import InputError

SENSOR_EXTENSIONS = frozenset({"npy", "csv", "tsv", "txt"})


def exclude(names: Sequence[str], patterns: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the files that no pattern fits, and what is to be said of the others.

    Args:
        names: Files relative to the root.
        patterns: As in a shell, any case; one without a slash is held against the file's own name, one with a slash
            against its path.
    """
    if not patterns:
        return list(names), []
    whole = re.compile(
        "|".join(fnmatch.translate(pattern.lower()) for pattern in patterns if "/" in pattern) or r"(?!)"
    )
    own = re.compile(
        "|".join(fnmatch.translate(pattern.lower()) for pattern in patterns if "/" not in pattern) or r"(?!)"
    )
    kept = [name for name in names if not whole.match(name.lower()) and not own.match(name.lower().rpartition("/")[2])]
    return kept, [f"{len(names) - len(kept):,} files are left out by data.exclude ({', '.join(patterns)})"]


class FileSource:
    """Labelled files under one root.

    Args:
        tree: The files.
        config: Whether they are images or sensor windows.
    """

    def __init__(self, tree: Tree, config: DataConfig) -> None:
        self.uri = tree.root
        self.parallel_reads = tree.parallel_reads
        self._tree = tree
        self._config = config
        self._rows = ArrayRows(tree)

    def listing(self) -> Listing:
        """Return everything in the source; see `Source`."""
        names, rejected = self._tree.files()
        if not names and not rejected:
            raise InputError(f"{self.uri}: is empty. Name a folder with labelled files.")
        names, left_out = exclude(names, self._config.exclude)
        extensions = IMAGE_EXTENSIONS if self._config.kind == "image" else SENSOR_EXTENSIONS
        tables = find_tables(names)
        if self._config.group_column is not None and not tables:
            raise InputError(
                f"{self.uri}: data.group_column names the column '{self._config.group_column}', and there is no "
                "labels.csv. Add one with path, label and that column, or leave the key out."
            )
        arrays = find_arrays(names) if self._config.kind == "sensor" and not tables else []
        if tables:
            found = list_labelled(
                self._tree,
                names,
                tables,
                extensions,
                group_column=self._config.group_column,
                group_gaps=self._config.group_gaps,
            )
        elif arrays:
            found = self._rows.listing(arrays)
        else:
            found = list_class_folders(
                self.uri, names, extensions, empty=self._tree.empty_folders(), classes=self._config.classes
            )
        return replace(found, rejected=(*rejected, *found.rejected), notes=(*left_out, *found.notes))

    def read(self, entry: Entry) -> bytes:
        """Return the bytes of one entry; see `Source`."""
        if self._config.kind == "sensor" and is_row(entry.id):
            return self._rows.read(entry.id)
        return self._tree.read(entry.id)
