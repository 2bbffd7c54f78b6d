"""What is refused before a run in containers begins; with an engine it is tests/containers that try it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from assay.config import parse_config
from assay.errors import InputError
from pipelines.local.containers import Containers

OWNER = os.getuid() or 12345


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder of runs that steps may write to."""
    os.chown(tmp_path, OWNER, -1)
    return tmp_path / "runs"


@pytest.mark.parametrize(
    ("section", "key"), [("data", "source"), ("storage", "root"), ("finetune", "weights")], ids=".".join
)
def test_what_only_a_network_reaches_is_refused(runs: Path, section: str, key: str) -> None:
    config = parse_config({"version": 1, section: {key: "gs://bucket/thing"}}, "test")
    with pytest.raises(InputError, match=rf"^{section}\.{key}: .* Received: gs://bucket/thing\. "):
        Containers.of("assay:1", config, runs)


def test_without_an_engine_it_says_so(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{runs}/docker.sock")
    with pytest.raises(InputError, match=r"^--image assay:1: no Docker engine answers .* set DOCKER_HOST\.$"):
        Containers.of("assay:1", parse_config({"version": 1}, "test"), runs)


@pytest.mark.skipif(os.getuid() != 0, reason="root alone is asked for another folder")
def test_root_does_not_run_steps_as_root(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{tmp_path} belongs to root"):
        Containers.of("assay:1", parse_config({"version": 1}, "test"), tmp_path / "runs")
