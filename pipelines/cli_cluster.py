"""Commands about runs on the cluster: ``assay preflight``, ``assay submit`` and ``assay runs``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli_options import ConfigArgument, DataOption, SetOption, WeightsOption, load

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.client import Cluster

runs_app = typer.Typer(no_args_is_help=True, help="Runs on the cluster: list, follow and cancel them.")

DEMO_CONFIG = Path(__file__).with_name("configs") / "demo.yaml"
RunArgument = Annotated[str, typer.Argument(help="A run's id, from `assay runs list`.")]


def preflight(
    config: ConfigArgument = DEMO_CONFIG,
    data: DataOption = None,
    weights: WeightsOption = None,
    overrides: SetOption = None,
) -> None:
    """Look whether the cluster has what a run needs; exit code 1 if something is missing."""
    from pipelines.preflight import preflight as look
    from pipelines.settings import load_settings

    look(load(config, data, weights, overrides), load_settings(), _console())


def submit(
    config: ConfigArgument,
    data: DataOption = None,
    weights: WeightsOption = None,
    overrides: SetOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it to its end; exit code 1 if it fails.")] = False,
    no_preflight: Annotated[bool, typer.Option("--no-preflight", help="Start without a look at the cluster.")] = False,
) -> None:
    """Start the pipeline on the cluster and print where to see it."""
    from pipelines.client import NoKubernetes, connect
    from pipelines.preflight import preflight as look
    from pipelines.settings import load_settings
    from pipelines.submit import for_cluster
    from pipelines.submit import submit as start

    resolved, settings = load(config, data, weights, overrides), load_settings()
    # What is wrong with the config is said before anything that is wrong with the connection.
    for_cluster(resolved, settings)
    if not no_preflight:
        try:
            look(resolved, settings, _console())
        except NoKubernetes as error:
            typer.echo(f"preflight left out: {error}", err=True)
    cluster = connect(settings)
    submitted = start(cluster, resolved, overrides=overrides)
    version = submitted.version
    typer.echo(f"{submitted.name}: run {submitted.run_id}")
    typer.echo(f"pipeline version {version.name} ({'uploaded' if version.uploaded else 'was there'})")
    typer.echo(submitted.link)
    if wait:
        _follow(cluster, submitted.run_id)


@runs_app.command("list")
def runs_list(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="How many, newest first.")] = 20,
) -> None:
    """List the latest runs: state, start, id and name."""
    from pipelines.watch import list_runs

    found = list_runs(_connect(), limit)
    for run in found:
        typer.echo(
            f"{(run.state or 'PENDING').lower():<10} {run.created_at:%Y-%m-%d %H:%M} {run.run_id} {run.display_name}"
        )
    if not found:
        typer.echo("no runs yet", err=True)


@runs_app.command("watch")
def runs_watch(run: RunArgument) -> None:
    """Follow a run to its end; exit code 1 if it fails."""
    _follow(_connect(), run)


@runs_app.command("cancel")
def runs_cancel(run: RunArgument) -> None:
    """End a run; one that has ended stays as it is."""
    from pipelines.watch import FINISHED, cancel

    before = cancel(_connect(), run)
    typer.echo(f"{run}: had ended ({before.lower()})" if before in FINISHED else f"{run}: is being ended")


def _connect() -> Cluster:
    from pipelines.client import connect
    from pipelines.settings import load_settings

    return connect(load_settings())


def _console() -> Console:
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False)


def _follow(cluster: Cluster, run_id: str) -> None:
    from pipelines.watch import watch

    try:
        watch(cluster, run_id, _console())
    except KeyboardInterrupt:
        typer.echo(
            f"the run goes on: {cluster.run_link(run_id)}. Follow it: assay runs watch {run_id}. "
            f"End it: assay runs cancel {run_id}",
            err=True,
        )
        raise typer.Exit(1) from None
