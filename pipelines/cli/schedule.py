"""Commands about retraining on a schedule: ``assay schedule set|list|delete``."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.options import ConfigArgument, DataOption, SetOption, WeightsOption, load

if TYPE_CHECKING:
    from pipelines.cluster.schedule import Retired

schedule_app = typer.Typer(
    name="schedule", no_args_is_help=True, help="Retraining on a schedule: set, list and delete it."
)
CHANGES = {"created": "created", "enabled": "switched on again", "none": "is as wanted"}
MINUTE = "%Y-%m-%d %H:%M"


@schedule_app.command("set")
def schedule_set(
    config: ConfigArgument,
    cron: Annotated[str, typer.Option("--cron", help='Six fields in UTC, seconds first: "0 0 3 * * *", or @daily.')],
    data: DataOption = None,
    weights: WeightsOption = None,
    overrides: SetOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Train even where neither data, config nor code have changed.")
    ] = False,
) -> None:
    """Say when a config is trained: creates or replaces its one schedule; the same again changes nothing."""
    from pipelines.cluster.client import connect
    from pipelines.cluster.cron import parse_cron
    from pipelines.cluster.schedule import set_schedule
    from pipelines.cluster.submit import for_cluster
    from pipelines.settings import load_settings

    # What is wrong with the input is said before anything that is wrong with the connection.
    when, resolved, settings = parse_cron(cron), load(config, data, weights, overrides), load_settings()
    for_cluster(resolved, settings)
    outcome = set_schedule(connect(settings), resolved, when, force=force)
    typer.echo(f'{resolved.name}: schedule "{when.expression}" {CHANGES[outcome.change]} ({outcome.schedule_id})')
    trains = "always trains" if force else "trains if data, config or code changed"
    typer.echo(f"pipeline version {outcome.version.name}; {trains}")
    firings = itertools.islice(when.firings(datetime.now(UTC)), 3)
    typer.echo(f"next: {', '.join(f'{firing:%Y-%m-%d %H:%M:%S}' for firing in firings)} UTC")
    _tell(resolved.name, outcome.retired)


@schedule_app.command("list")
def schedule_list() -> None:
    """List the schedules: name, cron, when next in UTC, the last run, id."""
    from pipelines.cluster.client import connect
    from pipelines.cluster.cron import parse_cron
    from pipelines.cluster.runs import state_of
    from pipelines.cluster.schedule import list_schedules, runs_of
    from pipelines.settings import load_settings

    cluster = connect(load_settings())
    found = list_schedules(cluster)
    for schedule in found:
        coming = next(parse_cron(schedule.cron).firings(datetime.now(UTC)))
        following = f"next {coming:{MINUTE}}" if schedule.enabled else "disabled"
        run = next(runs_of(cluster, schedule), None)
        last = f"last {run.created_at:{MINUTE}} {state_of(run).lower()}" if run else "no run yet"
        typer.echo(f'{schedule.name:<20} "{schedule.cron}"  {following:<21}  {last}  {schedule.schedule_id}')
    if not found:
        typer.echo("no schedules", err=True)


@schedule_app.command("delete")
def schedule_delete(
    name: Annotated[str, typer.Argument(help="The config's name, from `assay schedule list`.")],
    now: Annotated[
        bool, typer.Option("--now", help="End its runs in flight, wait until they have ended, and delete it.")
    ] = False,
) -> None:
    """Delete a schedule; one with a run in flight is switched off, and deleted once the run has ended."""
    from pipelines.cluster.client import connect
    from pipelines.cluster.schedule import delete_schedule
    from pipelines.settings import load_settings

    _tell(name, delete_schedule(connect(load_settings()), name, now=now))


def _tell(name: str, retired: Retired) -> None:
    for schedule_id in retired.deleted:
        typer.echo(f"{name}: schedule {schedule_id} is deleted")
    for schedule_id, runs in retired.waiting.items():
        until = f"until {', '.join(runs)} has ended" if runs else "for it fired just now"
        typer.echo(
            f"{name}: schedule {schedule_id} is switched off and stays {until}; the same command again deletes it then"
        )
