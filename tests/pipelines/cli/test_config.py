"""``assay config``: what it prints."""

from __future__ import annotations

from pathlib import Path

import yaml
from typer.testing import CliRunner

from assay.config import PromoteConfig
from pipelines.cli.main import app

ROOT = Path(__file__).parents[3]


def test_config_show_prints_the_resolved_config() -> None:
    done = CliRunner().invoke(
        app, ["config", "show", str(ROOT / "pipelines/configs/demo.yaml"), "--set", "finetune.epochs=7"]
    )
    assert done.exit_code == 0, done.output
    assert yaml.safe_load(done.output)["finetune"]["epochs"] == 7


def test_config_explain_prints_each_key_of_a_section_with_its_default() -> None:
    done = CliRunner().invoke(app, ["config", "explain", "promote"])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert [line.split()[0] for line in lines] == [f"promote.{key}" for key in PromoteConfig.model_fields]
    assert all("(default: " in line for line in lines)
