"""The command that starts a run on the cluster: ``assay submit``."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.options import ConfigArgument, DataOption, SetOption, WeightsOption, console, load
from pipelines.cli.runs import follow


def submit(
    config: ConfigArgument,
    data: DataOption = None,
    weights: WeightsOption = None,
    overrides: SetOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it to its end; exit code 1 if it fails.")] = False,
    no_preflight: Annotated[bool, typer.Option("--no-preflight", help="Start without a look at the cluster.")] = False,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Make everything anew, whatever the cache holds.")
    ] = False,
) -> None:
    """Start the pipeline on the cluster and print where to see it."""
    from pipelines.cluster.client import NoKubernetes, connect
    from pipelines.cluster.preflight import preflight as look
    from pipelines.cluster.submit import for_cluster
    from pipelines.cluster.submit import submit as start
    from pipelines.settings import load_settings

    resolved, settings = load(config, data, weights, overrides), load_settings()
    # What is wrong with the config is said before anything that is wrong with the connection.
    for_cluster(resolved, settings)
    if not no_preflight:
        try:
            look(resolved, settings, console())
        except NoKubernetes as error:
            typer.echo(f"preflight left out: {error}", err=True)
    cluster = connect(settings)
    submitted = start(cluster, resolved, overrides=overrides, again=no_cache)
    version = submitted.version
    typer.echo(f"{submitted.name}: run {submitted.run_id}")
    typer.echo(f"pipeline version {version.name} ({'uploaded' if version.uploaded else 'was there'})")
    typer.echo(submitted.link)
    if wait:
        follow(cluster, submitted.run_id)
