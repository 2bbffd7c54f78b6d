"""The command about new files: ``assay predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assay.errors import InputError
from pipelines.cli.options import DEFAULT_STORAGE, NameOption, StorageOption


def predict(
    inputs: Annotated[list[Path], typer.Argument(help="Image files, or a folder of them.")],
    name: NameOption = "assay",
    version: Annotated[str | None, typer.Option("--version", help="A version; default: the champion.")] = None,
    storage: StorageOption = DEFAULT_STORAGE,
    form: Annotated[str, typer.Option("--format", help="csv or json.")] = "csv",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file; default: the terminal.")] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Images at a time.")] = 64,
) -> None:
    """Give probabilities and the decision at the stored threshold."""
    if form not in ("csv", "json"):
        raise InputError(f"--format {form}: csv or json.")
    from assay.predict import predict_files

    text, failed = predict_files(inputs, storage, name, version=version, form=form, batch_size=batch_size)
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")
        typer.echo(f"wrote {output}", err=True)
    if failed:
        typer.echo(f"{failed} of the files could not be read: see the column `error`", err=True)
