"""Tables for the terminal: a model's layers, a registry's versions."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from assay.errors import InputError

DEFAULT_SHAPES = {"image": (96, 96, 3), "sensor": (80, 3)}


def print_model(console: Console, name: str, shape: tuple[int, ...] | None, classes: int) -> None:
    """Print a model's layers, output shapes and parameters.

    Args:
        console: Where to print.
        name: A registered model.
        shape: Input shape; None: the usual one for its kind of input.
        classes: Number of classes.

    Raises:
        InputError: The model is unknown, or the input is too small for its pools.
    """
    from assay.models.registry import describe, find_model

    entry = find_model(name)
    description = describe(name, shape or DEFAULT_SHAPES[entry.kind], num_classes=classes)
    table = Table(title=f"{name} - {entry.summary}", title_justify="left", title_style="bold")
    table.add_column("layer")
    table.add_column("kind", style="dim")
    table.add_column("output shape", justify="right")
    table.add_column("parameters", justify="right")
    for row in description.rows:
        sides = " x ".join("?" if side is None else str(side) for side in row.output_shape)
        table.add_row(row.name, row.kind, sides, f"{row.parameters:,}" if row.parameters else "")
    console.print(table)
    console.print(
        f"input {' x '.join(map(str, description.input_shape))}; parameters {description.total:,} "
        f"(trainable {description.trainable:,}, frozen {description.frozen:,}); "
        f"{description.flops / 1e6:,.0f} MFLOP an image"
    )


def print_versions(console: Console, storage: str, name: str | None) -> None:
    """Print the versions of one model or of all; the champion is marked.

    Raises:
        InputError: There is no such model, or nothing has been kept yet.
    """
    from assay.storage.objects import open_store
    from assay.storage.registry import ModelRegistry, list_models

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
    from assay.storage.objects import open_store
    from assay.storage.registry import ModelRegistry

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
        "input": " x ".join(map(str, info.input_shape)),
        "threshold": f"{info.threshold:.4f}",
        "temperature": f"{info.temperature:.4f}",
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
