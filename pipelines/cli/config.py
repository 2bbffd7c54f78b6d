"""Commands about configs: ``assay config show|check|explain|template``."""

from __future__ import annotations

from typing import Annotated

import typer

from assay.errors import InputError
from pipelines.cli.options import ConfigArgument, DataOption, SetOption, WeightsOption, load

config_app = typer.Typer(name="config", no_args_is_help=True, help="Show and check configs.")


@config_app.command("show")
def config_show(
    config: ConfigArgument, data: DataOption = None, weights: WeightsOption = None, overrides: SetOption = None
) -> None:
    """Print the resolved config, with every default filled in."""
    from assay.config import dump_config

    typer.echo(dump_config(load(config, data, weights, overrides)), nl=False)


@config_app.command("check")
def config_check(
    config: ConfigArgument, data: DataOption = None, weights: WeightsOption = None, overrides: SetOption = None
) -> None:
    """Hold a config against all that a run of it needs, the source's names included; list what is wrong."""
    from assay.check import check_config

    resolved = load(config, data, weights, overrides)
    problems = check_config(resolved)
    for problem in problems:
        typer.echo(f"{config}: {problem}", err=True)
    if problems:
        raise typer.Exit(InputError.exit_code)
    typer.echo(f"{config}: right (version {resolved.version}, model {resolved.name})")


@config_app.command("explain")
def config_explain(
    key: Annotated[str, typer.Argument(help="A key or section, such as finetune or search.space.width.")] = "",
) -> None:
    """Print what each key means, with its range and default."""
    from assay.config import explain_keys

    rows = explain_keys(key)
    width = max(len(row[0]) for row in rows)
    for name, default, description in rows:
        typer.echo(f"{name:<{width}}  {description} (default: {default})" if description else f"{name}")


@config_app.command("template")
def config_template() -> None:
    """Print a config with every key at its default and what it means beside it."""
    from assay.config import config_template as template

    typer.echo(template(), nl=False)
