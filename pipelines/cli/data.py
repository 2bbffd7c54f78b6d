"""The command about a source before training on it: ``assay data inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assay.errors import InputError
from pipelines.cli.options import SetOption

data_app = typer.Typer(name="data", no_args_is_help=True, help="Look at a source before training on it.")


@data_app.command("inspect")
def data_inspect(
    source: Annotated[str, typer.Argument(help="Folder, labels.csv folder, gs://..., tfds://... or demo://...")],
    config: Annotated[Path | None, typer.Option("--config", help="Take the data section from here.")] = None,
    overrides: SetOption = None,
) -> None:
    """Count images, sizes and groups of a source, and list its problems. Writes nothing."""
    from assay.config import apply_overrides, load_config, parse_config
    from assay.data.inspect import inspect_source

    if config is None:
        resolved = parse_config(apply_overrides({"version": 1}, overrides or []), "--set")
    else:
        resolved = load_config(config, overrides or [])
    report = inspect_source(source, resolved.data.model_copy(update={"source": source}))
    for line in report.lines():
        typer.echo(line)
    if report.refusals:
        # A run would refuse this source: whoever asks in a script learns it here.
        raise typer.Exit(InputError.exit_code)
