"""The command about several runs at once: ``assay compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.errors import InputError
from pipelines.cli.options import DEFAULT_STORAGE, console

if TYPE_CHECKING:
    from pipelines.cluster.client import Cluster


def compare(
    runs: Annotated[list[str] | None, typer.Argument(help="Ids, or beginnings of ids; default: the latest.")] = None,
    experiment: Annotated[
        str | None, typer.Option("--experiment", "-e", help="On the cluster; default: that of the settings.")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option("--storage", help=f"Compare what is recorded here; default without a cluster: {DEFAULT_STORAGE}."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many, where none is named.")] = 20,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for compare.csv, .md and .html.")] = Path(
        "runs/compare"
    ),
) -> None:
    """Set runs side by side: what differs, metrics with intervals, cost, the champion, learning curves."""
    from pipelines.compare.page import to_page
    from pipelines.compare.runs import compare_on_cluster, compare_stored
    from pipelines.compare.table import print_comparison, to_csv, to_markdown

    cluster = _cluster() if storage is None else None
    if cluster is not None:
        comparison = compare_on_cluster(cluster, runs or [], experiment, limit)
    elif experiment is not None:
        raise InputError(
            f"--experiment {experiment}: experiments are on a cluster. Set KFP_HOST and leave --storage out."
        )
    else:
        comparison = compare_stored(storage or DEFAULT_STORAGE, runs or [], limit)
    # The files first: a terminal that goes away takes nothing with it.
    output.mkdir(parents=True, exist_ok=True)
    for name, write in (("compare.csv", to_csv), ("compare.md", to_markdown), ("compare.html", to_page)):
        (output / name).write_text(write(comparison), encoding="utf-8")
    print_comparison(console(), comparison)
    typer.echo(f"wrote {output}/compare.html, compare.md and compare.csv")


def _cluster() -> Cluster | None:
    from pipelines.cluster.client import NoKubernetes, connect
    from pipelines.settings import load_settings

    try:
        return connect(load_settings())
    except InputError as error:
        if isinstance(error.__cause__, NoKubernetes):
            return None
        raise
