"""Files labelled by a table beside them: labels.csv, Kaggle's train_labels.csv, or one labels.csv a split."""

from __future__ import annotations

import functools
import posixpath
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

from assay.data.sources.base import Entry, Listing, Rejected
from assay.data.sources.label_table import LabelTable, Row, parse_label_table
from assay.data.sources.splits import split_of
from assay.data.sources.tree import Tree
from assay.errors import InputError

LABELS = "labels.csv"
KAGGLE_LABELS = "train_labels.csv"


def find_tables(names: Sequence[str]) -> list[str]:
    """Return the label tables to use: one at the top, or one in each split's folder."""
    for name in (LABELS, KAGGLE_LABELS):
        if name in names:
            return [name]
    return [
        name
        for name in names
        if name.count("/") == 1 and name.endswith(f"/{LABELS}") and split_of(name.split("/")[0]) is not None
    ]


def list_labelled(tree: Tree, names: Sequence[str], tables: Sequence[str], extensions: frozenset[str]) -> Listing:
    """Return the examples that label tables name.

    Args:
        tree: Where the files are.
        names: Its files.
        tables: What `find_tables` found.
        extensions: What examples end in, lower case; an ``id`` may lack it.

    Raises:
        InputError: A table is malformed, names files that are not there or lie outside the source, or
            contradicts the class folders.
    """
    candidates = [name for name in names if name.rpartition(".")[2].lower() in extensions and name not in tables]
    entries: list[Entry] = []
    notes: list[str] = []
    for table_name in tables:
        folder = posixpath.dirname(table_name)
        below = f"{folder}/" if folder else ""
        shown = f"{tree.root}/{table_name}"
        try:
            table = parse_label_table(tree.read(table_name), shown)
        except OSError as error:
            raise InputError(f"{shown}: cannot be read ({error.strerror or error}). Change its mode.") from error
        found = _find_files(table.rows, [name for name in candidates if name.startswith(below)], below, shown)
        split = (split_of(folder) or "") if folder else ""
        own = [
            Entry(name, f"{tree.root}/{name}", row.label, split or row.split, row.group)
            for row, name in zip(table.rows, found, strict=True)
        ]
        if not split and "split" not in table.columns:
            own, note = _splits_from_folders(own)
            notes.extend(note)
        notes.extend(table.notes)
        notes.extend(_compare_with_folders(own, table, shown))
        entries.extend(own)
    rejected, left_out = _without_rows(tree.root, entries, candidates)
    layout = f"{' and '.join(tables)}" + (", splits given" if any(entry.split for entry in entries) else "")
    return Listing(tuple(entries), layout, tuple(rejected), (*notes, *left_out))


def _find_files(rows: Sequence[Row], candidates: Sequence[str], below: str, table: str) -> list[str]:
    """Return the file of each row.

    Args:
        rows: The table's rows.
        candidates: The files that a row may name.
        below: The table's folder, with a slash at its end; empty at the top.
        table: The table's address, for messages.

    Raises:
        InputError: A row names no file, several, or one outside the source; or two rows name the same.
    """
    images = f"{below}train/" if posixpath.basename(table) == KAGGLE_LABELS else f"{below}images/"
    files = _Files(candidates, (below, images))
    found: list[str] = []
    missing: list[Row] = []
    users: dict[str, Row] = {}
    for row in rows:
        fitting = files.find(_inside(row, table))
        if not fitting:
            missing.append(row)
            continue
        if len(fitting) > 1:
            raise InputError(
                f"{table}: line {row.line}: '{row.key}' fits {len(fitting)} files ({fitting[0]}, {fitting[1]}). "
                "Name files in a column path."
            )
        name = fitting[0]
        other = users.setdefault(name, row)
        if other is not row:
            verb = "repeat" if other.label == row.label else "contradict"
            raise InputError(
                f"{table}: lines {other.line} and {row.line} name the same file {name} and {verb} each other. Keep one."
            )
        found.append(name)
    if missing:
        raise InputError(
            f"{table}: {len(missing)} of {len(rows)} rows name files that are not in {below or 'the source'} (first: "
            f"{missing[0].key}, line {missing[0].line}). Remove the rows or add the files."
        )
    return found


