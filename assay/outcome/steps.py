"""The steps of a run and the attempts at them, put together from Kubeflow's tasks, Argo's workflow and the pods."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from assay.outcome.pods import WORKFLOW_LABEL, Pod
from assay.outcome.workflow import ACTIVE, NOT_RUN, Node, Workflow

WAITING, RUNNING, DONE, CACHED, FAILED, LEFT_OUT = "waiting", "running", "done", "cached", "failed", "left out"
# Names of Argo's nodes that stand for no step of ours.
MACHINERY = re.compile(
    r"root|executor|entrypoint|.*-driver|.*\(.*\)|.*\.onExit|(condition|condition-branches|for-loop|exit-handler|iteration)-.*"
)
OF_TASKS = {
    "PENDING": WAITING,
    "RUNNING": RUNNING,
    "SUCCEEDED": DONE,
    "SKIPPED": LEFT_OUT,
    "FAILED": FAILED,
    "CANCELING": RUNNING,
    "CANCELED": FAILED,
    "PAUSED": WAITING,
}


@dataclass(frozen=True)
class Attempt:
    """One pod's work on a step.

    Attributes:
        number: From 1.
        state: waiting, running, done or failed.
        node: Of the pod, in the workflow; None: the workflow cannot be had.
        pod: None: it is gone, or cannot be seen.
    """

    number: int
    state: str
    node: Node | None
    pod: Pod | None

    @property
    def machine(self) -> str:
        """The node of the cluster that it is on; empty: not known."""
        return (self.pod.node if self.pod else "") or (self.node.host if self.node else "")

    @property
    def seconds(self) -> float | None:
        """How long it took; without its pod, its start included."""
        began = self.pod.started if self.pod else None
        ended = self.pod.finished if self.pod else None
        if began is None and self.node is not None:
            began, ended = self.node.started, self.node.finished
        return _between(began, ended)


@dataclass(frozen=True)
class Step:
    """A step of a run.

    Attributes:
        name: As in the graph.
        part: Which round of a loop it is, from 1; None: of no loop.
        state: waiting, running, done, cached, failed or left out.
        label: As the settings name it, for its placement.
        attempts: The first one first.
        task_seconds: How long it took by Kubeflow's account, for want of a better one.
    """

    name: str
    part: int | None
    state: str
    label: str
    attempts: tuple[Attempt, ...] = ()
    task_seconds: float | None = None

    @property
    def title(self) -> str:
        """Its name, with its part."""
        return self.name if self.part is None else f"{self.name} {self.part}"

    @property
    def seconds(self) -> float | None:
        """How long its last attempt took."""
        return self.attempts[-1].seconds if self.attempts else self.task_seconds


def steps_of(run: Any, workflow: Workflow | None, pods: Sequence[Pod]) -> list[Step]:
    """Return the steps of a run that have begun, or been left out, in the order of their start.

    Args:
        run: As the SDK gives it.
        workflow: Its workflow; None: names and states are Kubeflow's, attempts those of the pods that can be seen.
        pods: Its pods, as far as they can be seen.
    """
    if workflow is None:
        return list(_of_tasks(run, pods))
    by_number = {pod.number: pod for pod in pods if _belongs(pod, workflow)}
    found = []
    for node in workflow.steps():
        attempts = tuple(
            Attempt(number, _state(tried), tried, by_number.get(tried.number))
            for number, tried in enumerate(workflow.attempts(node), start=1)
        )
        attempts = tuple(_by_its_pod(attempt) for attempt in attempts)
        label = next(
            (attempt.pod.step for attempt in attempts if attempt.pod and attempt.pod.step), node.name.replace("-", "_")
        )
        state = CACHED if workflow.is_cached(node) else _state(node)
        if state == RUNNING and (not attempts or attempts[-1].state == WAITING):
            state = WAITING
        found.append(
            Step(node.name, workflow.part(node), state, label, attempts, _between(node.started, node.finished))
        )
    return found


def _of_tasks(run: Any, pods: Sequence[Pod]) -> Iterator[Step]:
    details = getattr(run.run_details, "task_details", None) or []
    workflows = {str(child.pod_name).rsplit("-", 1)[0] for task in details for child in task.child_tasks or ()}
    begun = sorted(details, key=lambda task: str(task.start_time or task.create_time or ""))
    for task in begun:
        name = task.display_name or ""
        if not name or MACHINERY.fullmatch(name) or name in workflows:
            continue
        label = name.replace("-", "_")
        attempts = tuple(
            Attempt(number, _state_of_pod(pod), None, pod)
            for number, pod in enumerate((pod for pod in pods if pod.step == label), start=1)
        )
        # A task that was left out has times and no state.
        state = OF_TASKS.get(task.state or "", LEFT_OUT)
        yield Step(name, None, state, label, attempts, _between(task.start_time, task.end_time))


def _belongs(pod: Pod, workflow: Workflow) -> bool:
    return (pod.resource["metadata"].get("labels") or {}).get(WORKFLOW_LABEL) == workflow.name


def _state(node: Node) -> str:
    if node.phase in NOT_RUN:
        return LEFT_OUT
    if node.phase in ACTIVE:
        return WAITING if node.phase != "Running" else RUNNING
    return DONE if node.phase == "Succeeded" else FAILED


def _by_its_pod(attempt: Attempt) -> Attempt:
    """Return an attempt with the state of its pod, which is ahead of Argo's by a tick."""
    if attempt.pod is None or attempt.state not in (WAITING, RUNNING):
        return attempt
    state = _state_of_pod(attempt.pod)
    # Whether it failed is for Argo to say: a pod that is deleted is Failed for a moment and then made again.
    return Attempt(attempt.number, state if state in (WAITING, RUNNING) else RUNNING, attempt.node, attempt.pod)


def _state_of_pod(pod: Pod) -> str:
    if pod.phase in ("Succeeded", "Failed"):
        return DONE if pod.phase == "Succeeded" else FAILED
    return RUNNING if pod.started is not None else WAITING


def _between(began: datetime | None, ended: datetime | None) -> float | None:
    # Kubeflow gives 1970 for what has not ended.
    if began is None or ended is None or ended < began:
        return None
    return (ended - began).total_seconds()
