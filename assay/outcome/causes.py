"""Why a step waits, was lost or failed, in the words of whoever submitted it, and what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass

from assay.observability.durations import format_seconds
from assay.observability.last_words import BUG, ENDED, WRONG
from assay.outcome.logs import StepLog
from assay.outcome.pods import Pod
from assay.outcome.workflow import Node, Workflow

AGAIN = "Submit again: what is done comes from the cache, and a training goes on from its checkpoint."
PULLS = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ErrImageInspect")
STARTING = ("ContainerCreating", "PodInitializing")
# A pod's own reason, or the reason of its condition DisruptionTarget: which of them, Kubernetes decides.
DISRUPTIONS = {
    "PreemptionByScheduler": "a pod of higher priority took its place",
    "Preempting": "a pod of higher priority took its place",
    "DeletionByTaintManager": "its node {node} was lost",
    "NodeLost": "its node {node} was lost",
    "DeletionByPodGC": "its node {node} was lost",
    "EvictionByEvictionAPI": "its node {node} was drained",
    "TerminationByKubelet": "its node {node} ended it",
    "Evicted": "its node {node} ran short",
    "NodeShutdown": "its node {node} was shut down, as spot nodes are",
    "Shutdown": "its node {node} was shut down, as spot nodes are",
    "Terminated": "its node {node} was shut down, as spot nodes are",
}
NOT_NODES = re.compile(r" no new claims to deallocate| preemption:")
QUOTA = re.compile(r"exceeded quota: (?P<name>[^,]+), (?P<numbers>requested: .*)")
# Kubeflow's metadata: what begins a step was lost after it had written itself down, and written down again.
TWICE = re.compile(r'two tasks have the same task name "(?P<task>[^"]+)"')
ARGO_MESSAGE = re.compile(r"^\w+: \w+ \(exit code (\d+)\)(?:: (?P<said>.*))?$")
TRACEBACK = re.compile(r"^(\w+\.)*\w*(Error|Exception|Interrupt|Exit)\b")


@dataclass(frozen=True)
class Cause:
    """Why something is as it is.

    Attributes:
        said: In a few words.
        way_out: What to do; empty: that is said already, or nothing is to be done.
        wrong_input: Whether the same again would meet the same.
        own: Whether the step itself said it, so that its log adds nothing.
        lines: The last lines of its log, where they say more.
    """

    said: str
    way_out: str = ""
    wrong_input: bool = False
    own: bool = False
    lines: tuple[str, ...] = ()


def why_waiting(node: Node | None, pod: Pod | None) -> Cause | None:
    """Return what a step waits for; None: it is about to start.

    Args:
        node: Of its pod, in the workflow.
        pod: The pod, where it can be seen.
    """
    if pod is not None:
        for state in pod.containers().values():
            waiting = state.get("waiting") or {}
            reason, said = str(waiting.get("reason") or ""), " ".join(str(waiting.get("message") or "").split())
            if reason and reason not in STARTING:
                return _of_container(reason, said)
        scheduled = pod.condition("PodScheduled")
        if scheduled.get("reason") == "Unschedulable":
            return _unschedulable(str(scheduled.get("message") or ""))
        if pod.node:
            return None
    message = node.message if node is not None else ""
    quota = QUOTA.search(message)
    if quota:
        return Cause(
            f"the quota {quota['name']} leaves no room ({quota['numbers']})", "Wait for other runs, or raise it."
        )
    reason, _, said = message.partition(": ")
    if reason == "Unschedulable":
        return _unschedulable(said)
    return _of_container(reason, said) if reason in PULLS else None


def _unschedulable(said: str) -> Cause:
    # What follows is about devices to be freed, and about which other pods could be ended for it.
    nodes = NOT_NODES.split(" ".join(said.split()))[0].rstrip("., ")
    return Cause(f"no node takes it now ({nodes})", "It starts when one does; `make preflight` says whether any can.")


def _of_container(reason: str, said: str) -> Cause:
    if reason in PULLS:
        return Cause(
            f"its image cannot be had ({said or reason})",
            "`make push`, or on kind `make load`; see docs/cluster.md, troubleshooting.",
        )
    return Cause(f"its container does not start ({reason}{f': {said}' if said else ''})")


def why_lost(node: Node, pod: Pod | None, node_problem: str = "") -> Cause | None:
    """Return what took an attempt away from outside; None: nothing did.

    Args:
        node: Of its pod, in the workflow.
        pod: The pod, where it is still there.
        node_problem: What is wrong with the machine that it was on.
    """
    where = (pod.node if pod else "") or node.host or "it was on"
    if pod is not None:
        disrupted = pod.condition("DisruptionTarget")
        for reason in (str(disrupted.get("reason") or ""), pod.reason):
            if reason in DISRUPTIONS:
                said = DISRUPTIONS[reason].format(node=where)
                detail = pod.message if reason == "Evicted" else ""
                return Cause(f"{said}{f' ({detail})' if detail else ''}", AGAIN)
    if "pod deleted" in node.message or "can't find failed message" in node.message:
        return Cause(f"its node {where} {node_problem}" if node_problem else "its pod was deleted", AGAIN)
    if "imminent node shutdown" in node.message or "node shutdown" in node.message.lower():
        return Cause(DISRUPTIONS["NodeShutdown"].format(node=where), AGAIN)
    return None


def why_failed(
    workflow: Workflow | None,
    node: Node | None,
    pod: Pod | None,
    log: StepLog,
    step: str,
    profile: str = "",
    node_problem: str = "",
) -> Cause:
    """Return why an attempt failed.

    Args:
        workflow: Of the run, where it can be had.
        node: Of the attempt's pod, in the workflow.
        pod: The pod, where it is still there.
        log: What it printed.
        step: Its name, as the settings have it.
        profile: The kind of machine that the settings give it; empty: its pod says it, or nobody does.
        node_problem: What is wrong with the machine that it was on.
    """
    message = node.message if node is not None else ""
    argo = ARGO_MESSAGE.match(message)
    main, wait = (pod.ended("main"), pod.ended("wait")) if pod is not None else ({}, {})
    lost = why_lost(node, pod, node_problem) if node is not None else None
    profile = profile or (pod.profile if pod is not None else "")
    of_profile = f"the profile {profile}" if profile else "its profile"
    if lost is not None:
        return lost
    if "DeadlineExceeded" in (pod.reason if pod else "") or "longer than the specified deadline" in message:
        limit = pod.resource["spec"].get("activeDeadlineSeconds") if pod is not None else None
        return Cause(
            f"it took longer than {f'the {format_seconds(limit)} that ' if limit else ''}a pod may",
            f"Raise timeout_minutes of {of_profile}, or train less. {AGAIN}",
        )
    if main.get("reason") == "OOMKilled" or "OOMKilled" in message:
        limit = f" at its limit of {pod.memory_limit}" if pod is not None and pod.memory_limit else ""
        return Cause(
            f"out of memory: it was ended{limit}",
            f"Give {of_profile} more memory (ASSAY_PROFILES__{profile.upper() or 'NAME'}__MEMORY), or take a smaller "
            "batch_size or image_size.",
        )
    if workflow is not None and workflow.was_ended:
        return Cause("it was ended with the run")
    if "exceeded its deadline" in f"{message} {wait.get('message') or ''}" or "exceeded workflow deadline" in message:
        if workflow is None or workflow.past_deadline:
            return past_deadline(workflow)
        return Cause(
            "it was ended at the limit for all attempts at it together",
            f"Raise run_deadline_hours: that limit lies beyond it. {AGAIN}",
        )
    said = " ".join(str(main.get("message") or (argo["said"] if argo else "") or "").split())
    if said.startswith(BUG):
        return Cause(f"a bug: {said.removeprefix(BUG)}", "Report it with its log.", lines=log.lines[-8:])
    if said.startswith(ENDED):
        return Cause("it was asked to end, and Kubernetes does not say by whom", AGAIN)
    if said:
        return _own_words(said, step)
    if log.kubeflow and log.code is None and not log.signal:
        return of_kubeflow(log.kubeflow, "Kubeflow could not go on with it", lines=log.lines[-3:])
    if log.signal:
        return Cause(f"its process was ended by a signal ({log.signal})", AGAIN, lines=log.lines[-3:])
    if log.lines:
        last = log.lines[-1].strip()
        if TRACEBACK.match(last):
            return Cause(f"a bug: {last}", "Report it with its log.", lines=log.lines[-8:])
        return _own_words(f"{WRONG if log.code == 2 else ''}{last}", step)
    code = main.get("exitCode") or (argo[1] if argo else None)
    if code in (143, "143"):
        return Cause("it was asked to end, and Kubernetes does not say by whom", AGAIN)
    return Cause(f"its process ended with {code}" if code else "Kubernetes does not say why", "See its log.")


def of_kubeflow(said: str, what: str, lines: tuple[str, ...] = ()) -> Cause:
    """Return the cause of what Kubeflow's own programs around a step failed with.

    Args:
        said: Their last error; empty: it cannot be had.
        what: What they failed at, in words.
        lines: The last lines of the step's own log.
    """
    twice = TWICE.search(said)
    if twice:
        return Cause(
            f"Kubeflow lost the pod that begins {twice['task']} after it had written {twice['task']} down, wrote it "
            "down a second time and cannot tell the two apart in this run",
            AGAIN,
        )
    return Cause(f"{what}{f': {said}' if said else ''}", AGAIN, lines=lines)


def past_deadline(workflow: Workflow | None, what: str = "the run") -> Cause:
    """Return the cause of what was ended at the run's deadline."""
    seconds = workflow.deadline_seconds if workflow is not None else None
    limit = f" of {format_seconds(seconds)}" if seconds else ""
    return Cause(f"{what} took longer than its deadline{limit}", f"Raise run_deadline_hours, or train less. {AGAIN}")


def _own_words(said: str, step: str) -> Cause:
    wrong, bare = said.startswith(WRONG), said.removeprefix(WRONG)
    for name in (step, step.replace("_", "-"), step.replace("-", "_")):
        bare = bare.removeprefix(f"{name}: ")
    return Cause(bare, wrong_input=wrong, own=True)
