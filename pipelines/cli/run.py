"""The command about one run on this machine: ``assay run``."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.options import (
    DEFAULT_RUNS,
    ConfigArgument,
    DataOption,
    RunsOption,
    SetOption,
    WeightsOption,
    console,
    load,
    shown,
)


def run(
    config: ConfigArgument,
    data: DataOption = None,
    weights: WeightsOption = None,
    overrides: SetOption = None,
    runs: RunsOption = DEFAULT_RUNS,
    image: Annotated[
        str | None, typer.Option("--image", help="Run each step in a container of this image, as a cluster does.")
    ] = None,
    force: Annotated[
        list[str] | None,
        typer.Option("--force", help="A step that runs again, from its beginning, although nothing has changed."),
    ] = None,
) -> None:
    """Run the whole pipeline on this machine."""
    from rich.markup import escape

    from assay.observability.durations import format_seconds
    from pipelines.local.console import print_summary
    from pipelines.local.run import run_locally

    resolved = load(config, data, weights, overrides)
    # The stream of now: while the graph runs, what Kubeflow prints is led into the log.
    terminal = console()
    terminal.print(f"[bold]{resolved.name}[/bold]: {escape(resolved.data.source)}", soft_wrap=True)
    outcome = run_locally(resolved, runs, terminal, image=image, force=force or ())
    terminal.print()
    if outcome.evaluation_dir is None or outcome.promotion_dir is None:
        terminal.print("Nothing to train: data, config and code are those of an earlier training.")
        return
    report = outcome.run_dir / "report.html"
    report.write_bytes((outcome.evaluation_dir / "report.html").read_bytes())
    print_summary(terminal, outcome.evaluation_dir, outcome.promotion_dir, shown(report))
    if outcome.reused:
        terminal.print(f"[bold]Reused:[/bold] {', '.join(outcome.reused)} (nothing that they depend on has changed)")
    terminal.print(f"[bold]Time:[/bold] {format_seconds(outcome.seconds)}")
