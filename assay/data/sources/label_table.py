"""Reading a label table: ``id|path,label[,split][,group]`` in CSV as people's programs write it, by any usual names."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from assay.data.sources.columns import Asked, Columns, find_columns, known_columns
from assay.data.sources.group_hints import group_columns
from assay.data.sources.meaning import is_blank
from assay.data.sources.spelling import normal_form
from assay.data.sources.splits import SPLITS, split_of
from assay.data.sources.tree import has_control_characters
from assay.errors import InputError, did_you_mean

ANY_COLUMNS = Asked()
# What programs write for a label that is not there; "none" and "unknown" may be classes.
EMPTY_LABELS = frozenset({"", "nan", "#n/a", "<na>", "null"})
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; ``line`` counts from 1, the header being the first."""

    line: int
    key: str
    label: str
    split: str
    group: str


@dataclass(frozen=True)
class LabelTable:
    """A parsed label table.

    Attributes:
        rows: The rows, each naming another file.
        has_splits: Whether a column names splits.
        notes: What the user should hear of how it was read.
        warnings: What the user should look at before training: columns that name patients and are not used.
    """

    rows: tuple[Row, ...]
    has_splits: bool
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def parse_label_table(
    data: bytes, name: str, asked: Asked = ANY_COLUMNS, is_there: Callable[[str], bool] | None = None
) -> LabelTable:
    """Parse a label table.

    A byte-order mark, any line ending, and semicolons, tabs or bars in place of commas are taken as they
    come. Column names may be in any case and order; unknown columns are passed over and noted.

    Args:
        data: The file.
        name: Its name, for messages.
        asked: The columns that the user names; the others are found, see `find_columns`.
        is_there: Whether a cell names a file of the source; None: nothing is known of files.

    Raises:
        InputError: No rows, a header of which it is not clear what names files and classes, a row of another length,
            an empty cell, a row that repeats or contradicts another, or an unknown split.
    """
    header, lines, delimiter = read_cells(data, name)
    if not lines:
        raise InputError(f"{name}: has a header but no rows. Add one row an image.")
    columns = find_columns(header, [cells for _, cells in lines], asked, name, is_there)
    _refuse_empty_labels(lines, columns, name)
    rows = tuple(_row(line, cells, columns, header, name) for line, cells in lines)
    rows, notes = _once_a_file(rows, lines, columns, name)
    _check_rows(rows, name, columns.split is not None)
    if delimiter != ",":
        notes.append(f"{name} is separated by {_DELIMITERS[delimiter]}")
    notes += columns.notes
    unknown = [column for place, column in enumerate(header) if place not in columns.used and column.lower() != "id"]
    if unknown:
        notes.append(f"{name}: columns not used: {_some([column.lower() or '(no name)' for column in unknown])}")
    if "id" in [column.lower() for column in header] and header[columns.file].lower() == "path":
        notes.append(f"{name}: files are found by the column path; the column id is not used")
    warnings = group_columns(header, [cells for _, cells in lines], columns.group, name)
    return LabelTable(rows, columns.split is not None, tuple(notes), tuple(warnings))


def read_cells(data: bytes, name: str) -> tuple[list[str], list[tuple[int, list[str]]], str]:
    """Return the header of a table, its lines that hold anything with their numbers, and what separates its cells.

    Raises:
        InputError: It is empty, no text or no CSV, or a line has more or fewer cells than the header.
    """
    text = _decode(data, name)
    texts = text.splitlines()
    if not any(line.strip() for line in texts):
        raise InputError(f"{name}: is empty. Give it the columns path,label and one row an image.")
    delimiter = _delimiter(texts[0])
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [cell.strip() for cell in next(reader)]
        return header, _lines(reader, len(header), name), delimiter
    except csv.Error as error:
        raise InputError(f"{name}: line {reader.line_num} is not valid CSV ({error}). Mend its quotes.") from error


def _decode(data: bytes, name: str) -> str:
    marked = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        text = data.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name}: byte {error.start:,} (0x{data[error.start]:02x}) is not {'UTF-16' if marked else 'UTF-8'} text. "
            "Save the table as CSV in UTF-8."
        ) from error
    if "\0" in text:
        raise InputError(f"{name}: holds zero bytes, so it is no text. Save the table as CSV in UTF-8.")
    return text


def _delimiter(header: str) -> str:
    def known(delimiter: str) -> int:
        return known_columns([cell.strip().strip('"') for cell in header.split(delimiter)])

    return max(_DELIMITERS, key=lambda delimiter: (known(delimiter), header.count(delimiter)))


