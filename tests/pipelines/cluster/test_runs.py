"""Runs on the server: how they stand, which there are, and ending one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pipelines.cluster.client import Cluster
from pipelines.cluster.runs import cancel, ended_as, list_runs, state_of, title_of
from tests.pipelines.recordings import Recording


def start(kubeflow: Any, cluster: Cluster, *script: str) -> str:
    kubeflow.state.script = list(script)
    return str(kubeflow.add_run(display_name="tiny", experiment_id=cluster.experiment())["run_id"])


def test_a_run_that_was_ended_is_cancelled_and_one_that_failed_is_not(
    kubeflow: Any, cluster: Cluster, shared: Path
) -> None:
    recordings = [Recording.load(shared, kind) for kind in ("cancelled", "run-deadline", "succeeded")]
    runs = [cluster.run(kubeflow.play(one, looks=10**6)) for one in recordings]
    assert [run.state for run in runs] == ["FAILED", "FAILED", "SUCCEEDED"]
    assert [state_of(run) for run in runs] == ["CANCELED", "FAILED", "SUCCEEDED"]


def test_a_run_whose_end_came_at_once_is_cancelled_though_its_history_does_not_say_so(
    kubeflow: Any, cluster: Cluster, shared: Path
) -> None:
    recorded = {kind: Recording.load(shared, kind) for kind in ("cancelled", "run-deadline")}
    # As a real server left a run that was cancelled before its first step had begun.
    history = [one for one in recorded["cancelled"].run["state_history"] if one["state"] != "CANCELING"]
    run = {**recorded["cancelled"].run, "state_history": history}
    quick = Recording("cancelled", run, recorded["cancelled"].workflow, recorded["cancelled"].pods)
    found = [cluster.run(kubeflow.play(one, looks=10**6)) for one in (quick, recorded["run-deadline"])]
    assert [state_of(run) for run in found] == ["FAILED", "FAILED"]
    assert [ended_as(cluster, run) for run in found] == ["CANCELED", "FAILED"]


def test_a_run_of_a_schedule_is_called_by_its_config(kubeflow: Any, cluster: Cluster, shared: Path) -> None:
    scheduled, submitted = (
        cluster.run(kubeflow.play(Recording.load(shared, kind))) for kind in ("scheduled", "cached")
    )
    assert re.fullmatch(r"assayscl-sched\w+-1-\d+", scheduled.display_name), "as a real server calls it"
    assert title_of(scheduled) == "scheduled scl-sched"
    assert title_of(submitted) == submitted.display_name


def test_ending_a_run(kubeflow: Any, cluster: Cluster) -> None:
    run_id = start(kubeflow, cluster, "RUNNING")
    assert cancel(cluster, run_id) == "RUNNING"
    assert state_of(cluster.run(run_id)) == "CANCELED"
    assert cancel(cluster, run_id) == "CANCELED"


def test_a_run_that_has_ended_is_not_cancelled(kubeflow: Any, cluster: Cluster) -> None:
    run_id = start(kubeflow, cluster, "SUCCEEDED")
    assert cancel(cluster, run_id) == "SUCCEEDED"
    assert not any(asked.endswith(":terminate") for asked in kubeflow.state.requests)


def test_a_run_that_is_being_ended_is_not_asked_again(kubeflow: Any, cluster: Cluster) -> None:
    run_id = start(kubeflow, cluster, "RUNNING")
    kubeflow.change(run_id, "CANCELING")
    kubeflow.state.runs[run_id]["abandoned"] = True
    assert cancel(cluster, run_id) == "CANCELING"
    assert not any(asked.endswith(":terminate") for asked in kubeflow.state.requests)


def test_runs_are_listed_newest_first(kubeflow: Any, cluster: Cluster) -> None:
    assert list_runs(cluster, 5) == []
    ids = [start(kubeflow, cluster, "RUNNING") for _ in range(3)]
    kubeflow.add_run(display_name="of another experiment", experiment_id="other")
    assert [run.run_id for run in list_runs(cluster, 2)] == [ids[2], ids[1]]
