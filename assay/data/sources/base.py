"""What a source of labelled examples is: a listing of entries, and their bytes on demand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Entry:
    """One labelled example of a source, not yet read.

    Attributes:
        id: Its name within the source, unique, with ``/`` between folders and independent of where the
            source lies (``train/0/a.jpg``); for a row of an array ``walking.npy#17``.
        uri: Where it lies, for people and for `Source.read` (a path, ``gs://...``, ``demo://...#17``).
        label: The class name.
        split: ``train``, ``valid``, ``test``, or empty where the source does not say.
        group: The slide, patient or device that it came from, or empty where the source does not say.
    """

    id: str
    uri: str
    label: str
    split: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class Rejected:
    """Something in the source that cannot be an example, known from its name alone."""

    uri: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """All that a source holds.

    Attributes:
        entries: The examples, in any order; ids are unique.
        layout: How the source was understood, in words ("class folders in train, valid and test").
        rejected: Files set aside before being read; each counts as a bad file.
        notes: Decisions that the user should hear of, one line each.
        warnings: What the user should look at before training, known from names alone, one line each.
        refusals: Why it cannot be trained on, known from names alone, one line each.
        groups_missing: Examples whose label table has a column for groups, and nothing in it for them.
        empty_classes: Folders that stand where classes do and hold nothing.
    """

    entries: tuple[Entry, ...]
    layout: str
    rejected: tuple[Rejected, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()
    groups_missing: int = 0
    empty_classes: tuple[str, ...] = ()


class Source(Protocol):
    """A place that holds labelled examples. Opening one is cheap; listing it may not be.

    Attributes:
        uri: What the user gave, made absolute for a local path: opens the same source again elsewhere.
        parallel_reads: How many `read` calls are worth having under way at once.
    """

    uri: str
    parallel_reads: int

    def listing(self) -> Listing:
        """Return everything in the source.

        Raises:
            InputError: The source is empty, or contradicts itself.
        """
        ...

    def read(self, entry: Entry) -> bytes:
        """Return the bytes of one entry: an encoded image file, or for sensors a ``.npy`` or CSV file.

        Works without `listing` and from several threads at once, so that a later step can read entries that
        it took from a snapshot's table.

        Raises:
            OSError: The entry is gone or may not be read.
        """
        ...
