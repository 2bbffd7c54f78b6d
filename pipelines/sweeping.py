"""Run a sweep on this machine with its progress on the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from assay.observability.progress import EVENTS_VARIABLE
from assay.sweep.run import Outcome, run_sweep
from assay.sweep.spec import Sweep, resolve
from pipelines.console import EventDisplay
from pipelines.local import environment, following, with_absolute_paths


def run_sweep_locally(sweep: Sweep, runs_dir: Path, console: Console) -> Outcome:
    """Run a sweep and show how far it is.

    Args:
        sweep: What is run; local paths in its config are taken from the present folder.
        runs_dir: Where datasets, tables and (by default) the object storage live.
        console: Where progress is shown.

    Raises:
        InputError: The source, or a network that does not fit it; nothing has been trained then.
        AssayError: The data cannot be prepared.
    """
    base = with_absolute_paths(sweep.base)
    placed = resolve(sweep.spec, base, sweep.spec.name)
    folder = runs_dir.resolve() / "sweeps" / sweep.spec.name
    folder.mkdir(parents=True, exist_ok=True)
    events = folder / "events.jsonl"
    events.write_text("", encoding="utf-8")
    rows, runs = len(sweep.rows), len(sweep.rows) * len(sweep.spec.seeds)
    console.print(f"[bold]{sweep.spec.name}[/bold]: {rows} rows, {runs} runs on {base.data.source}", soft_wrap=True)
    display: Any = EventDisplay(base, console)
    with environment({EVENTS_VARIABLE: str(events)}), following(events, display):
        return run_sweep(placed, runs_dir.resolve())
