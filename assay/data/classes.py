"""Which classes a source has: names in one normal form, those that are likely one refused, chosen by the config."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter

from assay.config import DataConfig
from assay.data.sources import Entry, Listing
from assay.data.sources.meaning import absence, default_positive
from assay.data.sources.spelling import (
    changed_names,
    likeness,
    listed,
    near_names,
    normal_form,
    same_names,
    visible,
)
from assay.errors import InputError, did_you_mean

_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The classes of a source, and the examples that belong to them.

    Attributes:
        classes: Class names in class order.
        listing: The listing with those examples alone, labels and groups in normal form, and what is to be said.
    """

    classes: tuple[str, ...]
    listing: Listing


def choose_classes(uri: str, listing: Listing, config: DataConfig) -> Chosen:
    """Put names into their normal form and choose the classes that the config names.

    Groups whose names are likely the same are joined: that separates no images that belong together. Labels are not:
    which spelling is right, and whether `A` and `a` are two letters, a person must say.

    Args:
        uri: The source, for messages.
        listing: What the source holds.
        config: `classes` are chosen, all if None.

    Raises:
        InputError: `classes` names one that no example has.
    """
    # Sorted, since sets of duplicates are named and numbered in this order.
    entries = sorted(listing.entries, key=lambda entry: entry.id)
    groups, notes = _join_groups(entries)
    notes += _normalised("label", [entry.label for entry in entries])
    entries = [
        dataclasses.replace(entry, label=normal_form(entry.label), group=groups.get(entry.group, entry.group))
        for entry in entries
    ]
    counts = Counter(entry.label for entry in entries)
    wanted = None if config.classes is None else tuple(normal_form(name) for name in config.classes)
    classes = tuple(sorted(counts)) if wanted is None else wanted
    warnings = [*listing.warnings, *_numbered_in_two_ways(set(groups.values()))]
    refusals = [*listing.refusals, *_spelled_in_several_ways(uri, counts, wanted)]
    if wanted is None:
        refusals += _several_in_one(uri, counts)
    for name in classes:
        if name not in counts and name not in map(normal_form, listing.empty_classes):
            hint = did_you_mean(name, counts, count=1) or f" There are: {', '.join(sorted(counts))[:200]}."
            raise InputError(f"data.classes: no example in {uri} has the label '{name}'.{hint}")
    empty = [name for name in listing.empty_classes if wanted is None or normal_form(name) in wanted]
    if empty:
        more = f" (and {len(empty) - 1} more)" if len(empty) > 1 else ""
        refusals.append(
            f"{uri}: the class folder '{visible(empty[0])}' is empty{more}. Put its images there, remove the folder, "
            "or name the classes that are meant in data.classes."
        )
    chosen = [entry for entry in entries if entry.label in set(classes)]
    others = [name for name in sorted(counts) if name not in classes]
    if others:
        left = len(entries) - len(chosen)
        notes.append(f"left out, not named in data.classes: {left:,} examples of {', '.join(others)}")
    slips = [
        f"label '{rare}' ({counts[rare]:,}) may be a slip of the pen for '{usual}' ({counts[usual]:,})"
        for rare, usual in near_names({name: counts[name] for name in classes if name in counts})
    ]
    return Chosen(
        tuple(name for name in classes if name in counts),
        dataclasses.replace(
            listing,
            entries=tuple(chosen),
            notes=(*listing.notes, *notes),
            warnings=(*warnings, *slips),
            refusals=tuple(refusals),
        ),
    )


def positive_index(config: DataConfig, classes: tuple[str, ...]) -> int:
    """Return the index of the class to detect; of more than two classes it has no meaning.

    Raises:
        InputError: The config names a class that is not there.
    """
    if config.positive_class is None:
        return default_positive(classes)
    name = normal_form(config.positive_class)
    if name not in classes:
        hint = did_you_mean(name, classes, count=1) or f" The classes are {', '.join(classes)[:200]}."
        raise InputError(f"data.positive_class: there is no class '{name}'.{hint}")
    return classes.index(name)


def why_positive(config: DataConfig, classes: tuple[str, ...]) -> str:
    """Return in words how the class to detect was found, of two classes."""
    if config.positive_class is not None:
        return "as data.positive_class says"
    negative = absence(classes)
    if negative is not None:
        return f"'{classes[negative]}' is taken for its absence; data.positive_class says otherwise"
    return "the last in class order, as neither is named normal, negative or 0; data.positive_class says otherwise"


