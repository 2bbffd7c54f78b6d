"""docs/statistics.md: which methods stand behind the figures, and what simulation says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.statistics.simulate import CORRELATION, MEAN_SIZE, Coverage

TARGETS = {"auc": 0.92, "proportion": 0.93}
WIDEST = 1.5
METHODS = Path(__file__).with_name("methods.md")


def to_page(
    found: Sequence[Coverage],
    promotions: Mapping[tuple[int, bool], Mapping[str, float]],
    powers: Mapping[int, float],
    rounds: int,
) -> str:
    """Return the page."""
    lines = [METHODS.read_text(encoding="utf-8")]
    lines += [
        "## What 95% intervals cover",
        "",
        f"{rounds:,} data sets a row; a group has {MEAN_SIZE} cases in the mean, which share {CORRELATION:.0%} of "
        "their noise. Uneven: sizes are log-normal. Width: in units of an oracle's interval, the central 95% of the "
        f"values themselves; above {WIDEST} it is marked (wide), a coverage below the target is marked (low).",
        "",
    ]
    lines += _areas([one for one in found if one.cell.metric == "auc"])
    lines += _proportions([one for one in found if one.cell.metric == "proportion"])
    lines += [
        "## Promotion of a model that is no better",
        "",
        "Chance of at least one promotion when each challenger is as good as the champion; target: at most 0.05.",
        "",
        "| comparisons | test set | level spent over looks | 5% at each look |",
        "|---|---|---|---|",
        *(
            f"| {count} | {'one' if shared else 'fresh each time'} | {row['spent over looks']:.3f} | "
            f"{row['at each look']:.3f} |"
            for (count, shared), row in promotions.items()
        ),
        "",
        "What that costs: the chance that a challenger with 0.02 more AUC than a champion of 0.93 is promoted, on "
        "1,000 independent test images: "
        + ", ".join(f"{value:.2f} at look {look}" for look, value in powers.items())
        + ". A champion that is replaced begins a new count.",
        "",
    ]
    return "\n".join(lines)


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
