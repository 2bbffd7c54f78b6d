"""The table of a comparison: on the terminal, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from assay.observability.durations import format_seconds
from pipelines.compare.runs import Comparison, Run

SHOWN = {"auc": "AUC", "accuracy": "accuracy", "sensitivity": "sensitivity", "specificity": "specificity"}
# What goes first where the terminal is narrow; the files have everything.
DROPPED_FIRST = ("specificity", "sensitivity", "accuracy", "training", "best", "standing")
# Least and most width of the columns of words, which may wrap; numbers and ids may not.
WORDS = {"what differs": (18, None), "standing": (9, 12)}
MOST_CHANGES = 8
LONGEST_VALUE = 36
COSTS = ("train_seconds", "step_seconds", "images_per_second", "peak_memory_mb", "gpu_seconds", "cost")


def short_id(run_id: str) -> str:
    """Return the beginning of Kubeflow's ids, which are long; names of folders stay as they are."""
    try:
        uuid.UUID(run_id)
    except ValueError:
        return run_id
    return run_id[:8]


def value(metrics: Mapping[str, float], name: str) -> tuple[str, str]:
    """Return 0.942 and [0.928, 0.954]; both are empty where the metric is undefined."""
    if name not in metrics:
        return "", ""
    low, high = metrics.get(f"{name}_low"), metrics.get(f"{name}_high")
    return f"{metrics[name]:.3f}", f"[{low:.3f}, {high:.3f}]" if low is not None and high is not None else ""


def when(run: Run) -> str:
    """Return when a run was, UTC."""
    return f"{run.when:%Y-%m-%d %H:%M}"


def training(run: Run) -> tuple[str, str]:
    """Return how long a run's candidates trained and what their steps cost; empty where it is not known."""
    seconds, cost = run.total("train_seconds"), run.total("cost")
    return "" if seconds is None else format_seconds(seconds), _price(cost)


def _price(cost: float | None) -> str:
    return "" if cost is None else f"{cost:,.2f}" if cost >= 0.01 or cost == 0 else "<0.01"


def cautions(comparison: Comparison) -> list[str]:
    """Return what a reader must know before comparing numbers."""
    said = []
    if len(comparison.splits) > 1:
        letters = ", ".join(comparison.splits.values())
        said.append(
            f"These runs were judged on different test splits ({letters}): numbers are comparable only within a letter."
        )
    return [*said, *comparison.problems]


def remarks(comparison: Comparison) -> list[str]:
    """Return how the numbers are to be read."""
    levels = sorted({run.record.confidence for run in comparison.runs if run.record})
    lost = [run for run in comparison.runs if run.record is None and run.state == "succeeded"]
    said = list(comparison.sweeps)
    if lost:
        said.append(
            f"Without numbers although they succeeded: {', '.join(short_id(run.run_id) for run in lost)}. They trained "
            "nothing, since nothing had changed, or their record is not in storage any more."
        )
    if not levels:
        return said if lost or not comparison.runs else [*said, "No run has come to its end yet."]
    brackets = " or ".join(f"{100 * level:g}%" for level in levels)
    return [
        *said,
        "A row shows the candidate that validation chose. AUC, accuracy, sensitivity and specificity are of the test "
        f"split, in brackets their {brackets} intervals. Whether one model beats another is decided by promote's "
        "paired test on the same images, not by intervals that do or do not overlap.",
        "Training and cost are those of all candidates of a run, when their steps ran: what comes from the cache "
        "costs nothing again.",
    ]


def print_comparison(console: Console, comparison: Comparison) -> None:
    """Print the table as wide as the terminal allows; numbers are never cut."""
    dropped: list[str] = []
    table = _table(comparison, dropped)
    unlimited = console.options.update(max_width=10_000)
    for name in DROPPED_FIRST:
        if Measurement.get(console, unlimited, table).minimum <= console.width:
            break
        dropped.append(name)
        table = _table(comparison, dropped)
    console.print(table)
    for run in comparison.runs:
        if comparison.is_champion(run) and run.record:
            console.print(f"[bold]Champion:[/bold] {escape(run.record.decision.reason)}", highlight=False)
    for caution in cautions(comparison):
        console.print(Text(caution, style="yellow"))
    for remark in remarks(comparison):
        console.print(Text(remark, style="dim"))
    if dropped:
        console.print(Text(f"Left out for want of width: {', '.join(dropped)}.", style="dim"))


