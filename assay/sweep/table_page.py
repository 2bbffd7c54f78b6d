"""sweep.html: the table of a sweep as a self-contained page in the report's look, each row's interval drawn."""

from __future__ import annotations

import math
from pathlib import Path

from markupsafe import Markup

from assay.pages.svg import interval_bar
from assay.pages.template import page_template
from assay.sweep.table import METRIC_TITLES, Line, Table, columns, explanation, title

RESULTS_BEGIN = "val AUC"
# Columns of words; all others are numbers.
WORDS = ("row", "what", "note", "augmentation", "optimizer", "model", "frozen.optimizer")


def to_page(table: Table) -> str:
    """Return the page of a sweep."""
    head, lines = columns(table)
    used = [index for index in range(len(head)) if any(line[index] for line in lines)]
    scale = _scale(table)
    return page_template("sweep.html.j2", Path(__file__).parent).render(
        title=title(table),
        table=table,
        best=table.best,
        metric=METRIC_TITLES[table.sweep.spec.metric],
        said=explanation(table),
        head=[(head[index], head[index] not in WORDS) for index in used],
        lines=[
            (line, [cells[index].removesuffix(" (best)") for index in used], Markup(_bar(line, table, scale)))
            for line, cells in zip(table.lines, lines, strict=True)
        ],
        scale=scale,
        # The drawing stands between what was changed and what came of it.
        drawn_at=next((place for place, index in enumerate(used) if head[index] == RESULTS_BEGIN), len(used)),
    )


def _scale(table: Table) -> tuple[float, float]:
    ends = [end for line in table.lines for end in (line.auc.low, line.auc.high) if not math.isnan(end)]
    return (math.floor(min(ends) * 20) / 20, math.ceil(max(ends) * 20) / 20) if ends else (0.0, 1.0)


def _bar(line: Line, table: Table, scale: tuple[float, float]) -> str:
    best = table.best
    return interval_bar(
        line.auc.low,
        line.auc.value,
        line.auc.high,
        scale,
        style="s1" if line.best else "s5",
        reference=best.auc.value if best is not None else None,
        label=f"row {line.row.number}: {line.auc.value:.3f}" if line.auc.defined else f"row {line.row.number}: none",
    )
