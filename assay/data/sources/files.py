"""A source made of files, local or in object storage: finds out which layout they have."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from assay.config import DataConfig
from assay.data.headers import IMAGE_EXTENSIONS
from assay.data.sources.arrays import ArrayRows, find_arrays, is_row
from assay.data.sources.base import Entry, Listing
from assay.data.sources.columns import Asked
from assay.data.sources.folder import list_class_folders
from assay.data.sources.labelled import find_tables, list_labelled
from assay.data.sources.tables import against_tables, are_classes, choose_tables, is_table, likely_tables, spreadsheets
from assay.data.sources.tree import Tree
from assay.errors import InputError, did_you_mean

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
        tables = self._tables(names)
        arrays = find_arrays(names) if self._config.kind == "sensor" and not tables else []
        if tables:
            found = self._labelled(names, tables, extensions)
        elif arrays:
            found = self._rows.listing(arrays)
        else:
            found = self._folders_or_table(names, extensions)
        return replace(found, rejected=(*rejected, *found.rejected), notes=(*left_out, *found.notes))

    def _tables(self, names: Sequence[str]) -> list[str]:
        """Return the label tables that are used whatever else is there."""
        asked = self._config.table
        if asked is None:
            return find_tables(names)
        if asked not in names:
            hint = did_you_mean(asked, [name for name in names if is_table(name)], count=1)
            raise InputError(f"{self.uri}: there is no '{asked}', which data.table names.{hint}")
        return [asked]

    def _labelled(self, names: Sequence[str], tables: Sequence[str], extensions: frozenset[str]) -> Listing:
        return list_labelled(
            self._tree, names, tables, extensions, asked=self._asked, group_gaps=self._config.group_gaps
        )

    def _folders_or_table(self, names: Sequence[str], extensions: frozenset[str]) -> Listing:
        """Return what class folders hold, or a table of any name that labels the files beside it.

        Raises:
            InputError: Neither is there, or both are and differ.
        """
        if self._config.kind != "image":  # where tables are examples
            return self._in_folders(names, extensions)
        tables = likely_tables(self._tree, names, extensions, self._asked)
        try:
            folders = self._in_folders(names, extensions)
        except InputError as error:
            if not tables:
                raise InputError(" ".join([str(error), *spreadsheets(names)])) from error
            folders = None
        if folders is not None and not tables:
            return replace(folders, warnings=(*folders.warnings, *spreadsheets(names)))
        if folders is not None and are_classes(folders, tables):
            readers = [partial(self._labelled, names, [table.name], extensions) for table in tables]
            return against_tables(self.uri, folders, list(zip(tables, readers, strict=True)))
        chosen = choose_tables(self.uri, tables)
        found = self._labelled(names, chosen, extensions)
        return replace(found, notes=(f"labels are read from {' and '.join(chosen)}", *found.notes))

    def _in_folders(self, names: Sequence[str], extensions: frozenset[str]) -> Listing:
        for key in ("group_column", "label_column", "file_column"):
            if (column := getattr(self._config, key)) is not None:
                raise InputError(
                    f"{self.uri}: data.{key} names the column '{column}', and there is no labels.csv. Add one with "
                    "path, label and that column, name the table in data.table, or leave the key out."
                )
        return list_class_folders(
            self.uri, names, extensions, empty=self._tree.empty_folders(), classes=self._config.classes
        )

    @property
    def _asked(self) -> Asked:
        return Asked(self._config.file_column, self._config.label_column, self._config.group_column)

    def read(self, entry: Entry) -> bytes:
        """Return the bytes of one entry; see `Source`."""
        if self._config.kind == "sensor" and is_row(entry.id):
            return self._rows.read(entry.id)
        return self._tree.read(entry.id)
