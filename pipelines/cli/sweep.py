"""The command about many runs that differ in a few fields: ``assay sweep``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import (
    DEFAULT_RUNS,
    DataOption,
    RunsOption,
    SetOption,
    WeightsOption,
    changes,
    console,
    shown,
)


def sweep(
    spec: Annotated[Path, typer.Argument(help="A sweep, such as pipelines/sweeps/pcam_depths.yaml.")],
    data: DataOption = None,
    weights: WeightsOption = None,
    overrides: SetOption = None,
    runs: RunsOption = DEFAULT_RUNS,
) -> None:
    """Train every row of a sweep from every seed and write the table; finished runs are not run again."""
    from assay.sweep.spec import load_sweep
    from pipelines.local.sweep import print_sweep, run_sweep_locally

    resolved = load_sweep(spec, changes(data, weights, overrides))
    terminal = console()
    outcome = run_sweep_locally(resolved, runs, terminal)
    terminal.print()
    print_sweep(terminal, outcome)
    terminal.print()
    for name in ("table.md", "table.csv", "sweep.html", "best.yaml"):
        if (outcome.folder / name).exists():
            terminal.print(str(shown(outcome.folder / name)), markup=False, soft_wrap=True)
    terminal.print(f"{outcome.ran} runs now, {outcome.reused} from earlier, {outcome.failed} without a model")
