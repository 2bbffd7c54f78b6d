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
from tests.pipelines.recordings import Recording, recorded_log

ROOT = Path(__file__).parents[3]
CONFIG = "pipelines/configs/demo.yaml"


@pytest.fixture
def environment(kubeflow: Any, cluster_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Variables that lead a command to the server on loopback alone."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("ASSAY_STORAGE_ROOT", "gs://bucket/assay")
    monkeypatch.setenv("ASSAY_IMAGES__CPU", cluster_settings.images.cpu)
    monkeypatch.setenv("ASSAY_IMAGES__GPU", cluster_settings.images.gpu)
    return dict(os.environ)


@pytest.mark.usefixtures("environment")
def test_submit_starts_a_run_with_what_the_command_line_changes(
    kubeflow: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--data", "gs://bucket/images", "--set", "finetune.epochs=3")
    assert assay(monkeypatch, "submit", CONFIG, *arguments) == 0
    (run,) = kubeflow.state.runs.values()
    assert "gs://bucket/images" in run["runtime_config"]["parameters"]["data"]
    assert run["display_name"].startswith("finetune.epochs=3 demo ")
    said = capsys.readouterr().out
    assert f"/#/runs/details/{run['run_id']}" in said
    assert "(uploaded)" in said


@pytest.mark.parametrize(
    ("kind", "code", "said", "error"),
    [
        ("cached", 0, "succeeded after 3 min 56 s", ""),
        ("out-of-memory", 1, "finetune failed after 17 s", "failed: finetune: out of memory"),
        ("wrong-input", 2, "ingest failed", "failed: ingest: gs://assay/nothing: is empty."),
        ("cancelled", 1, "the run is being ended", "was cancelled"),
    ],
)
@pytest.mark.usefixtures("environment", "kubeconfig")
def test_the_exit_code_says_how_an_awaited_run_ended(
    kubeflow: Any,
    shared: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    code: int,
    said: str,
    error: str,
) -> None:
    monkeypatch.setattr("pipelines.cluster.watch.POLL_SECONDS", 0)
    kubeflow.state.logs["1486029289"] = recorded_log(shared, "wrong-input-ingest")
    kubeflow.state.plays = Recording.load(shared, kind)
    assert assay(monkeypatch, "submit", CONFIG, "--wait", "--no-preflight") == code
    shown = capsys.readouterr()
    assert said in shown.out
    assert error in shown.err
    assert "Traceback" not in shown.err


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
        assert "is followed" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        try:
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 1
    assert f"assay runs cancel {run_id[:8]}" in said
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
    assert assay(monkeypatch, "runs", "cancel", run["run_id"][:8]) == 0
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
    assert assay(monkeypatch, "runs", "cancel", "absent") == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "run absent: not among the runs" in line
