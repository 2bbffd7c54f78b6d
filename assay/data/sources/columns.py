"""Which columns of a label table name the file, the class, the split and the group: by their names, and what is there.

People call the file `image_id`, `filename` or `id_code`, and the class `dx`, `diagnosis` or `level`. What is taken is
what can mean one thing alone; where two columns could be the class, a person must say which.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from assay.data.sources.meaning import is_blank, is_group_column, words_of
from assay.data.sources.splits import split_of
from assay.errors import InputError, did_you_mean

# In the order in which they are believed where several name files equally well.
_FILES = (
    "path", "filepath", "imagepath", "imgpath", "imagefilepath", "relativepath", "relpath", "filename",
    "imagefilename", "imagefile", "file", "fname", "imagename", "imgname", "image", "images", "img", "imageid",
    "imgid", "isicid", "idcode", "imageindex", "picture", "photo", "fileid", "imagenumber", "id", "name", "uid",
)  # fmt: skip
_LABELS = frozenset({
    "label", "labels", "class", "classes", "classname", "classlabel", "classid", "category", "categories",
    "categoryname", "target", "targets", "diagnosis", "diagnoses", "diagnostic", "dx", "groundtruth", "gt",
    "truth", "finding", "findings", "findinglabel", "findinglabels", "pathology", "disease", "diseasename",
    "benignmalignant", "malignancy", "outcome", "labelname", "imagelabel", "level", "grade", "stage", "severity",
    "tag", "klasse", "diagnose", "clase", "classe", "etiqueta", "diagnostico", "diagnóstico", "diagnostique",
})  # fmt: skip
_SPLITS = frozenset(
    {"split", "splits", "set", "subset", "partition", "datasplit", "dataset", "usage", "phase", "traintest", "fold"}
)
# Rows enough to know by what a column's cells are.
_SAMPLE = 200
_MOST_NAME_FILES = 0.9
_SHOWN = 6

Rows = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Asked:
    """The columns that the user names; None: found by their names.

    Attributes:
        file: ``data.file_column``.
        label: ``data.label_column``.
        group: ``data.group_column``.
    """

    file: str | None = None
    label: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Columns:
    """What the columns of a table are, by their place.

    Attributes:
        file: Names the file.
        label: Names the class; None where each class has a column of 0 and 1.
        classes: The places of those columns, with the class that each is of.
        split: Names the split, or None.
        group: Names what must not be torn apart, or None.
        notes: Choices that the user should hear of.
    """

    file: int
    label: int | None
    classes: tuple[tuple[int, str], ...]
    split: int | None
    group: int | None
    notes: tuple[str, ...]

    @property
    def used(self) -> frozenset[int]:
        """The places of all columns that are looked at."""
        single = {place for place in (self.file, self.label, self.split, self.group) if place is not None}
        return frozenset(single | {place for place, _ in self.classes})


def find_columns(
    header: Sequence[str], rows: Rows, asked: Asked, name: str, is_there: Callable[[str], bool] | None = None
) -> Columns:
    """Say what the columns of a table are.

    Args:
        header: The first line's cells.
        rows: The cells of the others, each as many as the header has.
        asked: The columns that the user names.
        name: The table's name, for messages.
        is_there: Whether a cell names a file of the source; None: nothing is known of files.

    Raises:
        InputError: No column, or more than one, can name the file or the class; the message lists them.
    """
    _refuse_repeated(header, name)
    if is_there is not None and not known_columns(header) and any(cell and is_there(cell) for cell in header):
        raise InputError(f"{name}: has no header. Its first line must be path,label. {_received(header)}")
    plain = ["".join(words_of(cell)) for cell in header]
    file = file_column(header, rows, asked.file, name, is_there)
    if file is None:
        raise InputError(
            f"{name}: the header has no column id or path, nor another that names files. The first line must be "
            f"path,label; data.file_column names another column. {_received(header)}"
        )
    group = _place(asked.group, header, "data.group_column", name) if asked.group is not None else None
    if asked.group is None and "group" in plain:
        group = plain.index("group")
    split, notes = _split_column(header, plain, rows, {file, group})
    others = [place for place in range(len(header)) if place not in {file, split, group}]
    label, classes, more = _label_columns(header, plain, rows, others, asked.label, name)
    notes += more
    if plain[file] not in ("path", "id") or (label is not None and plain[label] != "label"):
        by = f", the class by {header[label]}" if label is not None else ""
        notes.insert(0, f"{name}: the file is named by the column {header[file]}{by}")
    return Columns(file, label, classes, split, group, tuple(notes))


def known_columns(header: Sequence[str]) -> int:
    """Return how many columns have a name that says what they are."""
    plain = ["".join(words_of(cell)) for cell in header]
    return sum(word in _FILES or word in _LABELS or word in _SPLITS or word == "group" for word in plain)


def has_labels(header: Sequence[str], rows: Rows) -> bool:
    """Return whether columns are there that may name classes, be it not clear which."""
    flags = sum(_are_flags(rows, place) for place in range(len(header)))
    return flags > 1 or any("".join(words_of(cell)) in _LABELS for cell in header)


def file_column(
    header: Sequence[str], rows: Rows, asked: str | None, name: str, is_there: Callable[[str], bool] | None = None
) -> int | None:
    """Return the place of the column that names files, or None: see `find_columns`.

    Raises:
        InputError: The user names a column that is not there.
    """
    if asked is not None:
        return _place(asked, header, "data.file_column", name)
    plain = ["".join(words_of(cell)) for cell in header]
    if "path" in plain:
        return plain.index("path")
    known = [place for place, word in enumerate(plain) if word in _FILES]
    known.sort(key=lambda place: _FILES.index(plain[place]))
    if is_there is None:
        return known[0] if known else None
    share = {place: _share(rows, place, is_there) for place in range(len(header))}
    best = max(known, key=lambda place: share[place], default=None)
    if best is not None and share[best] > 0:
        return best
    # Whatever it is called: files of those names are there.
    naming = [place for place in range(len(header)) if share[place] >= _MOST_NAME_FILES]
    return naming[0] if naming else best


def _share(rows: Rows, place: int, is_there: Callable[[str], bool]) -> float:
    cells = [row[place].strip() for row in rows[:: max(1, len(rows) // _SAMPLE)]]
    return sum(bool(cell) and is_there(cell) for cell in cells) / max(1, len(cells))


def _split_column(
    header: Sequence[str], plain: Sequence[str], rows: Rows, taken: set[int | None]
) -> tuple[int | None, list[str]]:
    if "split" in plain:
        return plain.index("split"), []
    for place, word in enumerate(plain):
        if word in _SPLITS and place not in taken:
            splits = {split_of(row[place]) for row in rows}
            if None not in splits and "train" in splits and len(splits) > 1:
                return place, [f"splits are taken from the column {header[place]}"]
    return None, []


def _label_columns(
    header: Sequence[str], plain: Sequence[str], rows: Rows, others: Sequence[int], asked: str | None, name: str
) -> tuple[int | None, tuple[tuple[int, str], ...], list[str]]:
    if asked is not None:
        return _place(asked, header, "data.label_column", name), (), []
    if "label" in plain:
        return plain.index("label"), (), []
    known = [place for place in others if plain[place] in _LABELS]
    telling = [place for place in known if len({row[place].strip() for row in rows}) > 1] or known
    if len(telling) > 1 and _say_the_same(rows, telling):
        # Names are better to read than their numbers.
        telling = [next((place for place in telling if not _is_number(rows[0][place])), telling[0])]
    if len(telling) > 1:
        listed = ", ".join(f"{header[at]} ({len({row[at].strip() for row in rows}):,} values)" for at in telling)
        raise InputError(
            f"{name}: {len(telling)} columns may name the class: {listed}. Say which: "
            f"data.label_column={_quoted(header[telling[0]])}"
        )
    if telling:
        return telling[0], (), []
    flags = [place for place in others if _are_flags(rows, place) and not is_group_column(header[place])]
    if len(flags) > 1 and all(_is_one_of(row, flags) for row in rows):
        names = [header[place].strip() for place in flags]
        return (
            None,
            tuple(zip(flags, names, strict=True)),
            [f"{name}: each class has a column of 0 and 1: {_listed(names)}"],
        )
    if len(flags) > 1:
        raise InputError(
            f"{name}: the header has no column label, and {len(flags)} columns of 0 and 1 "
            f"({_listed([header[place] for place in flags])}) of which a row may have several or none. Choose one: "
            f"data.label_column={_quoted(header[flags[0]])}"
        )
    near = next((header[at] for at in others if did_you_mean(header[at].strip().lower(), ("label",), count=1)), None)
    if len(others) == 1 and len(header) == 2 and near is None and not is_group_column(header[others[0]]):
        return others[0], (), []
    hint = f" Did you mean 'label' by '{near}'?" if near else ""
    raise InputError(
        f"{name}: the header has no column label.{hint} The first line must be path,label or id,label, with split and "
        f"group if there are any; data.label_column names another column. {_received(header)}"
    )


def _say_the_same(rows: Rows, places: Sequence[int]) -> bool:
    """Return whether columns divide the rows alike, as a class's name and its number do."""
    sets = {tuple(row[place].strip() for place in places) for row in rows}
    return all(len(sets) == len({values[at] for values in sets}) for at in range(len(places)))


