"""Commands about architectures: ``assay models list|show``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from assay.errors import InputError
from pipelines.cli.options import console

if TYPE_CHECKING:
    from rich.console import Console

models_app = typer.Typer(name="models", no_args_is_help=True, help="The architectures that a config can name.")
DEFAULT_SHAPES = {"image": (96, 96, 3), "sensor": (80, 3)}


@models_app.command("list")
def models_list() -> None:
    """List the registered architectures."""
    from assay.models.catalog import list_models

    models = list_models()
    width = max(len(model.name) for model in models)
    for model in models:
        typer.echo(f"{model.name:<{width}}  {model.summary}")


@models_app.command("show")
def models_show(
    name: Annotated[str, typer.Argument(help="A name from `assay models list`.")],
    shape: Annotated[str, typer.Option("--shape", help="Input shape, such as 96x96x3, or 80x3 for windows.")] = "",
    classes: Annotated[int, typer.Option("--classes", min=2, help="Number of classes.")] = 2,
) -> None:
    """Print layers, output shapes and parameters for an input shape."""
    print_model(console(markup=False), name, _shape(shape) if shape else None, classes)


def _shape(text: str) -> tuple[int, ...]:
    try:
        sides = tuple(int(side) for side in text.lower().split("x"))
    except ValueError:
        sides = ()
    if len(sides) not in (2, 3) or any(side < 1 for side in sides):
        raise InputError(f"--shape {text}: a shape is sides joined by x, such as 96x96x3 or 80x3.")
    return sides


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
    from rich.table import Table

    from assay.models.catalog import describe, find_model

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
