"""The command about the shipped sweeps and their page: ``assay experiments``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import DEFAULT_RUNS, DataOption, RunsOption, WeightsOption, changes, console, shown


def experiments(
    plan: Annotated[Path, typer.Argument(help="The sweeps and their budget.")] = Path("pipelines/experiments.yaml"),
    data: DataOption = None,
    weights: WeightsOption = None,
    runs: RunsOption = DEFAULT_RUNS,
    quick: Annotated[bool, typer.Option("--quick", help="The plan's quick budget: does it all work?")] = False,
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0, help="Begin no run after so long; default: the plan's.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The page.")] = Path("docs/experiments.md"),
) -> None:
    """Run the shipped sweeps with a stated budget and write the measured page; finished runs are not run again."""
    from pipelines.experiments import load_plan, run_experiments

    terminal = console()
    left = run_experiments(
        load_plan(plan), changes(data, weights, None), runs, output, terminal, quick=quick, minutes=minutes
    )
    terminal.print(f"wrote {shown(output.resolve())}", markup=False, soft_wrap=True)
    if left:
        terminal.print(f"{left} runs are left for want of time: the same command goes on with them.")
