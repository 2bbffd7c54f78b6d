"""The command about new files: ``assay predict``."""

from __future__ import annotations

import contextlib
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
    max_pixels: Annotated[
        int | None, typer.Option("--max-pixels", min=1, help="Largest image; default: that of the model's training.")
    ] = None,
) -> None:
    """Give probabilities and the decision at the stored threshold. Exit code 1: no file could be used."""
    if form not in ("csv", "json"):
        raise InputError(f"--format {form}: csv or json.")
    if output is not None and output.is_dir():
        raise InputError(f"--output {output}: is a folder. Name a file.")
    from assay.predict import predict_files
    from assay.storage.files import new_file

    # Opened before the work: a place that cannot be written to is found at once. A pipe or device is no such place.
    is_file = output is not None and (output.is_file() or not output.exists())
    with new_file(output) if output is not None and is_file else contextlib.nullcontext(output) as stage:
        found = predict_files(
            inputs,
            storage,
            name,
            version=version,
            form=form,
            batch_size=batch_size,
            max_pixels=max_pixels,
            output=output,
        )
        # Beside the table, not in it: programs read that.
        typer.echo(found.header, err=True)
        if stage is not None:
            stage.write_text(found.text, encoding="utf-8")
        else:
            typer.echo(found.text, nl=False)
    if output is not None:
        typer.echo(f"wrote {output}", err=True)
    if found.failed == found.files:
        typer.echo(f"error: none of {found.files:,} files could be used: see the column `error`", err=True)
        raise typer.Exit(1)
    if found.failed:
        typer.echo(f"{found.failed:,} of {found.files:,} files could not be used: see the column `error`", err=True)
