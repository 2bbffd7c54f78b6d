"""The command line: ``assay run|sweep|compile|submit|compare|...``; ``assay --help`` lists all commands.

One module a command, of its name. Every command imports what it needs when it runs, so that ``assay --help`` answers
at once. Exit codes: 0 done, 1 the run failed, 2 wrong input.
"""

from __future__ import annotations

import typer

from assay.observability.quiet import silence_tensorflow
from pipelines.cli.boundary import Interruptible, bounded
from pipelines.cli.compare import compare
from pipelines.cli.compile import compile
from pipelines.cli.config import config_app
from pipelines.cli.data import data_app
from pipelines.cli.experiments import experiments
from pipelines.cli.gc import gc
from pipelines.cli.models import models_app
from pipelines.cli.predict import predict
from pipelines.cli.preflight import preflight
from pipelines.cli.registry import registry_app
from pipelines.cli.run import run
from pipelines.cli.runs import runs_app
from pipelines.cli.schedule import schedule_app
from pipelines.cli.serve import serve
from pipelines.cli.submit import submit
from pipelines.cli.sweep import sweep

app = typer.Typer(
    name="assay",
    cls=Interruptible,
    help="From a folder of labelled images to a champion model that one can defend.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (config_app, data_app, models_app, registry_app, runs_app, schedule_app):
    app.add_typer(group)
for command in (preflight, submit, compare, run, sweep, experiments, compile, predict, serve, gc):
    app.command()(command)


def main() -> None:
    """Run the command line."""
    silence_tensorflow()
    bounded(app)