class _Files:
    """Files by what a row may call them.

    Args:
        names: The files.
        places: Folders to look in, in this order, with a slash at their ends.
    """

    def __init__(self, names: Sequence[str], places: Sequence[str]) -> None:
        self._names = names
        self._places = places
        self._exact = set(names)

    def find(self, key: str) -> list[str]:
        """Return the files of this name, or else of this name without its extension; several where it fits several."""
        paths = [place + key for place in self._places]
        for path in paths:
            if path in self._exact:
                return [path]
        for path in paths:
            if path in self._by_path:
                return self._by_path[path]
        if key in self._by_name:
            return self._by_name[key]
        normal = (unicodedata.normalize("NFC", path) for path in paths)
        return next(([self._by_normal_form[path]] for path in normal if path in self._by_normal_form), [])

    @functools.cached_property
    def _by_path(self) -> dict[str, list[str]]:
        return _index(self._names, lambda name: name.rpartition(".")[0])

    @functools.cached_property
    def _by_name(self) -> dict[str, list[str]]:
        return _index(self._names, lambda name: posixpath.basename(name).rpartition(".")[0])

    @functools.cached_property
    def _by_normal_form(self) -> dict[str, str]:
        # One system writes é as one character, another as two.
        return {unicodedata.normalize("NFC", name): name for name in self._names}


def _index(names: Sequence[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    index: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        index[key(name)].append(name)
    return dict(index)


def _inside(row: Row, table: str) -> str:
    """Return the row's key as a plain relative path.

    Raises:
        InputError: It leads out of the source.
    """
    key = row.key.replace("\\", "/")
    if key.startswith("/") or (len(key) > 2 and key[1] == ":" and key[0].isalpha() and key[2] == "/"):
        raise InputError(
            f"{table}: line {row.line}: '{row.key}' is an absolute path. Name files relative to the table."
        )
    key = posixpath.normpath(key)
    if key == ".." or key.startswith("../"):
        raise InputError(
            f"{table}: line {row.line}: '{row.key}' lies outside the source. Name files within it, or move it there."
        )
    return key


def _splits_from_folders(entries: list[Entry]) -> tuple[list[Entry], list[str]]:
    """Take splits from folder names where every file lies in a folder named as a split, and two splits occur."""
    splits = [split_of(entry.id.split("/", 1)[0]) if "/" in entry.id else None for entry in entries]
    if None in splits or len(set(splits)) < 2:
        return entries, []
    moved = [replace(entry, split=split or "") for entry, split in zip(entries, splits, strict=True)]
    return moved, ["splits are taken from the folders train, valid and test, since the table has no column split"]


def _compare_with_folders(entries: Sequence[Entry], table: LabelTable, shown: str) -> list[str]:
    labels = {entry.label for entry in entries}
    parents = [posixpath.basename(posixpath.dirname(entry.id)) for entry in entries]
    if len(labels) < 2 or set(parents) != labels:
        return []
    wrong = [
        (row, entry, parent)
        for row, entry, parent in zip(table.rows, entries, parents, strict=True)
        if parent != entry.label
    ]
    if wrong:
        row, entry, parent = wrong[0]
        raise InputError(
            f"{shown}: {len(wrong)} of {len(entries)} rows contradict the class folders (first: line {row.line} gives "
            f"{entry.id} the label '{entry.label}', its folder says '{parent}'). Correct the rows, move the files, or "
            "remove the table."
        )
    return [f"{posixpath.basename(shown)} and the class folders agree on all {len(entries):,} files"]


def _without_rows(root: str, entries: Sequence[Entry], candidates: Sequence[str]) -> tuple[list[Rejected], list[str]]:
    """Sort out files that no row names: set aside, or left out where a whole top folder has no labels."""
    listed = {entry.id for entry in entries}
    labelled_tops = {_top(entry.id) for entry in entries}
    rejected = []
    left_out: Counter[str] = Counter()
    for name in candidates:
        if name in listed:
            continue
        if _top(name) in labelled_tops:
            rejected.append(Rejected(f"{root}/{name}", "no row in the label table"))
        else:
            left_out[_top(name) or "."] += 1
    notes = [f"folder {top} is left out ({count:,} files): no row names any of them" for top, count in left_out.items()]
    return rejected, notes


def _top(name: str) -> str:
    top, separator, _ = name.partition("/")
    return top if separator else ""
