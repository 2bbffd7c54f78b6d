"""Commands about the models kept: ``assay registry list|show|rollback``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from assay.errors import InputError
from pipelines.cli.options import DEFAULT_STORAGE, StorageOption, console

if TYPE_CHECKING:
    from rich.console import Console

registry_app = typer.Typer(
    name="registry", no_args_is_help=True, help="Versions of the models kept, and the champion among them."
)


@registry_app.command("list")
def registry_list(
    name: Annotated[str | None, typer.Argument(help="A model; default: all.")] = None,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """List models and their versions; the champion is marked."""
    print_versions(console(markup=False), storage, name)


@registry_app.command("show")
def registry_show(
    name: Annotated[str, typer.Argument(help="A model.")],
    version: Annotated[str | None, typer.Argument(help="A version; default: the champion.")] = None,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Show one version: its metrics, where it came from, and the decisions about it."""
    print_version(console(markup=False), storage, name, version)


@registry_app.command("rollback")
def registry_rollback(
    name: Annotated[str, typer.Argument(help="A model.")],
    to: Annotated[str | None, typer.Option("--to", help="A version; default: the champion before this one.")] = None,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Make an earlier version the champion again; nothing is deleted."""
    from assay.registry.versions import ModelRegistry
    from assay.storage.open import open_store

    version = ModelRegistry(open_store(storage), name).rollback(to, reason="asked for on the command line")
    typer.echo(f"{name}: the champion is now {version}")


def print_versions(console: Console, storage: str, name: str | None) -> None:
    """Print the versions of one model or of all; the champion is marked.

    Raises:
        InputError: There is no such model, or nothing has been kept yet.
    """
    from rich.table import Table

    from assay.registry.versions import ModelRegistry, list_models
    from assay.storage.open import open_store

    store = open_store(storage)
    names = [name] if name else list_models(store)
    if not names:
        raise InputError(f"{storage}: no models are kept here yet. `make run` trains one; see --storage.")
    table = Table(box=None, pad_edge=False)
    for heading in ("model", "version", "", "test AUC", "architecture", "created"):
        table.add_column(heading)
    for model in names:
        registry = ModelRegistry(store, model)
        champion = registry.champion()
        for number in registry.versions():
            version = registry.version(number)
            mark = "champion" if champion is not None and champion.version == number else ""
            auc = version.metadata.get("metrics", {}).get("test_auc")
            table.add_row(
                model, number, mark, f"{auc:.3f}" if auc is not None else "-", version.info.name, version.created
            )
    console.print(table)


def print_version(console: Console, storage: str, name: str, number: str | None) -> None:
    """Print one version: what it is, its metrics, where it came from, and the decisions about it.

    Raises:
        InputError: There is no such model or version.
    """
    from rich.table import Table

    from assay.registry.versions import ModelRegistry
    from assay.storage.open import open_store

    registry = ModelRegistry(open_store(storage), name)
    version = registry.version(registry.resolve(number))
    champion = registry.champion()
    info = version.info
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    is_champion = champion is not None and champion.version == version.version
    rows = {
        "version": f"{name} {version.version}" + (" (champion)" if is_champion else ""),
        "created": version.created,
        "architecture": f"{info.name}, {info.parameters:,} parameters",
        "classes": ", ".join(info.classes),
        **({"positive class": info.classes[info.positive_index]} if len(info.classes) == 2 else {}),
        "input": " x ".join(map(str, info.file_shape)),
        **({"threshold": f"{info.threshold:.4f}"} if len(info.classes) == 2 else {}),
        "calibration": info.calibration.method,
        "dataset": info.dataset_fingerprint,
        "code": info.code_version,
        "weights": info.weights_hash,
    }
    for key, value in rows.items():
        table.add_row(key, str(value))
    for key, value in sorted(version.metadata.get("metrics", {}).items()):
        table.add_row(key, f"{value:.4f}")
    for decision in registry.decisions(version.version):
        table.add_row("decision", str(decision.get("reason", "")))
    for change in registry.history():
        if change.version == version.version:
            table.add_row(change.action, f"{change.changed}: {change.reason}")
    console.print(table)
