"""Runs on the server: how they stand, which there are, and ending one."""

from __future__ import annotations

from typing import Any

from pipelines.cluster.client import Cluster
from pipelines.cluster.pods import kept_workflow

SUCCEEDED, FAILED, CANCELED, SKIPPED = "SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"
CANCELING, PENDING = "CANCELING", "PENDING"
FINISHED = (SUCCEEDED, FAILED, CANCELED, SKIPPED)


def state_of(run: Any) -> str:
    """Return how a run stands, in Kubeflow's words.

    The server calls a run that someone ended FAILED; that it was CANCELING before tells the two apart.
    """
    state = str(run.state or PENDING)
    before = [change.state for change in run.state_history or ()]
    return CANCELED if state == FAILED and CANCELING in before else state


def ended_as(cluster: Cluster, run: Any) -> str:
    """Return how a run stands, with a look at its workflow where the server alone does not tell.

    A run whose end comes at once never was CANCELING in the server's history; its workflow has no time left then.
    """
    state = state_of(run)
    if state != FAILED:
        return state
    workflow = kept_workflow(cluster, str(run.run_id))
    return CANCELED if workflow is not None and workflow.was_ended else FAILED


def title_of(run: Any) -> str:
    """Return what a run is shown as; Kubeflow gives the runs of a schedule names that nobody can read."""
    given = (run.runtime_config.parameters if run.runtime_config else None) or {}
    if run.recurring_run_id and given.get("name"):
        return f"scheduled {given['name']}"
    return str(run.display_name or "")


def cancel(cluster: Cluster, run_id: str) -> str:
    """End a run, and return its state before.

    A run that has ended stays as it is, and so does one that is being ended: a server whose workflow is gone would call
    a second time an error of its own.
    """
    before = state_of(cluster.run(run_id))
    if before not in (*FINISHED, CANCELING):
        cluster.change(cluster.kfp.runs.run_service_terminate_run, run_id=run_id)
    return before


def list_runs(cluster: Cluster, limit: int) -> list[Any]:
    """Return the latest runs of the settings' experiment, newest first."""
    experiment = cluster.find_experiment()
    if experiment is None:
        return []
    asked: dict[str, Any] = {"experiment_id": experiment, "page_size": limit, "sort_by": "created_at desc"}
    page = cluster.read(cluster.kfp.runs.run_service_list_runs, **asked, **cluster.scope)
    return list(page.runs or ())
