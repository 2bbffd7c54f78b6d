"""docs/experiments.md: the shipped sweeps run with one budget, their tables, and the notes' figures beside them."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator
from rich.console import Console

from assay.config import Section, parse_section, read_yaml
from assay.hashing import code_version
from assay.observability.resources import available_cores
from assay.storage.files import new_file
from assay.sweep.run import SweepOutcome, Worker
from assay.sweep.spec import Sweep, load_sweep
from assay.sweep.table import Line, to_markdown
from pipelines.local.sweep import run_sweep_locally


class Budget(Section):
    """What each run is given."""

    seeds: tuple[int, ...] = Field((0, 1), min_length=1, description="each row is trained from each")
    epochs: int = Field(4, ge=1, description="of a network from scratch")
    frozen_epochs: int = Field(4, ge=1, description="of a head on the frozen base")
    finetune_epochs: int = Field(2, ge=1, description="of an unfrozen tail")
    images: int | None = Field(None, ge=3, description="of each class and split; null: all")
    minutes: float | None = Field(None, ge=0, description="begin no run after so long; null: run all")


class Entry(Section):
    """One sweep, and where it departs from the budget."""

    spec: str = Field(..., description="a sweep; relative to this file's folder")
    seeds: tuple[int, ...] | None = Field(None, min_length=1, description="instead of the budget's")
    epochs: int | None = Field(None, ge=1, description="instead of the budget's")


class Experiments(Section):
    """The sweeps of the page."""

    version: Literal[1] = Field(..., description="version of this schema")
    budget: Budget = Field(default_factory=Budget)
    quick: Budget = Field(default_factory=lambda: Budget(seeds=(0,), epochs=1, frozen_epochs=1, finetune_epochs=1))
    sweeps: tuple[Entry, ...] = Field(..., description="in the order of the page")

    @model_validator(mode="after")
    def _something_to_run(self) -> Experiments:
        if not self.sweeps:
            raise ValueError("sweeps: name at least one sweep. Received: none")
        return self


class Plan:
    """The experiments with the folder that they are named from."""

    def __init__(self, experiments: Experiments, folder: Path) -> None:
        self.experiments = experiments
        self.folder = folder

    def sweeps(self, budget: Budget, overrides: Sequence[str], *, quick: bool) -> list[Sweep]:
        """Return the sweeps under a budget, every row checked."""
        made = []
        for entry in self.experiments.sweeps:
            # A quick look is quick everywhere.
            seeds = budget.seeds if quick or entry.seeds is None else entry.seeds
            epochs = budget.epochs if quick or entry.epochs is None else entry.epochs
            changes = [f"baseline.epochs={epochs}", f"finetune.frozen.epochs={budget.frozen_epochs}"]
            changes += [f"finetune.epochs={budget.finetune_epochs}"]
            changes += [] if budget.images is None else [f"data.limit_per_class={budget.images}"]
            made.append(load_sweep(self.folder / entry.spec, [*overrides, *changes], {"seeds": list(seeds)}))
        return made


def load_plan(path: Path) -> Plan:
    """Read which sweeps are run and with what budget.

    Raises:
        InputError: The file is missing, or a key or value is wrong.
    """
    values = read_yaml(path, Experiments, "list of experiments", "pipelines/experiments.yaml is the one shipped.")
    return Plan(parse_section(Experiments, values, str(path)), path.parent)


def run_experiments(
    plan: Plan,
    overrides: Sequence[str],
    runs_dir: Path,
    output: Path,
    console: Console,
    *,
    quick: bool = False,
    minutes: float | None = None,
) -> int:
    """Run the sweeps, or what is left of them, and write the page after each.

    All sweeps are run from the first seed, then from the next, so that a page cut short by time has all tables.

    Args:
        plan: Which sweeps, and the budget.
        overrides: Of every config, such as ``data.source=...``.
        runs_dir: As for `run_sweep`.
        output: The Markdown page.
        console: Where progress is shown.
        quick: Take the quick budget.
        minutes: Begin no run after so long; None: the budget's.

    Returns:
        The number of runs that are left.

    Raises:
        InputError: A sweep, the data or the weights are wrong.
    """
    budget = plan.experiments.quick if quick else plan.experiments.budget
    sweeps = plan.sweeps(budget, overrides, quick=quick)
    minutes = budget.minutes if minutes is None else minutes
    deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
    outcomes: dict[int, SweepOutcome] = {}
    with Worker() as worker:
        for count in range(1, max(len(sweep.spec.seeds) for sweep in sweeps) + 1):
            for index, sweep in enumerate(sweeps):
                if count > len(sweep.spec.seeds):
                    continue
                if count > 1 and (time.monotonic() > deadline or not outcomes[index].left):
                    continue
                outcomes[index] = run_sweep_locally(sweep, runs_dir, console, worker, deadline, count)
                with new_file(output) as stage:
                    stage.write_text(page(budget, sweeps, outcomes), encoding="utf-8")
    return sum(outcome.left for outcome in outcomes.values())


def page(budget: Budget, sweeps: Sequence[Sweep], outcomes: dict[int, SweepOutcome]) -> str:
    """Return the page.

    Args:
        budget: What each run was given.
        sweeps: In order.
        outcomes: Of those that have been run, by their place.
    """
    done = [outcomes[index] for index in sorted(outcomes)]
    records = [record for outcome in done for line in outcome.table.lines for record in line.records]
    spent = sum(record.metrics.get("train_seconds", 0.0) for record in records)
    images = done[0].table
    parts = [
        "# Experiments",
        "Written by `make experiments DATA=... WEIGHTS=...`, which runs the sweeps of `pipelines/experiments.yaml`; "
        "another run of it goes on from where the last one ended. All figures are of the validation split.",
        "## Budget",
        f"- {images.train_images:,} training and {images.images:,} validation {images.unit} of PatchCamelyon, 96x96; "
        "no slide is in two splits. Intervals and seeds as below each table.\n"
        f"- From scratch: {_epochs(budget.epochs)}, fewer where a table says so in its column `epochs run`. "
        f"Fine-tuning: {_epochs(budget.frozen_epochs)} of the head, then {_epochs(budget.finetune_epochs)} of the "
        "unfrozen tail.\n"
        f"- {len(records)} runs, {spent / 60:.0f} minutes of training on {available_cores()} cores without a GPU"
        + (f"; {_left(done)} runs are still to come." if _left(done) else ".")
        + f"\n- Code: {code_version()}.",
        "## Against the notes",
        _against(done),
        *(to_markdown(outcome.table, level=2).strip() for outcome in done),
    ]
    waiting = [sweep.spec.title or sweep.spec.name for index, sweep in enumerate(sweeps) if index not in outcomes]
    if waiting:
        parts.append(f"Not run yet: {'; '.join(waiting)}.")
    return "\n\n".join(parts) + "\n"


def _epochs(count: int) -> str:
    return f"{count} epoch" + ("s" if count > 1 else "")


def _left(outcomes: Sequence[SweepOutcome]) -> int:
    return sum(outcome.left for outcome in outcomes)


def _against(outcomes: Sequence[SweepOutcome]) -> str:
    lines = [
        (outcome, line)
        for outcome in outcomes
        for line in outcome.table.lines
        if line.row.reported is not None and line.auc.defined
    ]
    text = [
        "| experiment | notes | measured accuracy | difference | measured AUC (95 % interval) |",
        "|---|---|---|---|---|",
    ]
    for outcome, line in lines:
        reported = line.row.reported or 0.0
        text.append(
            f"| {_name(outcome, line)} | {reported:.3f} | {line.accuracy:.3f} | {line.accuracy - reported:+.3f} "
            f"| {line.auc.value:.3f} ({line.auc.low:.3f} to {line.auc.high:.3f}) |"
        )
    differs = (
        "What differs: the notes had 10,000 images of each class of their own, split 90 to 10 at random, and trained "
        f"for up to 20 epochs; here are {outcomes[0].table.train_images:,} in all, of slides that the validation split "
        "does not share, and the epochs of the budget. So a lower figure is no failure to repeat theirs; the order of "
        "the rows is what can be compared."
    )
    return "\n".join(text) + "\n\n" + differs


def _name(outcome: SweepOutcome, line: Line) -> str:
    section = outcome.table.sweep.section(line.row.config)
    cells = [f"{field} {value}" for field, value in line.cells.items() if field != "model"]
    return ", ".join([section.model.name, *([line.row.label] if line.row.label else cells)])