def to_markdown(comparison: Comparison) -> str:
    """Return the table with a column for each parameter that differs, the remarks, and the decisions."""
    head = ["run", "name", "when (UTC)", "state", *comparison.differing, "best", "val AUC"]
    head += [f"test {title}" for title in SHOWN.values()] + ["training", "cost", "standing"]
    if len(comparison.splits) > 1:
        head.append("test split")
    lines = [head, ["---"] * len(head)]
    for run in comparison.runs:
        changes, best = comparison.changes(run), run.best
        metrics = best.metrics if best else {}
        cells = [run.run_id, run.title, when(run), run.state, *(changes.get(name, "") for name in comparison.differing)]
        cells += [f"{run.record.best} ({best.model})" if run.record and best else "", value(metrics, "val_auc")[0]]
        cells += [" ".join(value(metrics, f"test_{name}")) for name in SHOWN]
        cells += [*training(run), comparison.standing(run)]
        if len(comparison.splits) > 1:
            cells.append(comparison.split(run))
        lines.append([f"**{cell}**" if cell and comparison.is_champion(run) else cell for cell in cells])
    rows = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    decisions = [f"- {run.run_id}: {run.record.decision.reason}" for run in comparison.runs if run.record]
    said = "\n\n".join([*cautions(comparison), *remarks(comparison)])
    return "\n".join(["# Comparison of runs", "", *rows, "", said, "", "## Decisions", "", *decisions]).rstrip() + "\n"


def to_csv(comparison: Comparison) -> str:
    """Return one line a run and candidate, with all numbers as they are."""
    fixed = ["run", "name", "when", "state", "candidate", "best", "champion", "standing", "version", "test_split"]
    fixed += ["test_images", "dataset_fingerprint", "code_version", "model", "parameters"]
    scores = ["val_auc", *(f"test_{name}{end}" for name in SHOWN for end in ("", "_low", "_high"))]
    changed = [name for name in comparison.differing if name != "code_version"]
    file = io.StringIO()
    writer = csv.DictWriter(file, [*fixed, *changed, *scores, *COSTS], lineterminator="\n")
    writer.writeheader()
    for run in comparison.runs:
        row: dict[str, Any] = {name: text for name, text in comparison.changes(run).items() if name in changed}
        row |= {"run": run.run_id, "name": run.title, "when": run.when.isoformat(), "state": run.state}
        record = run.record
        if record is None:
            writer.writerow(row)
            continue
        row |= {
            "standing": comparison.standing(run),
            "version": record.decision.version,
            "test_split": comparison.splits[record.test_fingerprint],
            **{name: getattr(record, name) for name in ("test_images", "dataset_fingerprint", "code_version")},
        }
        for name, candidate in record.candidates.items():
            numbers = {key: candidate.metrics.get(key, "") for key in scores} | {
                key: candidate.training.get(key, "") for key in COSTS
            }
            best = name == record.best
            about = {"candidate": name, "best": best, "champion": best and comparison.is_champion(run)}
            about |= {"model": candidate.model, "parameters": candidate.parameters}
            writer.writerow({**row, **about, **numbers})
    return file.getvalue()


def _table(comparison: Comparison, dropped: list[str]) -> Table:
    names = ["run", "what differs", "best", *SHOWN, "training", "standing", "split"]
    if not comparison.differing and not any(run.title for run in comparison.runs):
        names.remove("what differs")
    if len(comparison.splits) < 2:
        names.remove("split")
    names = [name for name in names if name not in dropped]
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    rows = [(run, _cells(comparison, run)) for run in comparison.runs]
    for name in names:
        lines = [line for _, cells in rows for line in cells[name].plain.split("\n")]
        narrowest, widest = WORDS.get(name) or (max(map(len, [name, *lines])), None)
        number = name in SHOWN or name == "training"
        table.add_column(
            SHOWN.get(name, name),
            justify="right" if number else "left",
            min_width=narrowest,
            max_width=widest,
            overflow="fold",
        )
    for run, cells in rows:
        table.add_row(*(cells[name] for name in names), style="bold" if comparison.is_champion(run) else "")
    return table


def _cells(comparison: Comparison, run: Run) -> dict[str, Text]:
    label = Text(short_id(run.run_id)).append(f"\n{when(run)}", style="dim")
    if run.state != "succeeded":
        label.append(f"\n{run.state}", style="red" if run.state == "failed" else "yellow")
    changes = [run.title] if run.title else []
    changes += [f"{name} {_shortened(text)}" for name, text in comparison.changes(run).items()]
    if len(changes) > MOST_CHANGES:
        changes[MOST_CHANGES:] = [f"and {len(changes) - MOST_CHANGES} more"]
    best, metrics = Text(), {}
    if run.record and run.best:
        best, metrics = Text(run.record.best).append(f"\n{run.best.model}", style="dim"), run.best.metrics
    return {
        "run": label,
        "what differs": Text("\n".join(changes)),
        "best": best,
        **{name: Text("\n".join(value(metrics, f"test_{name}"))) for name in SHOWN},
        "training": Text("\n".join(training(run))),
        "standing": Text(comparison.standing(run)),
        "split": Text(comparison.split(run)),
    }


def _shortened(text: str) -> str:
    """Return a value with its middle left out, where it is long: of addresses the end says most."""
    return text if len(text) <= LONGEST_VALUE else f"{text[:10]}…{text[11 - LONGEST_VALUE :]}"
