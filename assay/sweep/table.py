"""The table of a sweep: one line a row, its seeds aggregated with their spread, intervals, and the best one marked."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from assay.measures.interval import Interval
from assay.measures.repeated import repeated_aucs
from assay.sweep.changes import shown_changes
from assay.sweep.runs import Record
from assay.sweep.spec import Row, Sweep
from assay.training.callbacks import HIGHER_IS_BETTER

CONFIDENCE = 0.95
METRIC_TITLES = {"val_auc": "validation AUC", "val_accuracy": "validation accuracy", "val_loss": "validation loss"}


@dataclass(frozen=True)
class Span:
    """A value with the ends of its interval; nan where there is none."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan

    @property
    def defined(self) -> bool:
        """Whether there is a value."""
        return not math.isnan(self.value)


@dataclass(frozen=True)
class Line:
    """One row's results.

    Attributes:
        row: The row.
        cells: What it changes, by brief name, as text.
        records: One a seed, in order.
        metric: The sweep's metric of each seed that has one.
        auc: Mean validation AUC over the seeds; its interval is over images (or groups of them) and seeds.
        behind: Difference to the best row's AUC, likewise, its interval so wide that those of all rows hold at once;
            undefined for the best itself.
        accuracy: Mean validation accuracy.
        gap: Mean of training less validation AUC.
        seconds: Mean seconds of training.
        epochs: Mean number of epochs trained.
        parameters: Weights of the model.
        best: Whether this is the best row.
        note: What went wrong, in one line.
    """

    row: Row
    cells: Mapping[str, str]
    records: tuple[Record, ...]
    metric: tuple[float, ...]
    auc: Span
    behind: Span
    accuracy: float
    gap: float
    seconds: float
    epochs: float
    parameters: int
    best: bool
    note: str

    @property
    def mean(self) -> float:
        """Mean of the sweep's metric over the seeds."""
        return float(np.mean(self.metric)) if self.metric else math.nan

    @property
    def spread(self) -> tuple[float, float]:
        """Lowest and highest value of the sweep's metric over the seeds."""
        return (min(self.metric), max(self.metric)) if self.metric else (math.nan, math.nan)


@dataclass(frozen=True)
class Table:
    """All results of a sweep.

    Attributes:
        sweep: What was run.
        fields: Brief names of the fields that vary.
        own: Their values in the config that the rows start from, as text.
        lines: One a row, in order.
        images: Validation images.
        train_images: Training images.
        unit: What is counted: images or windows.
        grouped: Whether intervals are over groups (patients, slides) of images.
    """

    sweep: Sweep
    fields: tuple[str, ...]
    own: Mapping[str, str]
    lines: tuple[Line, ...]
    images: int
    train_images: int
    unit: str
    grouped: bool

    @property
    def best(self) -> Line | None:
        """The best line, or None where no row has all its seeds."""
        return next((line for line in self.lines if line.best), None)


def tabulate(sweep: Sweep, records: Sequence[Sequence[Record]], dataset: Any) -> Table:
    """Aggregate the runs of a sweep.

    Args:
        sweep: What was run.
        records: For each row the records of its seeds.
        dataset: The `Dataset` that all trained on; labels and groups of its validation split are read.
    """
    from assay.evaluation.evaluate import group_labels

    labels = np.asarray(dataset.valid.labels)
    groups = group_labels(dataset, dataset.valid)
    own, cells = shown_changes(sweep)
    best = _best(sweep, records)
    answers = [[record.probabilities for record in of_row if record.probabilities is not None] for of_row in records]
    measured = [number for number, of_row in enumerate(answers) if of_row]
    found = repeated_aucs(labels, [np.stack(answers[number]) for number in measured], groups) if measured else None
    lines = []
    for index, row in enumerate(sweep.rows):
        auc = behind = Span()
        if found is not None and index in measured:
            place = measured.index(index)
            auc = _span(float(found.aucs[place]), found.interval(place, CONFIDENCE))
            if best is not None and best != index:
                other = measured.index(best)
                gap = float(found.aucs[place] - found.aucs[other])
                behind = _span(gap, found.difference(place, other, CONFIDENCE, among=len(measured)))
        lines.append(_line(sweep, row, cells[index], records[index], auc, behind, is_best=index == best))
    return Table(
        sweep,
        tuple(own),
        own,
        tuple(lines),
        len(labels),
        len(dataset.train),
        "images" if dataset.kind == "image" else "windows",
        groups is not None and len(np.unique(groups)) < len(labels),
    )


