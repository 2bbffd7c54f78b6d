"""Class folders, with or without folders for the splits: ``<class>/*`` and ``{train,valid,test}/<class>/*``."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence

from assay.data.sources.base import Entry, Listing, Rejected
from assay.data.sources.splits import SPLIT_NAMES, SPLITS, split_of
from assay.errors import InputError


def list_class_folders(root: str, names: Sequence[str], extensions: frozenset[str]) -> Listing:
    """Return the examples that class folders hold.

    Everything in a class folder is taken for an example; what is none is found out on reading. Folders within
    a class folder belong to that class.

    Args:
        root: The source, for addresses and messages.
        names: The files, relative to the root.
        extensions: What examples end in, lower case; tells a stray example beside the folders from a readme.

    Raises:
        InputError: There are no examples, or none in a class folder, or a split's name is misspelt.
    """
    tops = Counter(name.split("/", 1)[0] for name in names if "/" in name)
    stray = [
        name
        for name in names
        if "/" not in name and name.rpartition(".")[2].lower() in extensions - {"csv", "tsv", "txt"}
    ]
    if not tops:
        if not stray:
            what = ", ".join(sorted(extensions))
            # The one extension of windows that is none of images; CSV files lie beside images too.
            windows = "npy" not in extensions and any(name.lower().endswith(".npy") for name in names)
            raise InputError(
                f"{root}: no examples found. Expected a folder a class with files ({what}), or labels.csv beside them."
                + (" For sensor windows in .npy files set data.kind=sensor." if windows else "")
            )
        raise InputError(
            f"{root}: {len(stray)} examples (first: {stray[0]}), but no class folders and no labels.csv. Put each into "
            "a folder named as its class, or add labels.csv with the columns path,label."
        )
    rejected = [Rejected(f"{root}/{name}", "in no class folder") for name in stray]
    splits = {top: split_of(top) for top in tops}
    holds_classes = {name.split("/", 1)[0] for name in names if name.count("/") >= 2}
    named = [top for top, split in splits.items() if split is not None]
    has_train = any(splits[top] == "train" and top in holds_classes for top in named)
    if has_train and (len(named) > 1 or len(tops) == 1):
        return _in_splits(root, names, splits, holds_classes, rejected)
    return _in_classes(root, names, tops, rejected)


def _in_splits(
    root: str, names: Sequence[str], splits: dict[str, str | None], holds_classes: set[str], rejected: list[Rejected]
) -> Listing:
    notes = []
    for top, split in splits.items():
        count = sum(name.startswith(f"{top}/") for name in names)
        if split is None:
            meant = difflib.get_close_matches(top.lower(), SPLIT_NAMES, n=1, cutoff=0.75)
            if meant and top in holds_classes:
                raise InputError(
                    f"{root}/{top}: is no split, though other folders here are. Did you mean '{meant[0]}'? Rename it."
                )
            notes.append(f"folder {top} is left out ({count:,} files): it is neither train, valid nor test")
        elif top not in holds_classes:
            notes.append(f"folder {top} is left out ({count:,} files): it holds no class folders, so no labels")
    entries = []
    for name in names:
        top, _, below = name.partition("/")
        split = splits.get(top) if below and top in holds_classes else None
        if split is None:
            continue
        label, _, file = below.partition("/")
        if file:
            entries.append(Entry(name, f"{root}/{name}", label, split))
        else:
            rejected.append(Rejected(f"{root}/{name}", "in no class folder"))
    found = {entry.split for entry in entries}
    layout = f"class folders in {', '.join(split for split in SPLITS if split in found)}"
    return Listing(tuple(entries), layout, tuple(rejected), tuple(notes))


def _in_classes(root: str, names: Sequence[str], tops: Counter[str], rejected: list[Rejected]) -> Listing:
    if len(tops) == 1:
        (top,) = tops
        inner = {name.split("/")[1] for name in names if name.count("/") >= 2}
        if len(inner) > 1:
            raise InputError(f"{root}: one class only ('{top}'), with folders in it. Did you mean {root}/{top}?")
    entries = []
    for name in names:
        label, separator, _ = name.partition("/")
        if separator:
            entries.append(Entry(name, f"{root}/{name}", label))
    notes = []
    deep = sum(name.count("/") > 1 for name in names)
    if deep:
        notes.append(
            f"{deep:,} files lie in folders within class folders; those folders are not taken for groups "
            "(name groups in labels.csv)"
        )
    return Listing(tuple(entries), "class folders", tuple(rejected), tuple(notes))
