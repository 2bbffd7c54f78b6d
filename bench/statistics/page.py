"""docs/statistics.md: which methods stand behind the figures, and what simulation says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.statistics.simulate import CORRELATION, MEAN_SIZE, Coverage

TARGETS = {"auc": 0.92, "proportion": 0.93}
WIDEST = 1.5
METHODS = Path(__file__).with_name("methods.md")


def replaced(page: str, methods: str, sections: Sequence[str]) -> str:
    """Return the page with the methods and the given sections in place of those of the same headings."""
    standing = ["## " + part for part in page.split("\n## ")[1:]]
    for section in sections:
        heading = section.split("\n", 1)[0]
        at = next((index for index, one in enumerate(standing) if one.startswith(heading + "\n")), None)
        standing = [*standing, section] if at is None else [*standing[:at], section, *standing[at + 1 :]]
    return "\n".join([methods, *(section.rstrip("\n") + "\n" for section in standing)])


def coverage_page(found: Sequence[Coverage], rounds: int) -> str:
    """Return what intervals cover."""
    lines = [
        "## What 95% intervals cover",
        "",
        f"{rounds:,} data sets a row; a group has {MEAN_SIZE} cases in the mean, which share {CORRELATION:.0%} of "
        "their noise. Uneven: sizes are log-normal. Width: in units of an oracle's interval, the central 95% of the "
        f"values themselves; above {WIDEST} it is marked (wide), a coverage below the target is marked (low). Of 20 "
        "groups with one label each two are positive at 5%: how alike the cases of a group are is then learnt from the "
        "negative ones. At an AUC of 0.995 few groups are mostly ranked without one error, and ranks without an error "
        "do not tell 0.95 from 0.9999, as the oracle can: there the intervals stay wide.",
        "",
    ]
    lines += _areas([one for one in found if one.cell.metric == "auc"])
    lines += _proportions([one for one in found if one.cell.metric == "proportion"])
    return "\n".join(lines)


def promotion_page(promotions: Mapping[tuple[int, bool], Mapping[str, float]], powers: Mapping[int, float]) -> str:
    """Return how often a model that is no better is promoted."""
    lines = [
        "## Promotion of a model that is no better",
        "",
        "Chance of at least one promotion when each challenger is as good as the champion; target: at most 0.05.",
        "",
        *table(
            ["comparisons", "test set", "level spent over looks", "5% at each look"],
            [
                [count, "one" if shared else "fresh each time", row["spent over looks"], row["at each look"]]
                for (count, shared), row in promotions.items()
            ],
        ),
        "What that costs: the chance that a challenger with 0.02 more AUC than a champion of 0.93 is promoted, on "
        "1,000 independent test images: "
        + ", ".join(f"{value:.2f} at look {look}" for look, value in powers.items())
        + ". A champion that is replaced begins a new count.",
        "",
    ]
    return "\n".join(lines)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Return a Markdown table and an empty line; numbers with a fraction get three digits."""
    shown = [[f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    return ["| " + " | ".join(header) + " |", "|" + "---|" * len(header), *map(_line, shown), ""]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _areas(found: Sequence[Coverage]) -> list[str]:
    lines = [
        f"AUC, target {TARGETS['auc']}:",
        "",
        "| groups | sizes | labels of a group | positives | AUC 0.8 | AUC 0.95 | AUC 0.995 |",
        "|---|---|---|---|---|---|---|",
    ]
    rows: dict[tuple[object, ...], list[str]] = {}
    for one in found:
        cell = one.cell
        key = (
            cell.groups,
            "even" if cell.even else "uneven",
            "both" if cell.mixed else "one",
            f"{cell.prevalence:.0%}",
        )
        rows.setdefault(key, []).append(_shown(one))
    return [*lines, *("| " + " | ".join([*map(str, key), *row]) + " |" for key, row in rows.items()), ""]


def _proportions(found: Sequence[Coverage]) -> list[str]:
    lines = [
        f"Proportions, target {TARGETS['proportion']}:",
        "",
        "| groups | sizes | 0.6 | 0.8 | 0.95 | 0.99 |",
        "|---|---|---|---|---|---|",
    ]
    rows: dict[tuple[object, ...], list[str]] = {}
    for one in found:
        rows.setdefault((one.cell.groups, "even" if one.cell.even else "uneven"), []).append(_shown(one))
    return [*lines, *("| " + " | ".join([*map(str, key), *row]) + " |" for key, row in rows.items()), ""]


def _shown(one: Coverage) -> str:
    low = " (low)" if one.covered < TARGETS[one.cell.metric] else ""
    wide = " (wide)" if one.width > WIDEST else ""
    return f"{one.covered:.3f}{low}, {one.width:.2f}{wide}"