def _best(sweep: Sweep, records: Sequence[Sequence[Record]]) -> int | None:
    """Return the index of the row with the best mean among those whose seeds are all done; the first of equals."""
    metric = sweep.spec.metric
    sign = 1 if HIGHER_IS_BETTER[metric] else -1
    means = [
        sign * float(np.mean([record.metrics.get(metric, math.nan) for record in of_row]))
        if of_row and all(record.done for record in of_row)
        else math.nan
        for of_row in records
    ]
    return None if np.isnan(means).all() else int(np.nanargmax(means))


def _span(value: float, interval: Interval) -> Span:
    return Span(value, interval.low, interval.high)


def _line(
    sweep: Sweep,
    row: Row,
    cells: Mapping[str, str],
    records: Sequence[Record],
    auc: Span,
    behind: Span,
    *,
    is_best: bool,
) -> Line:
    done = [record for record in records if record.done]

    def mean(name: str) -> float:
        values = [record.metrics[name] for record in done if name in record.metrics]
        return float(np.mean(values)) if values else math.nan

    notes = list(dict.fromkeys(record.note for record in records if record.note))
    failed = len(records) - len(done)
    if failed and done:
        notes.insert(0, f"{failed} of {len(records)} seeds failed")
    if len(records) < len(sweep.spec.seeds):
        notes.append(f"{len(records)} of {len(sweep.spec.seeds)} seeds run" if records else "not run yet")
    return Line(
        row=row,
        cells=cells,
        records=tuple(records),
        metric=tuple(record.metrics[sweep.spec.metric] for record in done if sweep.spec.metric in record.metrics),
        auc=auc,
        behind=behind,
        accuracy=mean("val_accuracy"),
        gap=mean("auc_gap"),
        seconds=mean("train_seconds"),
        epochs=mean("epochs_run"),
        parameters=int(done[0].metrics["parameters"]) if done else 0,
        best=is_best,
        note="; ".join(notes),
    )


def columns(table: Table) -> tuple[list[str], list[list[str]]]:
    """Return the heading and the lines as text: only the fields that a row changes are filled in."""
    spec = table.sweep.spec
    labelled = any(line.row.label for line in table.lines)
    reported = any(line.row.reported is not None for line in table.lines)
    head = ["row", *(["what"] if labelled else []), *table.fields]
    if spec.metric != "val_auc":
        head += [METRIC_TITLES[spec.metric]]
    head += ["val AUC", "lowest-highest", "95 % interval", "against the best", "val accuracy"]
    head += [
        *([f"{spec.reported_by} accuracy".strip()] if reported else []),
        "AUC gap",
        "parameters",
        "epochs",
        "seconds",
    ]
    head += ["note"]
    lines = [[_cell(part) for part in _texts(table, line, labelled, reported)] for line in table.lines]
    return head, lines


def _texts(table: Table, line: Line, labelled: bool, reported: bool) -> list[str]:
    aucs = [record.metrics["val_auc"] for record in line.records if "val_auc" in record.metrics]
    texts = [f"{line.row.number}" + (" (best)" if line.best else "")]
    texts += [line.row.label] if labelled else []
    texts += [line.cells.get(field, "") for field in table.fields]
    if table.sweep.spec.metric != "val_auc":
        texts.append(_number(line.mean))
    texts.append(_number(line.auc.value))
    texts.append(f"{min(aucs):.3f}-{max(aucs):.3f}" if len(aucs) > 1 else "")
    texts.append(f"{line.auc.low:.3f} to {line.auc.high:.3f}" if line.auc.defined else "")
    texts.append(
        f"{line.behind.value:+.3f} ({line.behind.low:+.3f} to {line.behind.high:+.3f})" if line.behind.defined else ""
    )
    texts.append(_number(line.accuracy))
    if reported:
        texts.append(_number(line.row.reported))
    texts.append(f"{line.gap:+.3f}" if not math.isnan(line.gap) else "")
    texts.append(f"{line.parameters:,}" if line.parameters else "")
    texts.append(f"{line.epochs:.0f}" if not math.isnan(line.epochs) else "")
    texts.append(f"{line.seconds:.0f}" if not math.isnan(line.seconds) else "")
    return [*texts, line.note]


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.3f}"


