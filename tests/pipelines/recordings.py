"""Runs of a real Kubeflow Pipelines 2.17.0, as its API and Kubernetes gave them, played back moment by moment.

The recordings, ``../shared/cluster/recordings``, hold how each run, its workflow and its pods stood at the end.
What they were before follows from the times in them: Kubeflow's history of states, Argo's starts and ends, the
containers' starts and ends.
"""

from __future__ import annotations

import copy
import functools
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

LOOK_SECONDS = 10
NOT_YET = "0001-01-01T00:00:00Z"
FINISHED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")


def at(text: str | None) -> datetime:
    """Return a time; the end of days where there is none."""
    return datetime.fromisoformat(text) if text else datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Recording:
    """One recorded run.

    Attributes:
        kind: What is special about it.
        run: The API's answer.
        workflow: The workflow, where there was one left to record.
        pods: Those left to record.
    """

    kind: str
    run: dict[str, Any]
    workflow: dict[str, Any] | None
    pods: list[dict[str, Any]]

    @classmethod
    def load(cls, shared: Path, kind: str) -> Recording:
        """Read a recording."""
        folder = shared / "cluster" / "recordings"

        def read(what: str) -> Any:
            path = folder / f"{what}-{kind}.json"
            return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

        return cls(kind, read("run"), read("workflow"), read("pods") or [])

    @property
    def run_id(self) -> str:
        """The run's id."""
        return str(self.run["run_id"])

    @functools.cached_property
    def moments(self) -> list[datetime]:
        """The times of looks, ten seconds apart, from the start until after the end."""
        began = at(self.run["created_at"])
        changes = self.run["state_history"]
        ended = max(at(change["update_time"]) for change in changes)
        if self.run["state"] not in FINISHED:
            ended += timedelta(minutes=5)
        count = int((ended - began).total_seconds() // LOOK_SECONDS) + 2
        return [began + timedelta(seconds=LOOK_SECONDS * look) for look in range(count)]

    def run_at(self, now: datetime) -> dict[str, Any]:
        """Return the API's answer at a moment."""
        run = {**self.run}
        past = [change for change in run["state_history"] if at(change["update_time"]) <= now]
        if len(past) == len(run["state_history"]):
            return run
        run["state_history"] = past
        run["state"] = past[-1]["state"] if past else "PENDING"
        run["finished_at"] = "1970-01-01T00:00:00Z"
        tasks = []
        for task in run["run_details"]["task_details"]:
            seen = [change for change in task.get("state_history", ()) if at(change["update_time"]) <= now]
            if not seen:
                continue
            task = {**task}
            task["state_history"] = seen
            if "state" in seen[-1]:
                task["state"] = seen[-1]["state"]
            if seen[-1].get("state") in ("PENDING", "RUNNING"):
                task["end_time"] = NOT_YET
            tasks.append(task)
        run["run_details"] = {"task_details": tasks}
        return run

    def workflow_at(self, now: datetime) -> dict[str, Any] | None:
        """Return the workflow at a moment."""
        if self.workflow is None or at(self.workflow["status"]["finishedAt"]) <= now:
            return self.workflow
        workflow = copy.deepcopy(self.workflow)
        status = workflow["status"]
        status.pop("message", None)
        status["phase"], status["finishedAt"] = "Running", None
        canceling = [change for change in self.run["state_history"] if change["state"] == "CANCELING"]
        if canceling and now < at(canceling[0]["update_time"]):
            workflow["spec"]["activeDeadlineSeconds"] = 3600
        pods = {pod["metadata"]["name"].rsplit("-", 1)[-1]: pod for pod in self.pods}
        status["nodes"] = {name: node for name, node in status["nodes"].items() if at(node["startedAt"]) <= now}
        for name, node in status["nodes"].items():
            if at(node.get("finishedAt")) > now:
                node.pop("message", None)
                pod = pods.get(name.rsplit("-", 1)[-1])
                begun = pod is None or began(pod) <= now
                node["phase"], node["finishedAt"] = "Running" if begun else "Pending", None
        return workflow

    def pods_at(self, now: datetime) -> list[dict[str, Any]]:
        """Return the pods at a moment."""
        found = []
        for recorded in self.pods:
            if at(recorded["metadata"]["creationTimestamp"]) > now:
                continue
            pod = copy.deepcopy(recorded)
            states = pod["status"]["containerStatuses"]
            ends = [at((one["state"].get("terminated") or {}).get("finishedAt")) for one in states]
            if max(ends) > now:
                pod["status"] |= {"reason": None, "message": None}
                pod["status"]["phase"] = "Running" if began(pod) <= now else "Pending"
                for one in states:
                    ended = one["state"].get("terminated") or {}
                    if at(ended.get("startedAt")) > now:
                        one["state"] = {"waiting": {"reason": "PodInitializing"}}
                    elif at(ended.get("finishedAt")) > now:
                        one["state"] = {"running": {"startedAt": ended["startedAt"]}}
            found.append(pod)
        return found


def began(pod: dict[str, Any]) -> datetime:
    """Return when a pod's own container began."""
    main = next(one for one in pod["status"]["containerStatuses"] if one["name"] == "main")
    return at((main["state"].get("terminated") or main["state"].get("running") or {}).get("startedAt"))


def recorded_log(shared: Path, name: str) -> str:
    """Return what a step's container printed."""
    return (shared / "cluster" / "recordings" / f"log-{name}.txt").read_text(encoding="utf-8")
