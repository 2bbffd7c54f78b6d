"""The command line: ``assay run|sweep|compile|submit|compare|...``; ``assay --help`` lists all commands.

Every command imports what it needs when it runs, so that ``assay --help`` answers at once.
Exit codes: 0 done, 1 the run failed, 2 wrong input.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from assay.errors import AssayError, InputError
from assay.observability.quiet import silence_tensorflow
from pipelines.cli_cluster import preflight, runs_app, submit
from pipelines.cli_compare import compare
from pipelines.cli_options import (
    DEFAULT_RUNS,
    DEFAULT_STORAGE,
    ConfigArgument,
    DataOption,
    NameOption,
    RunsOption,
    SetOption,
    StorageOption,
    WeightsOption,
    changes,
    load,
)
from pipelines.cli_schedule import schedule_app

app = typer.Typer(
    name="assay",
    help="From a folder of labelled images to a champion model that one can defend.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
config_app = typer.Typer(no_args_is_help=True, help="Show and check configs.")
data_app = typer.Typer(no_args_is_help=True, help="Look at a source before training on it.")
models_app = typer.Typer(no_args_is_help=True, help="The architectures that a config can name.")
registry_app = typer.Typer(no_args_is_help=True, help="Versions of the models kept, and the champion among them.")
app.add_typer(config_app, name="config")
app.add_typer(data_app, name="data")
app.add_typer(models_app, name="models")
app.add_typer(registry_app, name="registry")
app.add_typer(runs_app, name="runs")
app.add_typer(schedule_app, name="schedule")
app.command()(preflight)
app.command()(submit)
app.command()(compare)


@app.command()
def run(
    config: ConfigArgument,
    data: DataOption = None,
    weights: WeightsOption = None,
    overrides: SetOption = None,
    runs: RunsOption = DEFAULT_RUNS,
    image: Annotated[
        str | None, typer.Option("--image", help="Run each step in a container of this image, as a cluster does.")
    ] = None,
) -> None:
    """Run the whole pipeline on this machine."""
    from rich.console import Console

    from pipelines.console import format_seconds, print_summary
    from pipelines.local import run_locally

    resolved = load(config, data, weights, overrides)
    # The stream of now: while the graph runs, what Kubeflow prints is led into the log.
    console = Console(file=sys.stdout, highlight=False)
    console.print(f"[bold]{resolved.name}[/bold]: {resolved.data.source}", markup=True, soft_wrap=True)
    outcome = run_locally(resolved, runs, console, image=image)
    console.print()
    if outcome.evaluation_dir is None or outcome.promotion_dir is None:
        console.print("Nothing to train: the source has not changed.")
        return
    report = outcome.run_dir / "report.html"
    report.write_bytes((outcome.evaluation_dir / "report.html").read_bytes())
    print_summary(console, outcome.evaluation_dir, outcome.promotion_dir, _shown(report))
    if outcome.reused:
        console.print(f"[bold]Reused:[/bold] {', '.join(outcome.reused)} (nothing that they depend on has changed)")
    console.print(f"[bold]Time:[/bold] {format_seconds(outcome.seconds)}")


@app.command()
def sweep(
    spec: Annotated[Path, typer.Argument(help="A sweep, such as pipelines/sweeps/pcam_depths.yaml.")],
    data: DataOption = None,
    weights: WeightsOption = None,
    overrides: SetOption = None,
    runs: RunsOption = DEFAULT_RUNS,
) -> None:
    """Train every row of a sweep from every seed and write the table; finished runs are not run again."""
    from rich.console import Console

    from assay.sweep.spec import load_sweep
    from pipelines.sweeping import print_sweep, run_sweep_locally

    resolved = load_sweep(spec, changes(data, weights, overrides))
    console = Console(file=sys.stdout, highlight=False)
    outcome = run_sweep_locally(resolved, runs, console)
    console.print()
    print_sweep(console, outcome)
    console.print()
    for name in ("table.md", "table.csv", "sweep.html", "best.yaml"):
        if (outcome.folder / name).exists():
            console.print(str(_shown(outcome.folder / name)), markup=False, soft_wrap=True)
    console.print(f"{outcome.ran} runs now, {outcome.reused} from earlier, {outcome.failed} without a model")


@app.command()
def experiments(
    plan: Annotated[Path, typer.Argument(help="The sweeps and their budget.")] = Path("pipelines/experiments.yaml"),
    data: DataOption = None,
    weights: WeightsOption = None,
    runs: RunsOption = DEFAULT_RUNS,
    quick: Annotated[bool, typer.Option("--quick", help="The plan's quick budget: does it all work?")] = False,
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0, help="Begin no run after so long; default: the plan's.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The page.")] = Path("docs/experiments.md"),
) -> None:
    """Run the shipped sweeps with a stated budget and write the measured page; finished runs are not run again."""
    from rich.console import Console

    from pipelines.experiments import load_plan, run_experiments

    console = Console(file=sys.stdout, highlight=False)
    left = run_experiments(
        load_plan(plan), changes(data, weights, None), runs, output, console, quick=quick, minutes=minutes
    )
    console.print(f"wrote {_shown(output.resolve())}", markup=False, soft_wrap=True)
    if left:
        console.print(f"{left} runs are left for want of time: the same command goes on with them.")


def _shown(path: Path) -> Path:
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path


@app.command()
def compile(
    config: ConfigArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the pipeline.")] = Path(
        "build/training.yaml"
    ),
    overrides: SetOption = None,
) -> None:
    """Write the pipeline as the cluster runs it, in Kubeflow's IR YAML, and beside it the one of sweeps."""
    from assay.config import load_config
    from pipelines.settings import load_settings
    from pipelines.steps import enabled_candidates
    from pipelines.sweep import compile_sweep_pipeline
    from pipelines.training import compile_training_pipeline

    resolved, settings = load_config(config, overrides or []), load_settings()
    compile_training_pipeline(enabled_candidates(resolved), output, settings, resolved.data.shards)
    typer.echo(f"wrote {output}")
    of_sweeps = output.with_name("sweep.yaml")
    compile_sweep_pipeline(of_sweeps, settings)
    typer.echo(f"wrote {of_sweeps}")