def _cell(text: str) -> str:
    return " ".join(text.split())


def explanation(table: Table) -> list[str]:
    """Return what a reader of the table must know, a sentence or two each."""
    spec = table.sweep.spec
    seeds = f"{len(spec.seeds)} seeds" if len(spec.seeds) > 1 else "one seed, so the spread over seeds is not known"
    over = f"{'groups of ' if table.grouped else ''}{table.unit}"
    over += f" and seeds (their variance pooled over {len(table.lines)} rows)" if len(spec.seeds) > 1 else " alone"
    own = "; ".join(f"{field} {value}" for field, value in table.own.items() if value)
    said = [
        f"{len(table.lines)} rows, {seeds}; {table.train_images:,} training and {table.images:,} validation "
        f"{table.unit}. Values are means over the seeds; intervals are over {over}, those against the best hold for "
        "all rows at once (studentised range): a row is worse where its interval lies below 0.",
    ]
    if own:
        said.append(f"A cell is filled where the row departs from the config ({own}).")
    if table.best is not None:
        close = [
            str(line.row.number)
            for line in table.lines
            if line.behind.defined and line.behind.high >= 0 and not line.best
        ]
        also = f" Not clearly worse: row {', '.join(close)}." if close else ""
        said.append(
            f"Best {METRIC_TITLES[spec.metric]}: row {table.best.row.number}.{also} The best of several rows is "
            "chosen on the same validation split that its value is measured on, so the value flatters; a sweep does "
            "not open the test split."
        )
    return [*said, *([spec.remarks.strip()] if spec.remarks.strip() else [])]


def to_markdown(table: Table, level: int = 1) -> str:
    """Return the table as Markdown, under a heading of a level."""
    head, lines = columns(table)
    used = [index for index in range(len(head)) if any(line[index] for line in lines)]
    text = ["#" * level + f" {title(table)}", ""]
    text += ["| " + " | ".join(head[index] for index in used) + " |", "|" + "---|" * len(used)]
    for line, cells in zip(table.lines, lines, strict=True):
        shown = [cells[index].replace("|", "\\|") for index in used]
        text.append("| " + " | ".join(f"**{cell}**" if line.best and cell else cell for cell in shown) + " |")
    return "\n".join([*text, "", *(f"{sentence}\n" for sentence in explanation(table))])


def title(table: Table) -> str:
    """Return what to call the sweep."""
    return table.sweep.spec.title or table.sweep.spec.name


def to_csv(table: Table) -> str:
    """Return the table as CSV with plain numbers, and the metric of each seed in a column of its own."""
    spec = table.sweep.spec
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    numbers = ["val_auc", "val_auc_low", "val_auc_high", "behind", "behind_low", "behind_high", "val_accuracy"]
    numbers += ["auc_gap", "epochs", "seconds"]
    seeds = [f"{spec.metric}_seed_{seed}" for seed in spec.seeds]
    writer.writerow(
        [
            "row",
            "best",
            "label",
            *table.fields,
            spec.metric + "_mean",
            *seeds,
            *numbers,
            "parameters",
            "reported",
            "note",
        ]
    )
    for line in table.lines:
        by_seed = {record.seed: record.metrics.get(spec.metric, math.nan) for record in line.records}
        of_seeds = [by_seed.get(seed, math.nan) for seed in spec.seeds]
        values = [line.mean, *of_seeds, line.auc.value, line.auc.low, line.auc.high]
        values += [line.behind.value, line.behind.low, line.behind.high, line.accuracy, line.gap]
        values += [line.epochs, line.seconds]
        texts = ["" if math.isnan(value) else f"{value:.6g}" for value in values]
        cells = [line.cells.get(field, "") for field in table.fields]
        reported = "" if line.row.reported is None else line.row.reported
        start = [line.row.number, "*" if line.best else "", line.row.label, *cells]
        writer.writerow([*start, *texts, line.parameters or "", reported, line.note])
    return out.getvalue()
