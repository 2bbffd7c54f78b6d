"""Run a sweep on this machine with its progress on the terminal."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from assay.config import RunConfig
from assay.observability.progress import EVENTS_VARIABLE
from assay.sweep.run import Outcome, Worker, run_sweep
from assay.sweep.spec import Sweep, resolve
from pipelines.console import EventDisplay
from pipelines.local import environment, following, with_absolute_paths


def run_sweep_locally(
    sweep: Sweep,
    runs_dir: Path,
    console: Console,
    worker: Worker | None = None,
    deadline: float = math.inf,
    seeds: int | None = None,
) -> Outcome:
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
    rows, runs = len(sweep.rows), len(sweep.rows) * len(sweep.spec.seeds)
    console.print(f"[bold]{sweep.spec.name}[/bold]: {rows} rows, {runs} runs on {base.data.source}", soft_wrap=True)
    with shown_events(base, console):
        return run_sweep(placed, runs_dir.resolve(), worker, deadline, seeds)


@contextlib.contextmanager
def shown_events(config: RunConfig, console: Console) -> Iterator[None]:
    """Show what is reported in the block, by this process or by ones that it starts."""
    with tempfile.NamedTemporaryFile(prefix="assay-events-", suffix=".jsonl") as file:
        display = EventDisplay(config, console)
        with environment({EVENTS_VARIABLE: file.name}), following(Path(file.name), display):
            yield