def _spelled_in_several_ways(uri: str, counts: Counter[str], wanted: tuple[str, ...] | None) -> list[str]:
    sets = [
        spellings
        for spellings in same_names(counts)
        # Named one by one in data.classes they are meant to be different; not to be left out with a word.
        if not all(name in (wanted or ()) for name in spellings)
        and (wanted is None or any(name in wanted for name in spellings))
    ]
    if not sets:
        return []
    shown = "; ".join(listed(spellings) for spellings in sets[:_SHOWN])
    more = f"; and {len(sets) - _SHOWN} more" if len(sets) > _SHOWN else ""
    classes = "one class is" if len(sets) == 1 else f"{len(sets)} classes are"
    return [
        f"{uri}: {classes} likely spelled in several ways: {shown}{more}. Give each class one spelling (folders, or "
        "the column label); where they are different classes, name all of them in data.classes."
    ]


def _several_in_one(uri: str, counts: Counter[str]) -> list[str]:
    """Return a refusal where labels are lists of others: ``Effusion|Mass`` beside ``Effusion`` and ``Mass``."""
    for separator in "|;,+&":
        joined = [
            name
            for name in counts
            if len(parts := {normal_form(part) for part in name.split(separator)}) > 1 and parts <= counts.keys()
        ]
        if joined:
            images = sum(counts[name] for name in joined)
            return [
                f"{uri}: {len(joined):,} labels are several in one (first: '{joined[0]}', in all {images:,} images). "
                "Give each image one label, such as whether it shows what is looked for, or name the classes in "
                "data.classes to leave the others out."
            ]
    return []


def _normalised(what: str, names: list[str]) -> list[str]:
    """Return a note for names that are read in another form than they are written in."""
    notes = []
    for form, spellings in changed_names(names).items():
        changed = {name: count for name, count in spellings.items() if name != form}
        files = sum(changed.values())
        notes.append(
            f"{what} '{form}' is written with invisible characters, spaces or in another Unicode form for "
            f"{files:,} files ({listed(changed)}); read as '{form}'"
        )
    return notes


def _numbered_in_two_ways(groups: set[str]) -> list[str]:
    """Return a warning where some groups are numbers, and others the same numbers with a letter: 7 and B07.

    The letter may be a site or an arm of a study, with patients of its own: unlike the P of P07 it may not be left out.
    """
    plain: dict[int, str] = {}
    lettered: dict[int, str] = {}
    for name in sorted(groups):
        found = re.fullmatch(r"([A-Za-z]*)[\s_.-]*0*(\d{1,15})(?:\.0+)?", name)
        if found:
            (lettered if found[1] else plain).setdefault(int(found[2]), name)
    both = sorted(set(plain) & set(lettered))
    if not both:
        return []
    one, other = plain[both[0]], lettered[both[0]]
    return [
        f"{len(both):,} groups are written as a number and with letters before it ('{one}' and '{other}'): if these "
        "are the same patients, write them alike, or images of one end up in train and in test"
    ]


def _without_person(name: str) -> str:
    """Return the number of a patient without what says that it is one: of ``p07`` and ``patient 7`` what 7 is."""
    found = re.fullmatch(r"(?:p|pt|pat|patient|subject|subj|sub|case|person|id)[ .#:]*0*(\d+)", name)
    return found[1] if found else name


def _join_groups(entries: list[Entry]) -> tuple[dict[str, str], list[str]]:
    """Return the name of each group as given by the name that it goes by, and what is to be said of that."""
    given = Counter(entry.group for entry in entries if entry.group)
    by_likeness: dict[str, Counter[str]] = {}
    for name, count in given.items():
        by_likeness.setdefault(_without_person(likeness(name)), Counter())[name] += count
    names = {
        name: normal_form(spellings.most_common(1)[0][0]) for spellings in by_likeness.values() for name in spellings
    }
    several = [dict(spellings.most_common()) for spellings in by_likeness.values() if len(spellings) > 1]
    if not several:
        return names, []
    shown = "; ".join(listed(spellings) for spellings in several[:_SHOWN])
    return names, [
        f"{len(several):,} groups are spelled in several ways, each is taken for one: {shown}"
        + (f"; and {len(several) - _SHOWN} more" if len(several) > _SHOWN else "")
    ]
