"""The command about the cluster before a run: ``assay preflight``."""

from __future__ import annotations

from pathlib import Path

from pipelines.cli.options import ConfigArgument, DataOption, SetOption, WeightsOption, console, load

DEMO_CONFIG = Path(__file__).parent.with_name("configs") / "demo.yaml"


def preflight(
    config: ConfigArgument = DEMO_CONFIG,
    data: DataOption = None,
    weights: WeightsOption = None,
    overrides: SetOption = None,
) -> None:
    """Look whether the cluster has what a run needs; exit code 1 if something is missing."""
    from pipelines.cluster.preflight import preflight as look
    from pipelines.settings import load_settings

    look(load(config, data, weights, overrides), load_settings(), console())
