"""Files labelled by a table beside them: labels.csv, Kaggle's train_labels.csv, or one labels.csv a split."""

from __future__ import annotations

import posixpath
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
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
    exact = set(candidates)
    places = [below, f"{below}images/", f"{below}train/"]
    by_stem: dict[str, list[str]] | None = None
    normal: dict[str, str] | None = None
    found: list[str] = []
    missing: list[Row] = []
    users: dict[str, Row] = {}
    for row in rows:
        key = _inside(row, table)
        name = next((place + key for place in places if place + key in exact), None)
        if name is None:
            by_stem = by_stem if by_stem is not None else _by_stem(candidates, below)
            fitting = by_stem.get(key, [])
            if len(fitting) > 1:
                raise InputError(
                    f"{table}: line {row.line}: '{row.key}' fits {len(fitting)} files ({fitting[0]}, {fitting[1]}). "
                    "Name files in a column path."
                )
            name = fitting[0] if fitting else None
        if name is None:
            # One system writes é as one character, another as two.
            normal = normal or {unicodedata.normalize("NFC", candidate): candidate for candidate in candidates}
            name = next(
                (normal[n] for n in (unicodedata.normalize("NFC", p + key) for p in places) if n in normal), None
            )
        if name is None:
            missing.append(row)
            continue
        other = users.setdefault(name, row)
        if other is not row:
            verb = "repeat" if other.label == row.label else "contradict"
            raise InputError(
                f"{table}: lines {other.line} and {row.line} name the same file {name} and {verb} each other. Keep one."
            )
        found.append(name)
    if missing:
        where = below or "the source"
        raise InputError(
            f"{table}: {len(missing)} of {len(rows)} rows name files that are not in {where} (first: "
            f"{missing[0].key}, line {missing[0].line}). Remove the rows or add the files."
        )
    return found


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


def _by_stem(candidates: Sequence[str], below: str) -> dict[str, list[str]]:
    """Index files by what an id may call them: the path without extension, and the bare name without it."""
    index: defaultdict[str, list[str]] = defaultdict(list)
    for name in candidates:
        path = name[len(below) :].rpartition(".")[0]
        bare = posixpath.basename(path)
        index[path].append(name)
        if bare != path:
            index[bare].append(name)
    return index


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
