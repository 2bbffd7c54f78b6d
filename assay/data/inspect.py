"""``assay data inspect``: what a source holds and what is wrong with it, without writing anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from assay.config import DataConfig
from assay.data.checks import refusals
from assay.data.summary import summarise
from assay.data.survey import SetAside, survey

_FILES_SHOWN = 10


@dataclass(frozen=True)
class InspectReport:
    """What was found in a source.

    Attributes:
        uri: The source.
        figures: See `assay.data.summary.summarise`.
        refusals: Why it cannot be trained on, one line each; empty where it can.
        set_aside: Every file that would not be used, with the reason.
    """

    uri: str
    figures: dict[str, Any]
    refusals: tuple[str, ...]
    set_aside: tuple[SetAside, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """What forbids training, then what to look at before it."""
        return (*self.refusals, *self.figures["warnings"])

    def counts(self) -> list[tuple[str, ...]]:
        """Return the table of classes and splits: a header, one line a class, the totals."""
        splits, counts = self.figures["splits"], self.figures["counts"]
        named = [split for split in splits if split]
        columns = [*named, *(["no split"] if "" in splits and named else [])]
        keys = [*named, *([""] if "" in splits and named else [])]
        lines = [("class", *columns, "all")]
        for name, by_split in counts.items():
            lines.append((name, *(f"{by_split[key]:,}" for key in keys), f"{sum(by_split.values()):,}"))
        totals = (f"{sum(by_split[key] for by_split in counts.values()):,}" for key in keys)
        return [*lines, ("all", *totals, f"{self.figures['used']:,}")]

    def rows(self) -> list[tuple[str, str]]:
        """Return what there is to say besides the counts, as pairs of a name and a text."""
        figures = self.figures
        groups, duplicates = figures["groups"], figures["duplicates"]
        positive = figures["positive_class"]
        size = f"{figures['bytes'] / 1e6:,.1f} MB"
        rows = [
            ("source", self.uri),
            ("layout", figures["layout"]),
            ("usable", f"{figures['used']:,} files, {size}"),
            *([("positive", f"{positive['name']} ({positive['why']})")] if positive else []),
            ("size", _listed(figures["sizes"])),
            ("colour mode", _listed(figures["modes"])),
            ("format", _listed(figures["formats"])),
        ]
        if groups["given"]:
            rows.append(
                (
                    "groups",
                    f"{groups['given']:,} given, for {groups['of_images']:,} files"
                    + (f" (none for {groups['missing']:,}); " if groups["missing"] else "; ")
                    + f"{groups['after_joining_duplicates']:,} units to split after joining duplicates",
                )
            )
        else:
            rows.append(("groups", "none given: patches of one slide or patient may end up in two splits"))
        if duplicates["sets"]:
            rows.append(
                (
                    "duplicates",
                    f"{duplicates['images']:,} images in {duplicates['sets']:,} sets, "
                    f"{duplicates['exact_copies']:,} of them byte for byte; a set stays in one split",
                )
            )
        else:
            rows.append(("duplicates", "none"))
        if self.set_aside:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in figures["reasons"].items())
            rows.append(("set aside", f"{len(self.set_aside):,} files: {reasons}"))
        else:
            rows.append(("set aside", "none"))
        rows += [("note", note) for note in figures["notes"]]
        return rows

    def lines(self) -> Iterator[str]:
        """Yield the whole report as plain text."""
        for name, text in self.rows():
            yield f"{name:<12} {text}"
        yield ""
        table = self.counts()
        widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
        for line in table:
            first, *others = (
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            yield "  ".join([first, *others])
        if self.set_aside:
            yield ""
            for aside in self.set_aside[:_FILES_SHOWN]:
                yield f"set aside    {aside.uri}: {aside.reason}"
            if len(self.set_aside) > _FILES_SHOWN:
                yield f"             and {len(self.set_aside) - _FILES_SHOWN:,} more"
        yield ""
        for problem in self.refusals:
            yield f"cannot train {problem}"
        for problem in self.figures["warnings"]:
            yield f"look at      {problem}"
        if not self.problems:
            yield "no problems found"


def inspect_source(uri: str, data: DataConfig) -> InspectReport:
    """Read a source and say what it holds and what is wrong with it.

    Args:
        uri: A folder, ``gs://bucket/prefix``, ``tfds://name`` or ``demo://name?...``.
        data: How it would be read; its ``source`` is not looked at.

    Raises:
        InputError: There is no source, it is empty, or its label table contradicts itself.
    """
    found = survey(uri, data)
    return InspectReport(found.source.uri, summarise(found), tuple(refusals(found)), found.set_aside)


def _listed(counts: list[tuple[str, int]]) -> str:
    if len(counts) == 1:
        return f"{counts[0][0]}, all"
    return ", ".join(f"{name} ({count:,})" for name, count in counts) or "nothing"
