"""The command about the graph as a file: ``assay compile``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import ConfigArgument, SetOption


def compile(
    config: ConfigArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the pipeline.")] = Path(
        "build/training.yaml"
    ),
    overrides: SetOption = None,
) -> None:
    """Write the pipeline as the cluster runs it, in Kubeflow's IR YAML, and beside it the one of sweeps."""
    from assay.config import load_config
    from assay.data.parts import parts_of
    from pipelines.graphs.order import enabled_candidates
    from pipelines.graphs.sweep import compile_sweep_pipeline
    from pipelines.graphs.training import compile_training_pipeline
    from pipelines.settings import load_settings

    resolved, settings = load_config(config, overrides or []), load_settings()
    candidates, shards, folds = enabled_candidates(resolved), parts_of(resolved.data), resolved.validate.folds
    how = {"policy_chosen": resolved.augment.chooses, "chief_waits": resolved.search.chief_waits}
    compile_training_pipeline(candidates, output, settings, shards, folds=folds, **how)
    typer.echo(f"wrote {output}")
    of_sweeps = output.with_name("sweep.yaml")
    compile_sweep_pipeline(of_sweeps, settings)
    typer.echo(f"wrote {of_sweeps}")
