"""quality.html: a source at a glance, with pictures of what is used, what was set aside and what is the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from assay.data.pictures import picture
from assay.data.sources import Entry
from assay.data.survey import Survey

_PER_CLASS = 12
_CLASSES_SHOWN = 12
_SET_ASIDE_SHOWN = 24
_SET_ASIDE_LISTED = 200
_SETS_SHOWN = 12
_PER_SET = 6
_TEMPLATE = Path(__file__).with_name("quality.html.j2")
SPLIT_COLOURS = {"train": "#2563eb", "valid": "#d97706", "test": "#059669", "": "#64748b"}


@dataclass(frozen=True)
class Card:
    """One picture with a line below it; ``image`` is None where nothing can be shown."""

    image: str | None
    title: str
    caption: str


@dataclass(frozen=True)
class Gallery:
    """Pictures under one heading."""

    title: str
    detail: str
    cards: tuple[Card, ...]


def write_quality(path: Path, survey: Survey, figures: dict[str, Any], fingerprint: str) -> None:
    """Write the self-contained page.

    Args:
        path: The file.
        survey: What was found in the source.
        figures: See `assay.data.summary.summarise`.
        fingerprint: The snapshot's.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    total = survey.total
    page = template.render(
        source=survey.source.uri,
        fingerprint=fingerprint,
        figures=figures,
        total=total,
        unit="images" if survey.config.kind == "image" else "windows",
        columns=[split for split in figures["splits"] if split] or [""],
        colours=SPLIT_COLOURS,
        bars=_bars(figures),
        histogram=_histogram(survey.table),
        classes=_class_galleries(survey),
        sets=_set_galleries(survey),
        set_aside=_set_aside_cards(survey),
        listed=survey.set_aside[:_SET_ASIDE_LISTED],
        unlisted=max(0, len(survey.set_aside) - _SET_ASIDE_LISTED),
    )
    path.write_text(page, encoding="utf-8")


def _bars(figures: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one stacked bar a class: its parts' colour, width (percent of the largest class) and tooltip."""
    largest = max((sum(by_split.values()) for by_split in figures["counts"].values()), default=1) or 1
    order = [split for split in ("train", "valid", "test", "") if split in figures["splits"]]
    return [
        {
            "name": name,
            "total": sum(by_split.values()),
            "parts": [
                {
                    "colour": SPLIT_COLOURS[split],
                    "width": 100 * by_split[split] / largest,
                    "title": f"{split or 'no split given'}: {by_split[split]:,}",
                }
                for split in order
            ],
        }
        for name, by_split in figures["counts"].items()
    ]


def _histogram(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the brightness of each class as an SVG path over 0..1 x 0..1 (32 bins, y downward)."""
    if table.empty:
        return []
    values = table["brightness"]
    low, high = float(values.min()), float(values.max())
    edges = np.linspace(low, high if high > low else low + 1, 33)
    shares = {name: np.histogram(own["brightness"], bins=edges)[0] / len(own) for name, own in table.groupby("label")}
    top = max(float(share.max()) for share in shares.values())
    palette = ("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2")
    lines = []
    for number, (name, share) in enumerate(list(shares.items())[: len(palette)]):
        steps = np.repeat(share / top, 2)
        places = np.repeat(np.arange(33) / 32, 2)[1:-1]
        points = " ".join(f"{1000 * x:.1f},{100 - 92 * y:.1f}" for x, y in zip(places, steps, strict=True))
        lines.append({"name": str(name), "colour": palette[number], "points": points})
    lines[0] |= {"low": f"{low:,.3g}", "high": f"{high:,.3g}"}
    return lines


def _class_galleries(survey: Survey) -> list[Gallery]:
    """Return a few examples of each class, spread evenly over its ids so that many slides are seen."""
    galleries = []
    for name in survey.classes[:_CLASSES_SHOWN]:
        own = survey.table[survey.table["label"] == name]
        places = np.unique(np.linspace(0, len(own) - 1, min(_PER_CLASS, len(own))).round().astype(int))
        cards = [_card(survey, row) for _, row in own.iloc[places].iterrows()]
        galleries.append(Gallery(name, f"{len(own):,}", tuple(cards)))
    return galleries


def _set_galleries(survey: Survey) -> list[Gallery]:
    """Return sets of duplicates: those with different labels first, then those that span splits, then large ones."""
    in_sets = survey.table[survey.table["duplicates"] >= 0]
    if in_sets.empty:
        return []
    by_set = in_sets.groupby("duplicates")
    order = pd.DataFrame(
        {"labels": by_set["label"].nunique(), "splits": by_set["split"].nunique(), "size": by_set.size()}
    ).sort_values(["labels", "splits", "size"], ascending=False, kind="stable")
    galleries = []
    for number, kind in order.head(_SETS_SHOWN).iterrows():
        members = by_set.get_group(number)
        remarks = ["byte for byte" if members["sha256"].nunique() == 1 else "near duplicates"]
        if kind["labels"] > 1:
            remarks.append("different labels")
        if kind["splits"] > 1:
            remarks.append("in several splits")
        cards = [_card(survey, row, label=True) for _, row in members.head(_PER_SET).iterrows()]
        galleries.append(Gallery(f"{len(members):,} images", ", ".join(remarks), tuple(cards)))
    return galleries


def _set_aside_cards(survey: Survey) -> list[Card]:
    cards = []
    # Pictures first: those that decode were set aside for what they are, not for what they lack.
    shown = [one for one in survey.set_aside if one.entry is not None]
    contradictory = [one for one in shown if one.reason.startswith("contradictory")]
    others = [one for one in shown if not one.reason.startswith("contradictory")]
    for one in [*contradictory, *others][:_SET_ASIDE_SHOWN]:
        assert one.entry is not None
        cards.append(Card(picture(survey.source, one.entry, survey.config), one.entry.id, one.reason))
    return cards


def _card(survey: Survey, row: pd.Series, *, label: bool = False) -> Card:
    entry = Entry(row["id"], row["uri"], row["label"], row["split"], row["given_group"])
    parts: Sequence[str] = [row["label"] if label else "", row["split"], row["given_group"]]
    return Card(picture(survey.source, entry, survey.config), row["id"], " · ".join(part for part in parts if part))