@config_app.command("show")
def config_show(
    config: ConfigArgument, data: DataOption = None, weights: WeightsOption = None, overrides: SetOption = None
) -> None:
    """Print the resolved config, with every default filled in."""
    from assay.config import dump_config

    typer.echo(dump_config(load(config, data, weights, overrides)), nl=False)


@config_app.command("check")
def config_check(config: ConfigArgument, overrides: SetOption = None) -> None:
    """Check a config and say nothing more than whether it is right."""
    resolved = load(config, None, None, overrides)
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


@models_app.command("list")
def models_list() -> None:
    """List the registered architectures."""
    from assay.models.registry import list_models

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
    from rich.console import Console

    from pipelines.views import print_model

    silence_tensorflow()
    print_model(Console(highlight=False), name, _shape(shape) if shape else None, classes)


def _shape(text: str) -> tuple[int, ...]:
    try:
        sides = tuple(int(side) for side in text.lower().split("x"))
    except ValueError:
        sides = ()
    if len(sides) not in (2, 3) or any(side < 1 for side in sides):
        raise InputError(f"--shape {text}: a shape is sides joined by x, such as 96x96x3 or 80x3.")
    return sides


@app.command()
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
    silence_tensorflow()
    from assay.predict import predict_files

    text, failed = predict_files(inputs, storage, name, version=version, form=form, batch_size=batch_size)
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")
        typer.echo(f"wrote {output}", err=True)
    if failed:
        typer.echo(f"{failed} of the files could not be read: see the column `error`", err=True)


@registry_app.command("list")
def registry_list(
    name: Annotated[str | None, typer.Argument(help="A model; default: all.")] = None,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """List models and their versions; the champion is marked."""
    from rich.console import Console

    from pipelines.views import print_versions

    print_versions(Console(highlight=False), storage, name)


@registry_app.command("show")
def registry_show(
    name: Annotated[str, typer.Argument(help="A model.")],
    version: Annotated[str | None, typer.Argument(help="A version; default: the champion.")] = None,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Show one version: its metrics, where it came from, and the decisions about it."""
    from rich.console import Console

    from pipelines.views import print_version

    print_version(Console(highlight=False), storage, name, version)


@registry_app.command("rollback")
def registry_rollback(
    name: Annotated[str, typer.Argument(help="A model.")],
    to: Annotated[str | None, typer.Option("--to", help="A version; default: the champion before this one.")] = None,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Make an earlier version the champion again; nothing is deleted."""
    from assay.storage.objects import open_store
    from assay.storage.registry import ModelRegistry

    version = ModelRegistry(open_store(storage), name).rollback(to, reason="asked for on the command line")
    typer.echo(f"{name}: the champion is now {version}")


def main() -> None:
    """Run the command line; a user's error is one line and its exit code."""
    try:
        app()
    except AssayError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        print("stopped. The same command goes on from where it was.", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
