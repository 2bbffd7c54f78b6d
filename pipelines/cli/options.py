"""Arguments and options that several commands take, and the config that they make."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from assay.config import RunConfig

ConfigArgument = Annotated[Path, typer.Argument(help="A config, such as pipelines/configs/demo.yaml.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a value: finetune.epochs=3. May be given several times."),
]
DataOption = Annotated[str | None, typer.Option("--data", help="Source, instead of data.source.")]
WeightsOption = Annotated[
    str | None,
    typer.Option("--weights", help="Pretrained weights, instead of finetune.weights: imagenet, a path or gs:// URI."),
]
RunsOption = Annotated[Path, typer.Option("--runs", help="Folder for runs and the cache of steps.")]
StorageOption = Annotated[str, typer.Option("--storage", help="Object storage: a folder or gs://bucket/prefix.")]
NameOption = Annotated[str, typer.Option("--name", help="Name of the model in the registry.")]
DEFAULT_RUNS = Path("runs")
DEFAULT_STORAGE = "runs/store"
RunArgument = Annotated[str, typer.Argument(help="A run's id or its beginning, from `assay runs list`.")]


def load(config: Path, data: str | None, weights: str | None, overrides: list[str] | None) -> RunConfig:
    """Return the config with what the command line changes."""
    from assay.config import load_config

    return load_config(config, changes(data, weights, overrides))


def changes(data: str | None, weights: str | None, overrides: list[str] | None) -> list[str]:
    """Return what the command line changes, as overrides.

    Raises:
        InputError: A name is no text: a config could not hold it.
    """
    import yaml

    found = list(overrides or [])
    for option, key, value in (("--data", "data.source", data), ("--weights", "finetune.weights", weights)):
        if value is None:
            continue
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"{option} {value!a}: the name is not UTF-8. Rename it, or link to it by another."
            ) from error
        # YAML's own quoting: JSON writes an emoji as two halves, which YAML would keep apart.
        quoted = yaml.safe_dump(value, default_style='"', width=sys.maxsize).strip()
        found.append(f"{key}={quoted}")
    return found


def shown(path: Path) -> Path:
    """Return a path as a person in the present folder would write it."""
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path


def console(*, markup: bool = True) -> Console:
    """Return a console on the standard output of now, which takes no part of a name for an emoji.

    Args:
        markup: Whether ``[bold]`` and the like are styles; False where all that is printed comes from data.
    """
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False, emoji=False, markup=markup)
