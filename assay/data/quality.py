"""quality.html: a source at a glance, with pictures of what is used, what was set aside and what is the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from assay.data.pictures import picture
from assay.data.sources import Entry
from assay.data.survey import Survey
from assay.pages.plots import Figure, series
from assay.pages.svg import Chart
from assay.pages.template import page_template

_PER_CLASS = 12
_CLASSES_SHOWN = 12
_SET_ASIDE_SHOWN = 24
_SET_ASIDE_LISTED = 200
_SETS_SHOWN = 12
_PER_SET = 6
_BINS = 32
_LINES = 8
# Colours of the page, by split.
SPLIT_STYLES = {"train": "s1", "valid": "s2", "test": "s3", "": "s5"}


@dataclass(frozen=True)
class ExampleCard:
    """One example: an element that shows it (None where nothing can be shown), its name, and a line below."""

    picture: str | None
    title: str
    caption: str


@dataclass(frozen=True)
class ExampleRow:
    """Examples under one heading."""

    title: str
    detail: str
    cards: tuple[ExampleCard, ...]


def write_quality(path: Path, survey: Survey, figures: dict[str, Any], fingerprint: str) -> None:
    """Write the self-contained page.

    Args:
        path: The file.
        survey: What was found in the source.
        figures: See `assay.data.summary.summarise`.
        fingerprint: The snapshot's.
    """
    page = page_template("quality.html.j2", Path(__file__).parent).render(
        source=survey.source.uri,
        fingerprint=fingerprint,
        figures=figures,
        total=survey.total,
        unit="images" if survey.config.kind == "image" else "windows",
        columns=[split for split in figures["splits"] if split] or [""],
        styles=SPLIT_STYLES,
        bars=_bars(figures),
        histogram=_histogram(survey),
        classes=_class_galleries(survey),
        sets=_set_galleries(survey),
        set_aside=_set_aside_cards(survey),
        listed=survey.set_aside[:_SET_ASIDE_LISTED],
        unlisted=max(0, len(survey.set_aside) - _SET_ASIDE_LISTED),
    )
    path.write_text(page, encoding="utf-8")


def _bars(figures: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one stacked bar a class: its parts' style, width (percent of the largest class) and tooltip."""
    largest = max((sum(by_split.values()) for by_split in figures["counts"].values()), default=1) or 1
    order = [split for split in ("train", "valid", "test", "") if split in figures["splits"]]
    return [
        {
            "name": name,
            "total": sum(by_split.values()),
            "parts": [
                {
                    "style": SPLIT_STYLES[split],
                    "width": 100 * by_split[split] / largest,
                    "title": f"{split or 'no split given'}: {by_split[split]:,}",
                }
                for split in order
            ],
        }
        for name, by_split in figures["counts"].items()
    ]


def _histogram(survey: Survey) -> Figure | None:
    """Draw the brightness (of windows: the mean value) of each class, as the share of the class in each bin."""
    values = survey.table["brightness"]
    if values.empty:
        return None
    low, high = float(values.min()), float(values.max())
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    by_class = [(str(name), own["brightness"]) for name, own in survey.table.groupby("label")][:_LINES]
    shares = [np.histogram(own, bins=edges)[0] / len(own) for _, own in by_class]
    images = survey.config.kind == "image"
    chart = Chart(
        ("Brightness" if images else "Mean value") + " by class",
        x=(float(edges[0]), float(edges[-1])),
        y=(0.0, 1.05 * max(float(share.max()) for share in shares)),
        x_title="mean grey level of an image" if images else "mean value of a window",
        y_title="share of its class",
        width=1000,
        height=260,
    )
    legend = []
    for number, ((name, _), share) in enumerate(zip(by_class, shares, strict=True)):
        steps = zip(np.repeat(edges, 2)[1:-1].tolist(), np.repeat(share, 2).tolist(), strict=True)
        chart.line(steps, series(number), name)
        legend.append((series(number), name))
    return Figure(chart.svg(), legend)


def _class_galleries(survey: Survey) -> list[ExampleRow]:
    """Return a few examples of each class, spread evenly over its ids so that many slides are seen."""
    galleries = []
    for name in survey.classes[:_CLASSES_SHOWN]:
        own = survey.table[survey.table["label"] == name]
        places = np.unique(np.linspace(0, len(own) - 1, min(_PER_CLASS, len(own))).round().astype(int))
        cards = [_card(survey, row) for _, row in own.iloc[places].iterrows()]
        galleries.append(ExampleRow(name, f"{len(own):,}", tuple(cards)))
    return galleries


def _set_galleries(survey: Survey) -> list[ExampleRow]:
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
        galleries.append(ExampleRow(f"{len(members):,} images", ", ".join(remarks), tuple(cards)))
    return galleries


def _set_aside_cards(survey: Survey) -> list[ExampleCard]:
    cards = []
    # Pictures first: those that decode were set aside for what they are, not for what they lack.
    shown = [aside for aside in survey.set_aside if aside.entry is not None]
    contradictory = [aside for aside in shown if aside.reason.startswith("contradictory")]
    others = [aside for aside in shown if not aside.reason.startswith("contradictory")]
    for aside in [*contradictory, *others][:_SET_ASIDE_SHOWN]:
        assert aside.entry is not None
        cards.append(ExampleCard(picture(survey.source, aside.entry, survey.config), aside.entry.id, aside.reason))
    return cards


def _card(survey: Survey, row: pd.Series, *, label: bool = False) -> ExampleCard:
    entry = Entry(row["id"], row["uri"], row["label"], row["split"], row["given_group"])
    parts: Sequence[str] = [row["label"] if label else "", row["split"], row["given_group"]]
    return ExampleCard(
        picture(survey.source, entry, survey.config), row["id"], " · ".join(part for part in parts if part)
    )
