"""The command that starts a run on the cluster: ``assay submit``."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.options import ConfigArgument, DataOption, SetOption, WeightsOption, changes, console, load
from pipelines.cli.runs import follow


def submit(
    config: ConfigArgument,
    data: DataOption = None,
    weights: WeightsOption = None,
    overrides: SetOption = None,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="The file is a sweep, such as those of `assay sweep`.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow it to its end; exit code 1 if it fails, 2 for wrong input.")
    ] = False,
    no_preflight: Annotated[bool, typer.Option("--no-preflight", help="Start without a look at the cluster.")] = False,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Make everything anew, whatever the cache holds.")
    ] = False,
) -> None:
    """Start the pipeline, or a sweep, on the cluster and print where to see it."""
    from pipelines.cluster.client import NoKubernetes, connect
    from pipelines.cluster.preflight import preflight as look
    from pipelines.cluster.submit import for_cluster, submit_sweep
    from pipelines.cluster.submit import submit as start
    from pipelines.settings import load_settings

    settings, rows = load_settings(), None
    if sweep:
        from assay.sweep.spec import load_sweep

        rows = load_sweep(config, changes(data, weights, overrides))
        # What its rows ask for is what a baseline does: see pipelines/graphs/sweep.py.
        off = {name: getattr(rows.base, name).model_copy(update={"enabled": False}) for name in ("search", "finetune")}
        trained = rows.base.baseline.model_copy(update={"enabled": True})
        resolved = rows.base.model_copy(update={**off, "baseline": trained})
    else:
        resolved = load(config, data, weights, overrides)
    # What is wrong with the config is said before anything that is wrong with the connection.
    for_cluster(resolved, settings)
    if not no_preflight:
        try:
            look(resolved, settings, console())
        except NoKubernetes as error:
            typer.echo(f"preflight left out: {error}", err=True)
    cluster = connect(settings)
    if rows is not None:
        submitted = submit_sweep(cluster, rows, again=no_cache)
    else:
        submitted = start(cluster, resolved, overrides=overrides, again=no_cache)
    version = submitted.version
    typer.echo(f"{submitted.name}: run {submitted.run_id}")
    typer.echo(f"pipeline version {version.name} ({'uploaded' if version.uploaded else 'was there'})")
    typer.echo(submitted.link)
    if wait:
        follow(cluster, submitted.run_id)