def _lines(reader: Iterator[list[str]], width: int, name: str) -> list[tuple[int, list[str]]]:
    """Return the lines that hold anything, with their numbers."""
    found = []
    for cells in reader:
        line: int = reader.line_num  # type: ignore[attr-defined]
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != width:
            raise InputError(
                f"{name}: line {line} has {len(cells)} cells, the header {width}. "
                "Quote cells that hold a separator, and give each row every column."
            )
        found.append((line, cells))
    return found


def _refuse_empty_labels(lines: Sequence[tuple[int, list[str]]], columns: Columns, name: str) -> None:
    if columns.label is None:
        return
    empty = [line for line in lines if normal_form(line[1][columns.label]).casefold() in EMPTY_LABELS]
    if empty:
        line, cells = empty[0]
        if not cells[columns.file].strip():
            return  # of which another refusal tells
        others = len(empty) - 1
        more = f" and so have {others:,} more of {len(lines):,} rows" if others else ""
        key = cells[columns.file].strip()
        raise InputError(f"{name}: line {line} ({key}) has an empty label{more}. Fill it in or remove the row.")


def _row(line: int, cells: list[str], columns: Columns, header: list[str], name: str) -> Row:
    places = {columns.file, columns.label, columns.split, columns.group} - {None}
    for place in sorted(place for place in places if place is not None):
        value = cells[place].strip()
        if not value.isprintable() and has_control_characters(value):
            raise InputError(
                f"{name}: line {line}: {header[place].lower()} {value[:80]!r} holds a control character. Mend it."
            )
    key = cells[columns.file].strip()
    if not key:
        raise InputError(
            f"{name}: line {line} has an empty {header[columns.file].lower()}. Fill it in or remove the row."
        )
    if columns.label is None:
        label = next(said for place, said in columns.classes if cells[place].strip() in ("1", "1.0"))
    else:
        label = cells[columns.label].strip()
    given = cells[columns.split].strip() if columns.split is not None else ""
    split = split_of(given) if given else ""
    if split is None:
        hint = did_you_mean(given.lower(), SPLITS, count=1)
        raise InputError(f"{name}: line {line}: split '{given}' is none of train, valid and test.{hint}")
    group = cells[columns.group].strip() if columns.group is not None else ""
    return Row(line, key, label, split, "" if is_blank(group) else group)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _once_a_file(
    rows: tuple[Row, ...], lines: Sequence[tuple[int, list[str]]], columns: Columns, name: str
) -> tuple[tuple[Row, ...], list[str]]:
    """Keep one row of each file where the others say the same of it and differ in columns that are not used: boxes."""
    others = [place for place in range(len(lines[0][1])) if place not in columns.used]
    kept: list[Row] = []
    seen: dict[tuple[str, str, str, str], set[tuple[str, ...]]] = {}
    for row, (_, cells) in zip(rows, lines, strict=True):
        same = seen.setdefault((row.key, normal_form(row.label), row.split, normal_form(row.group)), set())
        rest = tuple(cells[place].strip() for place in others)
        if not same or rest in same:  # a row that is there twice is a mistake, which is said
            kept.append(row)
        same.add(rest)
    left = len(rows) - len(kept)
    if not left:
        return rows, []
    what = "row says" if left == 1 else "rows say"
    return tuple(kept), [
        f"{name}: {left:,} {what} the same of a file as an earlier one, and differ in columns that are not used: "
        "each file is taken once"
    ]


def _check_rows(rows: tuple[Row, ...], name: str, has_splits: bool) -> None:
    seen: dict[str, Row] = {}
    for row in rows:
        other = seen.setdefault(row.key, row)
        if other is row:
            continue
        for what in ("label", "split", "group"):
            one, two = getattr(other, what), getattr(row, what)
            if normal_form(one) != normal_form(two):
                raise InputError(
                    f"{name}: {row.key} has {what} '{one}' on line {other.line} and '{two}' on line {row.line}. "
                    "Keep the right row."
                )
        repeats = len(rows) - len({row.key for row in rows})
        raise InputError(
            f"{name}: {repeats} row{'s repeat others' if repeats > 1 else ' repeats another'} "
            f"(first: line {row.line} repeats line {other.line}, {row.key}). Remove {'them' if repeats > 1 else 'it'}."
        )
    if has_splits:
        without = [row for row in rows if not row.split]
        if without and len(without) < len(rows):
            raise InputError(
                f"{name}: {len(without)} rows name no split while others do (first: line {without[0].line}, "
                f"{without[0].key}). Fill in all of them or leave the column out."
            )
