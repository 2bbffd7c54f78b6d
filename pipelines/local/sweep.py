"""Run a sweep on this machine with its progress on the terminal."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from assay.config import CANDIDATES, RunConfig
from assay.errors import InputError
from assay.observability.progress import EVENTS_VARIABLE
from assay.sweep.run import SweepOutcome, Worker, run_sweep
from assay.sweep.spec import Sweep, resolve
from assay.sweep.table import explanation
from pipelines.local.console import EventDisplay
from pipelines.local.kept import in_use
from pipelines.local.run import environment, following, with_absolute_paths


def run_sweep_locally(
    sweep: Sweep,
    runs_dir: Path,
    console: Console,
    worker: Worker | None = None,
    deadline: float = math.inf,
    seeds: int | None = None,
) -> SweepOutcome:
    """Run a sweep and show how far it is.

    Args:
        sweep: What is run; local paths in its config are taken from the present folder.
        runs_dir: Where datasets, tables and (by default) the object storage live.
        console: Where progress is shown.
        worker: As for `run_sweep`.
        deadline: As for `run_sweep`.
        seeds: As for `run_sweep`.

    Raises:
        InputError: The source, or a network that does not fit it; nothing has been trained then.
        AssayError: The data cannot be prepared.
    """
    base = with_absolute_paths(sweep.base)
    placed = resolve(sweep.spec, base, sweep.spec.name)
    _require_rows(placed)
    rows, runs = len(sweep.rows), len(sweep.rows) * len(sweep.spec.seeds)
    console.print(
        f"[bold]{sweep.spec.name}[/bold]: {rows} rows, {runs} runs on {escape(base.data.source)}", soft_wrap=True
    )
    runs_dir.mkdir(parents=True, exist_ok=True)
    with in_use(runs_dir), shown_events(base, console):
        return run_sweep(placed, runs_dir.resolve(), worker, deadline, seeds)


def _require_rows(sweep: Sweep) -> None:
    """Raise unless every row can begin; the source is looked at once.

    Raises:
        InputError: Naming the row.
    """
    from assay.check import check_config, look_at_source

    known = look_at_source(sweep.base.data)
    for row in sweep.rows:
        others = [name for name in CANDIDATES if name != sweep.spec.candidate]
        alone = {name: getattr(row.config, name).model_copy(update={"enabled": False}) for name in others}
        wanted = getattr(row.config, sweep.spec.candidate).model_copy(update={"enabled": True})
        found = check_config(row.config.model_copy(update={**alone, sweep.spec.candidate: wanted}), known=known)
        if found:
            raise InputError(f"{sweep.spec.name}: row {row.number}: {found[0]}")


def print_sweep(console: Console, outcome: SweepOutcome) -> None:
    """Print the table of a sweep in brief; table.md and sweep.html have all of it.

    Args:
        console: Where to print.
        outcome: What the sweep left.
    """
    table = outcome.table
    shown = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    shown.add_column("row")
    shown.add_column("changed")
    shown.add_column("val AUC", justify="right")
    shown.add_column("against the best", justify="right")
    for line in table.lines:
        changed = ", ".join(f"{field} {value}" for field, value in line.cells.items()) or "as the config"
        what = Text(f"{line.row.label}: {changed}" if line.row.label else changed)
        what.append(f"\n{line.note}" if line.note else "", style="dim")
        auc = f"{line.auc.value:.3f}\n[{line.auc.low:.3f}, {line.auc.high:.3f}]" if line.auc.defined else "-"
        behind = f"{line.behind.value:+.3f}\n[{line.behind.low:+.3f}, {line.behind.high:+.3f}]"
        number = f"{line.row.number}" + (" *" if line.best else "")
        cells = (number, what, Text(auc), Text(behind if line.behind.defined else ""))
        shown.add_row(*cells, style="bold" if line.best else "")
    console.print(shown)
    for sentence in explanation(table):
        console.print(f"[dim]{escape(sentence)}[/dim]")


@contextlib.contextmanager
def shown_events(config: RunConfig, console: Console) -> Iterator[None]:
    """Show what is reported in the block, by this process or by ones that it starts."""
    with tempfile.NamedTemporaryFile(prefix="assay-events-", suffix=".jsonl") as file:
        display = EventDisplay(config, console)
        with environment({EVENTS_VARIABLE: file.name}), following(Path(file.name), display):
            yield
