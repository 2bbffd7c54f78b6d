"""Files labelled by a table beside them: labels.csv, Kaggle's train_labels.csv, or one labels.csv a split."""

from __future__ import annotations

import functools
import posixpath
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from assay.data.sources.base import Entry, Listing, Rejected
from assay.data.sources.columns import Asked
from assay.data.sources.label_table import ANY_COLUMNS, LabelTable, Row, parse_label_table
from assay.data.sources.spelling import normal_form
from assay.data.sources.splits import split_of
from assay.data.sources.tree import Tree
from assay.data.sources.unread import unread_extension, what_is_unread
from assay.errors import InputError

GroupGaps = Literal["refuse", "own"]
LABELS = "labels.csv"
KAGGLE_LABELS = "train_labels.csv"


def find_tables(names: Sequence[str]) -> list[str]:
    """Return the label tables of the names that are known: one at the top, or one in each split's folder."""
    for name in (LABELS, KAGGLE_LABELS):
        if name in names:
            return [name]
    return [
        name
        for name in names
        if name.count("/") == 1 and name.endswith(f"/{LABELS}") and split_of(name.split("/")[0]) is not None
    ]


def list_labelled(
    tree: Tree,
    names: Sequence[str],
    tables: Sequence[str],
    extensions: frozenset[str],
    *,
    asked: Asked = ANY_COLUMNS,
    group_gaps: GroupGaps = "refuse",
) -> Listing:
    """Return the examples that label tables name.

    Args:
        tree: Where the files are.
        names: Its files.
        tables: The tables; of several each is of the split that its folder or its own name says.
        extensions: What examples end in, lower case; a name in the table may lack it.
        asked: The columns that the user names.
        group_gaps: Whether rows without a group forbid to train where others have one, or are groups of their own.

    Raises:
        InputError: A table is malformed, names files that are not there or lie outside the source, or
            contradicts the class folders.
    """
    candidates = [name for name in names if name.rpartition(".")[2].lower() in extensions and name not in tables]
    entries: list[Entry] = []
    notes: list[str] = []
    warnings: list[str] = []
    without_group: list[str] = []
    for table_name in tables:
        folder = posixpath.dirname(table_name)
        below = f"{folder}/" if folder else ""
        shown = f"{tree.root}/{table_name}"
        files = Files.beside(table_name, names, candidates)
        table = parse_label_table(read_table(tree, table_name), shown, asked, files.knows)
        found = _find_files(table.rows, files, below, shown)
        split = table_split(table_name) if len(tables) > 1 or folder else ""
        own = [
            Entry(name, f"{tree.root}/{name}", row.label, split or row.split, row.group)
            for row, name in zip(table.rows, found, strict=True)
        ]
        if not split and not table.has_splits:
            own, note = _splits_from_folders(own)
            notes.extend(note)
        notes.extend(table.notes)
        warnings.extend(table.warnings)
        without_group += [f"{shown}, line {row.line}: {row.key}" for row in table.rows if not row.group]
        notes.extend(_compare_with_folders(own, table, shown))
        entries.extend(own)
    _refuse_shared(tree.root, entries)
    rejected, left_out = _without_rows(tree.root, entries, candidates)
    layout = f"{' and '.join(tables)}" + (", splits given" if any(entry.split for entry in entries) else "")
    refusals = []
    gaps = len(without_group) if len(without_group) < len(entries) else 0
    if gaps:
        few = f"{gaps:,} of {len(entries):,} rows have no group while others do"
        if group_gaps == "own":
            notes.append(f"{few}: each of them is a group of its own (data.group_gaps: own)")
        else:
            refusals.append(
                f"{tree.root}: {few} (first: {without_group[0]}): images of one patient could end up in train and in "
                "test. Fill them in, or set data.group_gaps=own if each of these comes from somewhere else."
            )
    return Listing(
        tuple(entries),
        layout,
        tuple(rejected),
        (*notes, *left_out),
        warnings=tuple(warnings),
        refusals=tuple(refusals),
        groups_missing=gaps,
    )


def read_table(tree: Tree, name: str) -> bytes:
    """Return the bytes of a label table.

    Raises:
        InputError: It cannot be read.
    """
    try:
        return tree.read(name)
    except OSError as error:
        raise InputError(f"{tree.root}/{name}: cannot be read ({error.strerror or error}). Change its mode.") from error


def table_split(name: str) -> str:
    """Return the split that a table's folder or own name says, ``valid/labels.csv`` or ``valid.csv``; or nothing."""
    folder, _, own = name.rpartition("/")
    stem = own.rpartition(".")[0].lower()
    return split_of(folder) or split_of(stem.removesuffix("labels").rstrip("_-")) or ""


def _refuse_shared(root: str, entries: Sequence[Entry]) -> None:
    """Raise where two tables name one file."""
    twice = next((name for name, count in Counter(entry.id for entry in entries).items() if count > 1), None)
    if twice is not None:
        raise InputError(f"{root}: two label tables name the file {twice}. Keep one row, or name one in data.table.")


