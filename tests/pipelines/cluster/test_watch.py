"""Following a run: its steps as they change, why it failed, and ending it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from assay.errors import AssayError
from pipelines.cluster.client import Cluster
from pipelines.cluster.watch import LOG_LINES, cancel, list_runs, watch

POD = "assay-training-x7-123"
TASKS = {"root": "RUNNING", "root-driver": "SUCCEEDED", "ingest": "SUCCEEDED", "ingest-driver": "SUCCEEDED"}


def tasks(**states: str) -> list[dict[str, Any]]:
    """Details of tasks as the server gives them."""
    every = {**TASKS, **states}
    return [{"task_id": f"id-{name}", "display_name": name, "state": state} for name, state in every.items()]


def failed_tasks() -> list[dict[str, Any]]:
    """A step that failed: the failure climbs from the pod's own node to the run's."""
    found = tasks(root="FAILED", baseline="FAILED", executor="FAILED", finetune="SUCCEEDED")
    by_name = {task["display_name"]: task for task in found}
    by_name["root"]["child_tasks"] = [{"task_id": "id-baseline"}, {"task_id": "id-finetune"}]
    by_name["baseline"]["child_tasks"] = [{"task_id": "id-executor", "pod_name": POD}]
    by_name["baseline"]["error"] = {"code": 13, "message": "Error (exit code 1)"}
    by_name["executor"]["pod_name"] = POD
    return found


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=200)


def said(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def start(kubeflow: Any, cluster: Cluster, *script: tuple[str, list[dict[str, Any]]]) -> str:
    kubeflow.state.script = list(script)
    return str(kubeflow.add_run(display_name="tiny", experiment_id=cluster.experiment())["run_id"])


def test_a_run_is_followed_to_its_success(kubeflow: Any, cluster: Cluster, console: Console) -> None:
    run_id = start(
        kubeflow,
        cluster,
        ("PENDING", []),
        ("RUNNING", tasks(baseline="RUNNING")),
        ("RUNNING", tasks(baseline="RUNNING")),
        ("SUCCEEDED", tasks(baseline="SUCCEEDED")),
    )
    assert watch(cluster, run_id, console, poll_seconds=0) == "SUCCEEDED"
    lines = [line.strip() for line in said(console).splitlines()]
    # A state is said once, when it is new, and of our steps alone.
    assert [line for line in lines if line.startswith("baseline")] == ["baseline running", "baseline succeeded"]
    assert not any("driver" in line or line.startswith("root") for line in lines)
    assert lines[-1].endswith(cluster.run_link(run_id))


def test_a_failure_shows_the_error_and_the_pods_last_lines(
    kubeflow: Any, cluster: Cluster, kubeconfig: Path, console: Console
) -> None:
    written = [f"line {number}" for number in range(50)] + ["InputError: no images in [gs://bucket/images]"]
    kubeflow.state.logs[POD] = "\n".join(written)
    run_id = start(kubeflow, cluster, ("RUNNING", tasks()), ("FAILED", failed_tasks()))
    with pytest.raises(AssayError, match=rf"run {run_id} failed: baseline. See https://kubeflow.example"):
        watch(cluster, run_id, console, poll_seconds=0)
    text = said(console)
    assert "  baseline failed\n" in text
    assert "root failed" not in text
    assert "executor failed" not in text
    assert "finetune failed" not in text
    assert "Error (exit code 1)" in text
    assert text.count(f"last lines of {POD}") == 1
    assert "no images in [gs://bucket/images]" in text
    assert f"line {50 - LOG_LINES + 1}\n" in text
    assert "line 10\n" not in text


@pytest.mark.parametrize("reachable", [True, False])
def test_without_a_log_the_failure_is_still_said(
    kubeflow: Any, cluster: Cluster, console: Console, reachable: bool, request: pytest.FixtureRequest
) -> None:
    if reachable:
        request.getfixturevalue("kubeconfig")
    run_id = start(kubeflow, cluster, ("FAILED", failed_tasks()))
    with pytest.raises(AssayError, match=r"failed: baseline"):
        watch(cluster, run_id, console, poll_seconds=0)
    assert "no log" in said(console)
    # Where Kubernetes is out of reach, the command for who can reach it.
    assert (f"kubectl -n kubeflow logs {POD} -c main" in said(console)) is not reachable


def test_a_failure_without_tasks_gives_the_runs_own_error(kubeflow: Any, cluster: Cluster, console: Console) -> None:
    run_id = start(kubeflow, cluster, ("FAILED", []))
    kubeflow.state.runs[run_id]["error"] = {"code": 5, "message": "the graph was refused"}
    with pytest.raises(AssayError, match=r"failed: the graph was refused"):
        watch(cluster, run_id, console, poll_seconds=0)


def test_a_driver_that_failed_is_named(kubeflow: Any, cluster: Cluster, console: Console) -> None:
    found = tasks(root="FAILED", **{"ingest-driver": "FAILED"})
    run_id = start(kubeflow, cluster, ("FAILED", found))
    with pytest.raises(AssayError, match=r"failed: ingest-driver. See"):
        watch(cluster, run_id, console, poll_seconds=0)
    assert "ingest-driver failed" in said(console)


def test_a_cancelled_run_is_no_success(kubeflow: Any, cluster: Cluster, console: Console) -> None:
    run_id = start(kubeflow, cluster, ("RUNNING", tasks()))
    assert cancel(cluster, run_id) == "RUNNING"
    with pytest.raises(AssayError, match=r"was cancelled"):
        watch(cluster, run_id, console, poll_seconds=0)


def test_a_run_that_has_ended_is_not_cancelled(kubeflow: Any, cluster: Cluster) -> None:
    run_id = start(kubeflow, cluster, ("SUCCEEDED", []))
    assert cancel(cluster, run_id) == "SUCCEEDED"
    assert not any(asked.endswith(":terminate") for asked in kubeflow.state.requests)


def test_a_server_that_is_away_in_between(kubeflow: Any, cluster: Cluster, console: Console) -> None:
    run_id = start(kubeflow, cluster, ("RUNNING", tasks()), ("SUCCEEDED", tasks()))
    kubeflow.state.fail("GET .*/runs/", 500, times=3)
    assert watch(cluster, run_id, console, poll_seconds=0) == "SUCCEEDED"


def test_a_token_that_expires_in_between(kubeflow: Any, cluster: Cluster, console: Console) -> None:
    run_id = start(kubeflow, cluster, ("RUNNING", tasks()))
    kubeflow.state.token = "renewed"
    with pytest.raises(AssayError, match=r"sign-in has expired"):
        watch(cluster, run_id, console, poll_seconds=0)


def test_a_run_that_is_not_there(cluster: Cluster, console: Console) -> None:
    with pytest.raises(AssayError, match=r"Run absent not found"):
        watch(cluster, "absent", console, poll_seconds=0)


def test_runs_are_listed_newest_first(kubeflow: Any, cluster: Cluster) -> None:
    assert list_runs(cluster, 5) == []
    ids = [start(kubeflow, cluster, ("RUNNING", [])) for _ in range(3)]
    kubeflow.add_run(display_name="of another experiment", experiment_id="other")
    assert [run.run_id for run in list_runs(cluster, 2)] == [ids[2], ids[1]]
