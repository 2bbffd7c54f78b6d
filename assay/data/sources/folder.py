"""Class folders, with or without folders for the splits: ``<class>/*`` and ``{train,valid,test}/<class>/*``."""

from __future__ import annotations

from collections.abc import Sequence

from assay.data.sources.base import Entry, Listing, Rejected
from assay.data.sources.layout import Folders, refuse_other_layouts
from assay.data.sources.spelling import visible
from assay.data.sources.splits import SPLITS, likely_splits, misspelt_split, split_of
from assay.data.sources.unread import what_is_unread
from assay.errors import InputError


def list_class_folders(
    root: str,
    names: Sequence[str],
    extensions: frozenset[str],
    *,
    empty: Sequence[str] = (),
    classes: Sequence[str] | None = None,
) -> Listing:
    """Return the examples that class folders hold.

    Everything in a class folder is taken for an example; what is none is found out on reading. Folders within
    a class folder belong to that class.

    Args:
        root: The source, for addresses and messages.
        names: The files, relative to the root.
        extensions: What examples end in, lower case; tells a stray example beside the folders from a readme.
        empty: Folders at the top, and one below, that hold nothing.
        classes: The classes that the user has named: folders of those names are classes, whatever else they look like.

    Raises:
        InputError: There are no examples, or none in a class folder, or the folders are no classes: a split's name is
            misspelt, splits have other names than are known, the classes lie one folder deeper.
    """
    folders = Folders.of(names)
    stray = [
        name
        for name in names
        if "/" not in name and name.rpartition(".")[2].lower() in extensions - {"csv", "tsv", "txt"}
    ]
    if not folders.files:
        raise InputError(_no_folders(root, names, stray, extensions, empty))
    rejected = [Rejected(f"{root}/{name}", "in no class folder") for name in stray]
    splits = {top: split_of(top) for top in folders.files}
    named = [top for top, split in splits.items() if split is not None]
    has_train = any(splits[top] == "train" and folders.inside[top] for top in named)
    likely = likely_splits(splits)
    if has_train and (len(named) > 1 or all(top in named or top in likely or misspelt_split(top) for top in splits)):
        return _in_splits(root, names, folders, rejected, empty)
    refuse_other_layouts(root, names, classes)
    return _in_classes(root, names, folders, rejected, empty)


def _no_folders(
    root: str, names: Sequence[str], stray: Sequence[str], extensions: frozenset[str], empty: Sequence[str]
) -> str:
    """Return why a source without any folder that holds files cannot be used."""
    if stray:
        return (
            f"{root}: {len(stray)} examples (first: {stray[0]}), but no class folders and no labels.csv. Put each into "
            "a folder named as its class, or add labels.csv with the columns path,label."
        )
    unread = [name for name in names if what_is_unread(name) is not None]
    if unread:
        return (
            f"{root}: {len(unread):,} of {len(names):,} files are in a format that is not read. "
            f"{what_is_unread(unread[0])} (first: {unread[0]})."
        )
    if empty:
        return f"{root}: its folders are empty (first: {visible(empty[0])}). Put the images of each class into its own."
    what = ", ".join(sorted(extensions))
    # The one extension of windows that is none of images; CSV files lie beside images too.
    windows = "npy" not in extensions and any(name.lower().endswith(".npy") for name in names)
    return f"{root}: no examples found. Expected a folder a class with files ({what}), or labels.csv beside them." + (
        " For sensor windows in .npy files set data.kind=sensor." if windows else ""
    )


def _in_splits(
    root: str, names: Sequence[str], folders: Folders, rejected: list[Rejected], empty: Sequence[str]
) -> Listing:
    notes = []
    splits = {top: split_of(top) for top in folders.files}
    likely = likely_splits(folders.files)
    for top, split in splits.items():
        count = folders.files[top]
        if split is None:
            meant = likely.get(top) or misspelt_split(top)
            if meant and folders.inside[top]:
                raise InputError(
                    f"{root}/{top}: is no split, though other folders here are. Did you mean '{meant}'? Rename it."
                )
            notes.append(f"folder {top} is left out ({count:,} files): it is neither train, valid nor test")
        elif not folders.inside[top]:
            notes.append(f"folder {top} is left out ({count:,} files): it holds no class folders, so no labels")
    entries = []
    for name in names:
        top, _, below = name.partition("/")
        split = splits.get(top) if below and folders.inside[top] else None
        if split is None:
            continue
        label, _, file = below.partition("/")
        if file:
            entries.append(Entry(name, f"{root}/{name}", label, split))
        else:
            rejected.append(Rejected(f"{root}/{name}", "in no class folder"))
    found = {entry.split for entry in entries}
    layout = f"class folders in {', '.join(split for split in SPLITS if split in found)}"
    labels = {entry.label for entry in entries}
    below_splits = {name.partition("/")[2] for name in empty if split_of(name.partition("/")[0]) is not None}
    nowhere = sorted(name for name in below_splits if name and name not in labels)
    notes += [
        f"folder {name} is empty"
        for name in empty
        if name not in nowhere and name.partition("/")[2] not in nowhere and split_of(name.partition("/")[0])
    ]
    return Listing(tuple(entries), layout, tuple(rejected), tuple(notes), empty_classes=tuple(nowhere))


def _in_classes(
    root: str, names: Sequence[str], folders: Folders, rejected: list[Rejected], empty: Sequence[str]
) -> Listing:
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
    no_files = [name for name in empty if "/" not in name]
    return Listing(tuple(entries), "class folders", tuple(rejected), tuple(notes), empty_classes=tuple(no_files))
