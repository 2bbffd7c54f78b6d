"""Tables for the terminal: a model's layers, a registry's versions."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

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
