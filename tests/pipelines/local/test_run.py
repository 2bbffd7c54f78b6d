"""A run on this machine: what is wrong with its config is said before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from assay.config import parse_config
from assay.errors import InputError
from pipelines.local.run import run_locally


def test_a_run_that_cannot_begin_writes_nothing(tmp_path: Path) -> None:
    values = {"version": 1, "data": {"source": "demo://tissue?images=60"}, "search": {"enabled": False}}
    values |= {"storage": {"root": str(tmp_path / "store")}, "finetune": {"weights": str(tmp_path / "absent.h5")}}
    with pytest.raises(InputError, match=r"finetune\.weights: .*absent\.h5: there is no such weights file"):
        run_locally(parse_config(values), tmp_path / "runs", Console(quiet=True))
    assert list(tmp_path.iterdir()) == []


def test_runs_are_kept_on_this_machine(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--runs: a folder of this machine"):
        run_locally(parse_config({"version": 1}), Path("gs://bucket/runs"), Console(quiet=True))
