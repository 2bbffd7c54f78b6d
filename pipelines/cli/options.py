"""Arguments and options that several commands take, and the config that they make."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
RunArgument = Annotated[str, typer.Argument(help="A run's id, from `assay runs list`.")]


def load(config: Path, data: str | None, weights: str | None, overrides: list[str] | None) -> RunConfig:
    """Return the config with what the command line changes."""
    from assay.config import load_config

    return load_config(config, changes(data, weights, overrides))


def changes(data: str | None, weights: str | None, overrides: list[str] | None) -> list[str]:
    """Return what the command line changes, as overrides."""
    import json

    found = list(overrides or [])
    if data is not None:
        found.append(f"data.source={json.dumps(data)}")
    if weights is not None:
        found.append(f"finetune.weights={json.dumps(weights)}")
    return found


def shown(path: Path) -> Path:
    """Return a path as a person in the present folder would write it."""
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path


def console() -> Console:
    """Return a console on the standard output of now."""
    import sys

    from rich.console import Console

    return Console(file=sys.stdout, highlight=False)