def _find_files(rows: Sequence[Row], files: Files, below: str, table: str) -> list[str]:
    """Return the file of each row.

    Args:
        rows: The table's rows.
        files: The files that a row may name.
        below: The table's folder, with a slash at its end; empty at the top.
        table: The table's address, for messages.

    Raises:
        InputError: A row names no file, several, one outside the source or one of a format that is not read; or two
            rows name the same.
    """
    found: list[str] = []
    missing: list[Row] = []
    unread: list[tuple[Row, str]] = []
    users: dict[str, Row] = {}
    for row in rows:
        key = _inside(row, table)
        fitting = files.find(key)
        if not fitting:
            other = files.find_unread(key)
            missing += [] if other else [row]
            unread += [(row, other)] if other else []
            continue
        if len(fitting) > 1:
            raise InputError(
                f"{table}: line {row.line}: '{row.key}' fits {len(fitting)} files ({fitting[0]}, {fitting[1]}). "
                "Name files in a column path."
            )
        name = fitting[0]
        user = users.setdefault(name, row)
        if user is not row:
            verb = "repeat" if normal_form(user.label) == normal_form(row.label) else "contradict"
            raise InputError(
                f"{table}: lines {user.line} and {row.line} name the same file {name} and {verb} each other. Keep one."
            )
        found.append(name)
    if unread:
        first, name = unread[0]
        raise InputError(
            f"{table}: {len(unread):,} of {len(rows):,} rows name files that are there, in a format that is not "
            f"read. {what_is_unread(name)} (first: line {first.line}, {name})."
        )
    if missing:
        raise InputError(
            f"{table}: {len(missing)} of {len(rows)} rows name files that are not in {below or 'the source'} (first: "
            f"{missing[0].key}, line {missing[0].line}). Remove the rows or add the files."
        )
    return found


class Files:
    """Files by what a row may call them.

    Args:
        names: Files whose names say that they can be examples.
        others: All files: a row may name one exactly, whatever its name ends in.
        places: Folders to look in, in this order, with a slash at their ends.
    """

    def __init__(self, names: Sequence[str], others: Sequence[str], places: Sequence[str]) -> None:
        self._names = names
        self._others = others
        self._places = places

    @classmethod
    def beside(cls, table: str, names: Sequence[str], candidates: Sequence[str]) -> Files:
        """Return the files that a table may name.

        Args:
            table: The table's own name.
            names: All files of the source.
            candidates: Those whose names say that they can be examples.
        """
        folder = posixpath.dirname(table)
        below = f"{folder}/" if folder else ""
        return cls(
            [name for name in candidates if name.startswith(below)],
            [name for name in names if name.startswith(below) and name != table],
            (below, f"{below}train/" if posixpath.basename(table) == KAGGLE_LABELS else f"{below}images/"),
        )

    def knows(self, cell: str) -> bool:
        """Return whether a cell names a file, also one in a format that is not read."""
        key = posixpath.normpath(cell.replace("\\", "/"))
        return bool(self.find(key) or self.find_unread(key))

    def find(self, key: str) -> list[str]:
        """Return the files of this name, or else of this name without its extension; several where it fits several.

        Folders in front of it that are not in the source are passed over: tables are often written one folder above.
        """
        while not (found := self._find(key)) and "/" in key and key.split("/")[0] not in self._tops:
            key = key.partition("/")[2]
        return found

    def _find(self, key: str) -> list[str]:
        paths = [place + key for place in self._places]
        for path in paths:
            if path in self._exact and what_is_unread(path) is None:
                return [path]
        for path in paths:
            if path in self._by_path:
                return self._by_path[path]
        if key in self._by_name:
            return self._by_name[key]
        normal = (unicodedata.normalize("NFC", path) for path in paths)
        return next(([self._by_normal_form[path]] for path in normal if path in self._by_normal_form), [])

    def find_unread(self, key: str) -> str:
        """Return a file of this name in a format that is not read, or an empty string."""
        wanted = {place + key for place in self._places} | {posixpath.basename(key)}
        return next((name for path in wanted if (name := self._unread.get(path))), "")

    @functools.cached_property
    def _tops(self) -> set[str]:
        return {
            name[len(place) :].split("/")[0]
            for place in self._places
            for name in self._others
            if name.startswith(place)
        }

    @functools.cached_property
    def _exact(self) -> set[str]:
        return set(self._others)

    @functools.cached_property
    def _unread(self) -> dict[str, str]:
        """Files of such formats by their path and name, with and without the extension."""
        found: dict[str, str] = {}
        for name in self._others:
            if what_is_unread(name) is not None:
                stem = name[: len(name) - len(unread_extension(name)) - 1]
                for way in (name, stem, posixpath.basename(name), posixpath.basename(stem)):
                    found.setdefault(way, name)
        return found

    @functools.cached_property
    def _by_path(self) -> dict[str, list[str]]:
        return _index(self._names, lambda name: name.rpartition(".")[0])

    @functools.cached_property
    def _by_name(self) -> dict[str, list[str]]:
        """Files in any folder, by their own name, and by that without the extension."""
        whole = _index(self._names, posixpath.basename)
        return _index(self._names, lambda name: posixpath.basename(name).rpartition(".")[0]) | whole

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
    labels = {normal_form(entry.label) for entry in entries}
    parents = [normal_form(posixpath.basename(posixpath.dirname(entry.id))) for entry in entries]
    if len(labels) < 2 or set(parents) != labels:
        return []
    wrong = [
        (row, entry, parent)
        for row, entry, parent in zip(table.rows, entries, parents, strict=True)
        if parent != normal_form(entry.label)
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
