"""The commands about runs on a cluster: what they say, and their exit codes by outcome."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines.settings import Settings
from tests.pipelines.conftest import assay

ROOT = Path(__file__).parents[2]
CONFIG = "pipelines/configs/demo.yaml"


@pytest.fixture
def environment(kubeflow: Any, cluster_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Variables that lead a command to the server on loopback alone."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("ASSAY_STORAGE_ROOT", "gs://bucket/assay")
    monkeypatch.setenv("ASSAY_IMAGES__CPU", cluster_settings.images.cpu)
    monkeypatch.setenv("ASSAY_IMAGES__GPU", cluster_settings.images.gpu)
    return dict(os.environ)


def failed() -> list[dict[str, Any]]:
    return [{"task_id": "1", "display_name": "ingest", "state": "FAILED", "error": {"code": 2, "message": "no images"}}]


@pytest.mark.usefixtures("environment")
def test_submit_starts_a_run_with_what_the_command_line_changes(
    kubeflow: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--data", "gs://bucket/images", "--set", "finetune.epochs=3")
    assert assay(monkeypatch, "submit", CONFIG, *arguments) == 0
    (run,) = kubeflow.state.runs.values()
    assert "source: gs://bucket/images" in run["runtime_config"]["parameters"]["data"]
    assert " finetune.epochs=3 " in run["display_name"]
    said = capsys.readouterr().out
    assert f"/#/runs/details/{run['run_id']}" in said
    assert "(uploaded)" in said


@pytest.mark.parametrize(
    ("state", "tasks", "code"), [("SUCCEEDED", [], 0), ("FAILED", failed(), 1), ("CANCELED", [], 1)]
)
@pytest.mark.usefixtures("environment")
def test_the_exit_code_says_how_an_awaited_run_ended(
    kubeflow: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    state: str,
    tasks: list[dict[str, Any]],
    code: int,
) -> None:
    kubeflow.state.script = [(state, tasks)]
    assert assay(monkeypatch, "submit", CONFIG, "--wait") == code
    said = capsys.readouterr()
    assert state.lower().removesuffix("ed") in said.out
    if state == "FAILED":
        assert "no images" in said.out
        assert "failed: ingest" in said.err


@pytest.mark.usefixtures("environment")
def test_a_local_source_is_refused_before_the_cluster_is_asked(
    kubeflow: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert assay(monkeypatch, "submit", CONFIG, "--data", "./images") == 2
    assert "Received: ./images" in capsys.readouterr().err
    assert kubeflow.state.requests == []


def test_an_interrupt_leaves_the_run_and_says_how_to_end_it(kubeflow: Any, environment: dict[str, str]) -> None:
    kubeflow.state.script = ["RUNNING"]
    run_id = kubeflow.add_run(display_name="tiny")["run_id"]
    command = [sys.executable, "-m", "pipelines.cli", "runs", "watch", run_id]
    environment["PYTHONUNBUFFERED"] = "1"
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Tests that a shell runs in the background ignore interrupts, and so would this process.
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        assert "ingest running" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        try:
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 1
    assert f"assay runs cancel {run_id}" in said
    assert "Traceback" not in said
    assert kubeflow.state.runs[run_id]["state"] == "RUNNING"


@pytest.mark.usefixtures("environment")
def test_runs_are_listed_and_cancelled(
    kubeflow: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert assay(monkeypatch, "runs", "list") == 0
    assert capsys.readouterr().err == "no runs yet\n"
    kubeflow.state.script = ["RUNNING"]
    assert assay(monkeypatch, "submit", CONFIG) == 0
    (run,) = kubeflow.state.runs.values()
    capsys.readouterr()
    assert assay(monkeypatch, "runs", "cancel", run["run_id"]) == 0
    assert "is being ended" in capsys.readouterr().out
    assert assay(monkeypatch, "runs", "list") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("canceling")
    assert run["run_id"] in line
    assert line.endswith(run["display_name"])


@pytest.mark.usefixtures("environment")
def test_a_run_that_is_not_there_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert assay(monkeypatch, "runs", "cancel", "absent") == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "absent not found" in line
