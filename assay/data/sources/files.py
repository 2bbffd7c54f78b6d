"""A source made of files, local or in object storage: finds out which layout they have."""

from __future__ import annotations

from assay.config import DataConfig
from assay.data.headers import IMAGE_EXTENSIONS
from assay.data.sources.arrays import ArrayRows, find_arrays, is_row
from assay.data.sources.base import Entry, Listing
from assay.data.sources.folder import list_class_folders
from assay.data.sources.labelled import find_tables, list_labelled
from assay.data.sources.tree import Tree
from assay.errors import InputError

SENSOR_EXTENSIONS = frozenset({"npy", "csv", "tsv", "txt"})


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
        self._kind = config.kind
        self._rows = ArrayRows(tree)

    def listing(self) -> Listing:
        """Return everything in the source; see `Source`."""
        names, rejected = self._tree.files()
        if not names and not rejected:
            raise InputError(f"{self.uri}: is empty. Name a folder with labelled files.")
        extensions = IMAGE_EXTENSIONS if self._kind == "image" else SENSOR_EXTENSIONS
        tables = find_tables(names)
        arrays = find_arrays(names) if self._kind == "sensor" and not tables else []
        if tables:
            found = list_labelled(self._tree, names, tables, extensions)
        elif arrays:
            found = self._rows.listing(arrays)
        else:
            found = list_class_folders(self.uri, names, extensions)
        return Listing(found.entries, found.layout, (*rejected, *found.rejected), found.notes)

    def read(self, entry: Entry) -> bytes:
        """Return the bytes of one entry; see `Source`."""
        if self._kind == "sensor" and is_row(entry.id):
            return self._rows.read(entry.id)
        return self._tree.read(entry.id)