def _are_flags(rows: Rows, place: int) -> bool:
    """Return whether a column says whether a finding is there: 0 and 1, nothing, or -1 where that is uncertain."""
    values = Counter(row[place].strip() for row in rows)
    said = [value for value in values if not is_blank(value)]
    return bool(said) and all(_is_one(value) or value in ("0", "0.0", "-1", "-1.0") for value in said)


def _is_one_of(row: Sequence[str], flags: Sequence[int]) -> bool:
    """Return whether a row says of each class that it is the one or is not."""
    cells = [row[place] for place in flags]
    return sum(map(_is_one, cells)) == 1 and all(_is_one(cell) or cell.strip() in ("0", "0.0") for cell in cells)


def _is_one(cell: str) -> bool:
    return cell.strip() in ("1", "1.0")


def _is_number(cell: str) -> bool:
    return cell.strip().replace(".", "", 1).lstrip("+-").isdigit()


def _place(column: str, header: Sequence[str], key: str, name: str) -> int:
    wanted = column.strip().lower()
    columns = [cell.strip().lower() for cell in header]
    if wanted not in columns:
        hint = did_you_mean(wanted, columns, count=1) or f" There are: {', '.join(columns)[:200]}."
        raise InputError(f"{name}: has no column '{column}', which {key} names.{hint}")
    return columns.index(wanted)


def _refuse_repeated(header: Sequence[str], name: str) -> None:
    counts = Counter(cell.strip().lower() for cell in header)
    repeated = next((cell for cell, count in counts.items() if count > 1 and known_columns([cell])), None)
    if repeated is not None:
        raise InputError(f"{name}: the header names '{repeated}' twice. Keep one. {_received(header)}")


def _quoted(column: str) -> str:
    return f'"{column}"' if " " in column.strip() else column


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _received(header: Sequence[str]) -> str:
    return f"Received: {', '.join(cell.strip().lower() for cell in header)[:200]}"
