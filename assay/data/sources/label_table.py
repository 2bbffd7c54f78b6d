"""Reading a label table: ``id|path,label[,split][,group]`` in CSV as people's programs write it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

from assay.data.sources.group_hints import group_columns
from assay.data.sources.meaning import is_blank
from assay.data.sources.spelling import normal_form
from assay.data.sources.splits import SPLITS, split_of
from assay.data.sources.tree import has_control_characters
from assay.errors import InputError, did_you_mean

COLUMNS = ("id", "path", "label", "split", "group")
# What programs write for a label that is not there; "none" and "unknown" may be classes.
EMPTY_LABELS = frozenset({"", "nan", "#n/a", "<na>", "null"})
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


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
        columns: Which of `COLUMNS` it has.
        notes: What the user should hear of how it was read.
        warnings: What the user should look at before training: columns that name patients and are not used.
    """

    rows: tuple[Row, ...]
    columns: tuple[str, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def parse_label_table(data: bytes, name: str, group_column: str | None = None) -> LabelTable:
    """Parse a label table.

    A byte-order mark, any line ending, and semicolons, tabs or bars in place of commas are taken as they
    come. Column names may be in any case and order; unknown columns are passed over and noted.

    Args:
        data: The file.
        name: Its name, for messages.
        group_column: The column that names groups; None: ``group``.

    Raises:
        InputError: No rows, a wrong header, a row of another length, an empty cell, a row that repeats or
            contradicts another, or an unknown split.
    """
    text = _decode(data, name)
    texts = text.splitlines()
    if not any(line.strip() for line in texts):
        raise InputError(f"{name}: is empty. Give it the columns path,label and one row an image.")
    delimiter = _delimiter(texts[0])
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [cell.strip().lower() for cell in next(reader)]
        _check_header(header, name)
        places = {column: header.index(column) for column in COLUMNS if column in header}
        if group_column is not None:
            places["group"] = _place(group_column, header, name)
        key_column = "path" if "path" in places else "id"
        lines = _lines(reader, len(header), name)
        rows = tuple(_row(line, cells, places, key_column, name) for line, cells in lines)
    except csv.Error as error:
        raise InputError(f"{name}: line {reader.line_num} is not valid CSV ({error}). Mend its quotes.") from error
    if not rows:
        raise InputError(f"{name}: has a header but no rows. Add one row an image.")
    _check_rows(rows, name, "split" in places)
    notes = []
    if delimiter != ",":
        notes.append(f"{name} is separated by {_DELIMITERS[delimiter]}")
    unknown = [column for place, column in enumerate(header) if place not in places.values() and column != "id"]
    if unknown:
        notes.append(f"{name}: columns not used: {', '.join(column or '(no name)' for column in unknown)}")
    if "id" in places and key_column == "path":
        notes.append(f"{name}: files are found by the column path; the column id is not used")
    warnings = group_columns(header, [cells for _, cells in lines], places.get("group"), name)
    return LabelTable(rows, tuple(places), tuple(notes), tuple(warnings))


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
        cells = [cell.strip().strip('"').lower() for cell in header.split(delimiter)]
        return sum(cell in COLUMNS for cell in cells)

    return max(_DELIMITERS, key=lambda delimiter: (known(delimiter), header.count(delimiter)))


def _check_header(header: list[str], name: str) -> None:
    received = f"Received: {', '.join(header)[:200]}"
    repeated = sorted({column for column in header if column in COLUMNS and header.count(column) > 1})
    if repeated:
        raise InputError(f"{name}: the header names '{repeated[0]}' twice. Keep one. {received}")
    for needed, ways in (("id or path", ("path", "id")), ("label", ("label",))):
        if not any(column in header for column in ways):
            unknown = [column for column in header if column not in COLUMNS]
            near = next((column for column in unknown if did_you_mean(column, ways, count=1)), None)
            hint = f" Did you mean '{ways[0]}' by '{near}'?" if near else ""
            raise InputError(
                f"{name}: the header has no column {needed}.{hint} The first line must be "
                f"path,label or id,label, with split and group if there are any. {received}"
            )


def _place(column: str, header: list[str], name: str) -> int:
    wanted = column.strip().lower()
    if wanted not in header:
        hint = did_you_mean(wanted, header, count=1) or f" There are: {', '.join(header)[:200]}."
        raise InputError(f"{name}: has no column '{column}', which data.group_column names.{hint}")
    return header.index(wanted)


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


def _row(line: int, cells: list[str], places: dict[str, int], key_column: str, name: str) -> Row:
    cell = {column: cells[place].strip() for column, place in places.items()}
    for column, value in cell.items():
        if not value.isprintable() and has_control_characters(value):
            raise InputError(f"{name}: line {line}: {column} {value[:80]!r} holds a control character. Mend it.")
    if not cell[key_column]:
        raise InputError(f"{name}: line {line} has an empty {key_column}. Fill it in or remove the row.")
    if normal_form(cell["label"]).casefold() in EMPTY_LABELS:
        raise InputError(f"{name}: line {line} ({cell[key_column]}) has an empty label. Fill it in or remove the row.")
    given = cell.get("split", "")
    split = split_of(given) if given else ""
    if split is None:
        hint = did_you_mean(given.lower(), SPLITS, count=1)
        raise InputError(f"{name}: line {line}: split '{given}' is none of train, valid and test.{hint}")
    group = cell.get("group", "")
    return Row(line, cell[key_column], cell["label"], split, "" if is_blank(group) else group)


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
