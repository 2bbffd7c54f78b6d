"""Commands about runs on the cluster: ``assay runs list|watch|cancel``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.options import RunArgument, console

if TYPE_CHECKING:
    from pipelines.cluster.client import Cluster

runs_app = typer.Typer(name="runs", no_args_is_help=True, help="Runs on the cluster: list, follow and cancel them.")


@runs_app.command("list")
def runs_list(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="How many, newest first.")] = 20,
) -> None:
    """List the latest runs: state, start, id and name."""
    from pipelines.cluster.runs import ended_as, list_runs, title_of

    cluster = _connect()
    found = list_runs(cluster, limit)
    for run in found:
        typer.echo(f"{ended_as(cluster, run).lower():<10} {run.created_at:%Y-%m-%d %H:%M} {run.run_id} {title_of(run)}")
    if not found:
        typer.echo("no runs yet", err=True)


@runs_app.command("watch")
def runs_watch(run: RunArgument) -> None:
    """Follow a run to its end; exit code 1 if it fails."""
    cluster = _connect()
    follow(cluster, cluster.find_run(run))


@runs_app.command("cancel")
def runs_cancel(run: RunArgument) -> None:
    """End a run; one that has ended stays as it is."""
    from pipelines.cluster.runs import CANCELING, FINISHED, cancel

    cluster = _connect()
    run_id = cluster.find_run(run)
    before = cancel(cluster, run_id)
    if before == CANCELING:
        typer.echo(f"{run_id}: was being ended already. assay runs watch {run_id[:8]} says when it has ended")
    else:
        typer.echo(f"{run_id}: had ended ({before.lower()})" if before in FINISHED else f"{run_id}: is being ended")


def _connect() -> Cluster:
    from pipelines.cluster.client import connect
    from pipelines.settings import load_settings

    return connect(load_settings())


def follow(cluster: Cluster, run_id: str) -> None:
    """Follow a run to its end; Ctrl-C ends the following and not the run."""
    from pipelines.cluster.watch import watch

    try:
        watch(cluster, run_id, console())
    except KeyboardInterrupt:
        typer.echo(
            f"the run goes on: {cluster.run_link(run_id)}. Follow it: assay runs watch {run_id[:8]}. "
            f"End it: assay runs cancel {run_id[:8]}",
            err=True,
        )
        raise typer.Exit(1) from None
