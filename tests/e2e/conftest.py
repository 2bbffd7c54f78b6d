"""Whole runs through the command line, as a user starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Assay = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def assay() -> Assay:
    """Call the command line in a subprocess: ``assay("run", config, cwd=folder, status=0)``."""

    def call(*arguments: object, cwd: Path, status: int = 0, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pipelines.cli", *map(str, arguments)]
        environment = {**os.environ, "COLUMNS": "160", "ASSAY_CACHE": str(cwd / "cache")}
        done = subprocess.run(command, cwd=cwd, env=environment, text=True, capture_output=True, timeout=timeout)
        assert done.returncode == status, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}\n{_logs(cwd)}"
        return done

    return call


def _logs(folder: Path) -> str:
    return "\n".join(path.read_text(encoding="utf-8")[-6000:] for path in sorted(folder.rglob("run.log")))
