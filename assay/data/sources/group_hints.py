"""Where groups may hide that nobody has named: columns of a label table, and names that many files share."""

from __future__ import annotations

import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from assay.data.sources.meaning import is_blank, is_group_column
from assay.data.sources.spelling import likeness

# Fewer ids tell nothing: the classes themselves, years, machines.
_LEAST_IDS = 5
_FILES_PER_ID = 1.5
_SHARE_NAMED = 0.9
_PERSON = re.compile(
    r"(?:^|[\W_])((?:patient|person|subject|subj|participant|case|slide|study|pat|pt|sub|donor|animal|mouse|specimen)"
    r"[\s_.-]?(?:id|no|nr)?[\s_.-]?\d+)",
    re.IGNORECASE,
)
# One file in several magnifications or views is one specimen: 1-40X, 1-100X.
_LAST_PART = re.compile(r"[\s_.()-]+[^\s_.()-]+[\s()]*$")


def group_columns(header: Sequence[str], lines: Sequence[Sequence[str]], group: int | None, name: str) -> list[str]:
    """Return what is to be said of columns that look as if they name patients or slides, and are not used.

    Args:
        header: Column names.
        lines: The rows' cells.
        group: The place of the column that is used for groups, or None.
        name: The table's name, for messages.
    """
    found: list[tuple[int, str, Counter[str], int]] = []
    for place, column in enumerate(header):
        if place == group or not is_group_column(column):
            continue
        values = Counter(likeness(cells[place]) for cells in lines if not is_blank(cells[place]))
        if 1 < len(values) < sum(values.values()):
            found.append((len(values), column, values, place))
    if not found:
        return []
    # The coarsest holds the others: a patient has several studies, a study several slides.
    _, column, values, place = min(found)
    if group is None:
        others = [other for _, other, _, _ in sorted(found)[1:]]
        also = f" (or {', '.join(others)})" if others else ""
        return [
            f"{name}: the column {column} ({len(values):,} values for {sum(values.values()):,} rows) names what images "
            "were taken from and is not used: images of one can end up in train and in test. "
            f"Set data.group_column={column}{also}"
        ]
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for cells in lines:
        if not is_blank(cells[place]):
            groups[likeness(cells[place])].add(likeness(cells[group]))
    torn = sum(len(own) > 1 for own in groups.values())
    if not torn:
        return []
    return [
        f"{name}: {torn:,} of {len(groups):,} values of the column {column} have several groups: images of one can end "
        f"up in train and in test. Set data.group_column={column} if it is a patient"
    ]


@dataclass(frozen=True)
class SharedIds:
    """Ids that the names of files share.

    Attributes:
        ids: How many there are.
        files: How many files have one.
        first: One of them, the commonest.
    """

    ids: int
    files: int
    first: str


def shared_ids(names: Sequence[str], labels: Sequence[str]) -> SharedIds | None:
    """Return the ids that file names share in an obvious way, or None: ``person12_bacteria_3.jpeg``, ``P07_001.png``.

    Args:
        names: The files, relative to the source, with ``/`` between folders.
        labels: Their classes: an id that goes with each of them is the class once more.
    """
    for key_of in (_person, _first_part, _without_last_part, _folder):
        found = _shared(names, labels, key_of)
        if found is not None:
            return found
    return None


def _shared(files: Sequence[str], labels: Sequence[str], key_of: Callable[[str, str], str]) -> SharedIds | None:
    keys = Counter(key for name, label in zip(files, labels, strict=True) if (key := key_of(name, label)))
    named = sum(keys.values())
    if (
        len(keys) < max(_LEAST_IDS, 2 * len(set(labels)))
        or named < _SHARE_NAMED * len(files)
        or named < _FILES_PER_ID * len(keys)
    ):
        return None
    first, _ = keys.most_common(1)[0]
    return SharedIds(len(keys), named, first)


def _person(name: str, label: str) -> str:
    """Return the first mention of a patient with a number, wherever in the name or its folders."""
    found = _PERSON.search(name)
    return re.sub(r"[\s_.-]", "", found[1]).casefold() if found else ""


def _first_part(name: str, label: str) -> str:
    """Return the first part of a file's name where it has several and that one holds a number."""
    parts = re.split(r"[\s_-]+", posixpath.splitext(posixpath.basename(name))[0])
    return parts[0].casefold() if len(parts) > 1 and re.search(r"\d", parts[0]) else ""


def _without_last_part(name: str, label: str) -> str:
    """Return a file's name without its last part where that is a counter and a number stands before it too."""
    stem = posixpath.splitext(posixpath.basename(name))[0]
    shorter = _LAST_PART.sub("", stem)
    return shorter.casefold() if shorter != stem and re.search(r"\d", shorter) else ""


def _folder(name: str, label: str) -> str:
    """Return the folder of a file where it is not the class's own and holds a number."""
    folder = posixpath.dirname(name)
    own = posixpath.basename(folder)
    return folder if "/" in folder and own != label and re.search(r"\d", own) else ""
