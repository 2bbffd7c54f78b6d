"""The figures of a survey: what the snapshot's report, quality.html and ``assay data inspect`` show."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pandas as pd

from assay.data.checks import kind_of_reason, remarks, warnings
from assay.data.classes import positive_index, why_positive
from assay.data.sources.splits import SPLITS
from assay.data.survey import Survey
from assay.errors import InputError

_MOST = 12


def summarise(survey: Survey) -> dict[str, Any]:
    """Return the figures of a survey, ready for JSON.

    Args:
        survey: What was found in the source.

    Returns:
        Keys: layout, used, set_aside, bytes, classes, splits (those that occur; ``""`` where the source gives
        none), counts (class to split to number), sizes, modes and formats (lists of name and number, commonest
        first), reasons (kind of reason to number), positive_class (of two: name, why),
            groups, duplicates, notes and warnings (lines).
    """
    table = survey.table
    splits = [split for split in ("", *SPLITS) if (table["split"] == split).any()]
    counts = table.groupby(["label", "split"]).size()
    sizes = table["width"].astype(str) + " x " + table["height"].astype(str)
    given = table["given_group"][table["given_group"] != ""]
    in_sets = table[table["duplicates"] >= 0]
    return {
        "layout": survey.listing.layout,
        "used": len(table),
        "set_aside": len(survey.set_aside),
        "bytes": int(table["size"].sum()),
        "classes": list(survey.classes),
        "splits": splits,
        "counts": {name: {split: int(counts.get((name, split), 0)) for split in splits} for name in survey.classes},
        "sizes": _commonest(sizes),
        "modes": _commonest(table["mode"]),
        "formats": _commonest(table["format"]),
        "reasons": dict(Counter(kind_of_reason(aside.reason) for aside in survey.set_aside).most_common()),
        "positive_class": _positive(survey),
        "groups": {
            "missing": survey.listing.groups_missing,
            "given": int(given.nunique()),
            "of_images": len(given),
            "after_joining_duplicates": int(table["group"].nunique()),
        },
        "duplicates": {
            "exact_sets": int((table["exact"].max() + 1) if len(table) else 0),
            "exact_copies": int((table["exact"] >= 0).sum()),
            "sets": int(in_sets["duplicates"].nunique()),
            "images": len(in_sets),
        },
        "notes": [*survey.notes, *remarks(survey)],
        "warnings": warnings(survey),
    }


def _positive(survey: Survey) -> dict[str, str] | None:
    classes = survey.classes
    if len(classes) != 2:
        return None
    try:
        name = classes[positive_index(survey.config, classes)]
    except InputError:  # among the refusals
        return None
    return {"name": name, "why": why_positive(survey.config, classes)}


def _commonest(values: pd.Series) -> list[tuple[str, int]]:
    counts = values.value_counts()
    shown = [(str(name), int(count)) for name, count in counts.iloc[:_MOST].items()]
    rest = int(counts.iloc[_MOST:].sum())
    return [*shown, (f"{len(counts) - _MOST} others", rest)] if rest else shown
