"""Label tables by any name beside the images (`train.csv`, `HAM10000_metadata.csv`), and folders that say otherwise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from assay.data.sources.base import Listing
from assay.data.sources.columns import Asked, file_column, find_columns, has_labels
from assay.data.sources.label_table import read_cells
from assay.data.sources.labelled import Files, table_split
from assay.data.sources.layout import is_neutral
from assay.data.sources.meaning import is_group_column, words_of
from assay.data.sources.tree import Tree
from assay.errors import InputError

# Rows that must name files which are there for a table to be one of these files.
_SHARE_THERE = 0.5
_SAMPLE = 200
# Tables to hand in, with a made-up class a row.
_NO_LABELS = ("submission", "submit", "predictions")


@dataclass(frozen=True)
class LikelyTable:
    """A table at the top of a source whose rows name its files.

    Attributes:
        name: Relative to the source.
        refusal: Why it cannot be used as it is; None where it can.
    """

    name: str
    refusal: InputError | None


def spreadsheets(names: Sequence[str]) -> list[str]:
    """Return what is to be said of spreadsheets at the top of a source: whoever has one means it."""
    found = [name for name in names if "/" not in name and name.lower().endswith((".xlsx", ".xls", ".ods"))]
    return [f"{found[0]} is a spreadsheet, which is not read: save it as CSV (labels.csv)"] if found else []


def is_table(name: str) -> bool:
    """Return whether a file's name says that it is a table."""
    return name.lower().endswith((".csv", ".tsv"))


def likely_tables(tree: Tree, names: Sequence[str], extensions: frozenset[str], asked: Asked) -> list[LikelyTable]:
    """Return the tables at the top of a source that label its files.

    Args:
        tree: Where the files are.
        names: Its files.
        extensions: What examples end in, lower case.
        asked: The columns that the user names.
    """
    tops = [name for name in names if "/" not in name and is_table(name)]
    tops = [name for name in tops if not any(word in name.lower() for word in _NO_LABELS)]
    if not tops:
        return []
    examples = [name for name in names if name.rpartition(".")[2].lower() in extensions]
    files = Files.beside(tops[0], names, examples)
    found = (_likely(tree, name, files, asked) for name in tops)
    return [table for table in found if table is not None]


def _likely(tree: Tree, name: str, files: Files, asked: Asked) -> LikelyTable | None:
    shown = f"{tree.root}/{name}"
    try:
        header, lines, _ = read_cells(tree.read(name), shown)
        rows = [cells for _, cells in lines]
        place = file_column(header, rows, asked.file, shown, files.knows)
    except (OSError, InputError):
        return None  # a table of something else, as far as one can tell
    if place is None:
        return None
    sample = rows[:: max(1, len(rows) // _SAMPLE)]
    if sum(files.knows(row[place].strip()) for row in sample) < _SHARE_THERE * max(1, len(sample)):
        return None
    try:
        find_columns(header, rows, asked, shown, files.knows)
    except InputError as error:
        return LikelyTable(name, error) if asked.label or has_labels(header, rows) else None
    return LikelyTable(name, None)


def are_classes(folders: Listing, tables: Sequence[LikelyTable]) -> bool:
    """Return whether the folders of a source are its classes, and not just where files lie that a table labels.

    Args:
        folders: What the folders say.
        tables: The tables beside them.
    """
    labels = {entry.label for entry in folders.entries}
    if not tables:
        return True
    if len(labels) < 2:
        return False
    own = {word for table in tables for word in words_of(table.name.rpartition(".")[0])}
    return not all(_is_part(label, own) for label in labels)


def _is_part(folder: str, own: set[str]) -> bool:
    """Return whether a folder is named as a part of a set of images or a patient: images_001, patient00004."""
    words = words_of(folder)
    if is_group_column(folder.rstrip("0123456789")):
        return True
    telling = [word for word in words if word not in own and not word.isdigit() and not is_neutral(word)]
    return not telling and not all(word.isdigit() for word in words)


def choose_tables(root: str, tables: Sequence[LikelyTable]) -> list[str]:
    """Return the one table that labels the files, or one a split.

    Args:
        root: The source, for messages.
        tables: At least one.

    Raises:
        InputError: One cannot be used as it is, or it is not clear which is meant.
    """
    usable = [table.name for table in tables if table.refusal is None]
    refusal = next((table.refusal for table in tables if table.refusal is not None), None)
    if refusal is not None:
        raise refusal
    splits = [table_split(name) for name in usable]
    if len(usable) == 1 or ("train" in splits and all(splits) and len(set(splits)) == len(splits)):
        return usable
    raise InputError(
        f"{root}: {len(usable)} tables may hold the labels ({', '.join(usable[:4])}). Say which: data.table={usable[0]}"
    )


def against_tables(root: str, folders: Listing, tables: Sequence[tuple[LikelyTable, Callable[[], Listing]]]) -> Listing:
    """Return what class folders say where the tables beside them say the same or nothing.

    Args:
        root: The source, for messages.
        folders: What the folders say.
        tables: Each with a function that reads it.

    Raises:
        InputError: A table divides the files otherwise than the folders do.
    """
    notes = []
    of_folder = {entry.id: entry.label for entry in folders.entries}
    for table, read in tables:
        if table.refusal is not None:
            notes.append(f"{table.name} is not read: labels are taken from the folders")
            continue
        pairs = {(of_folder[entry.id], entry.label) for entry in read().entries if entry.id in of_folder}
        names, labels = {name for name, _ in pairs}, {label for _, label in pairs}
        if len(pairs) != len(names) or len(pairs) != len(labels):
            some = ", ".join(sorted(names)[:4])
            others = ", ".join(sorted(labels)[:4])
            raise InputError(
                f"{root}: the folders ({some}) and the table {table.name} ({others}) label the same files otherwise. "
                f"Say which is meant: data.table={table.name}, or data.exclude=\"['*.csv']\" for the folders."
            )
        notes.append(f"{table.name} and the class folders agree: labels are taken from the folders")
    return replace(folders, notes=(*folders.notes, *notes))
