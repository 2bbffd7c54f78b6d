"""Looks at Kubeflow itself: whether it answers and in which version, what it tries again and when, who makes room.

How it must be set up is in manifests/kubeflow and manifests/base/priorities.yaml. A run succeeds without most of it, as
long as nothing goes wrong: that is a note. What keeps its pods from starting is missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

import yaml

from assay.config import RunConfig
from assay.errors import AssayError
from assay.observability.last_words import WRONG_INPUT
from assay.search.job import PROFILE_VARIABLE, worker_profile
from pipelines.cluster.client import connect, health
from pipelines.cluster.findings import Finding, State
from pipelines.settings import Settings

SECONDS = 10
CONTROLLER_CONFIG = "workflow-controller-configmap"
REQUEUE_TIME, SPEC_PATCH = "DEFAULT_REQUEUE_TIME", "COMPILED_PIPELINE_SPEC_PATCH"
# Argo's own, and the longest with which a run of short steps does not mostly wait.
OWN_REQUEUE_SECONDS, MOST_REQUEUE_SECONDS = 10.0, 2.0
SET_UP = "`manifests/kubeflow.sh gke` (or kind) sets it"
DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def answers(settings: Settings) -> Iterator[Finding]:
    """Yield whether Kubeflow Pipelines answers, and in which version."""
    subject = "Kubeflow Pipelines"
    try:
        cluster = connect(settings)
        found = str(health(cluster).get("tag_name") or "")
    except AssayError as error:
        yield Finding(subject, State.MISSING, str(error))
        return
    ours = version("kfp")
    if not re.match(r"v?\d", found) or found.removeprefix("v") == ours:
        shown = f"version {ours}" if found.removeprefix("v") == ours else "it does not say its version"
        yield Finding(subject, State.THERE, f"{cluster.host} answers, {shown}")
        return
    said = f"{cluster.host} answers with version {found}; this client is made for {ours}, and seen with it alone."
    yield Finding(subject, State.NOTE, f"{said} `manifests/kubeflow.sh gke` (or kind) installs that one.")


def _retries(subject: str, core: Any, config: RunConfig, settings: Settings) -> Iterator[Finding]:
    """Yield whether the engine tries again what failed, and not what is wrong input."""
    from kubernetes.client import ApiException

    try:
        found = core.read_namespaced_config_map(CONTROLLER_CONFIG, settings.namespace, _request_timeout=SECONDS)
    except ApiException as error:
        if error.status != 404:
            raise
        said = f"there is no {CONTROLLER_CONFIG} in the namespace {settings.namespace}: the engine is not there."
        yield Finding(subject, State.NOTE, f"{said} Its defaults were not looked at.")
        return
    strategy = retry_defaults((found.data or {}).get("workflowDefaults") or "")
    policy = strategy.get("retryPolicy") or "none"
    if policy != "Always":
        said = f"{CONTROLLER_CONFIG} has retryPolicy {policy}: a process that is killed or out of memory ends the run."
        yield Finding(subject, State.NOTE, f"{said} Always is wanted; {SET_UP}.")
    elif WRONG_INPUT not in str(strategy.get("expression") or ""):
        said = f"{CONTROLLER_CONFIG} tries wrong input again as well, and layers of a graph multiply the attempts."
        yield Finding(subject, State.NOTE, f"{said} The expression is missing; {SET_UP}.")
    else:
        yield Finding(subject, State.THERE, "what fails is tried again, but for wrong input")


def worker_pods(config: RunConfig) -> int:
    """Return how many pods of its own the search of a run has; inside a fold it has none."""
    wanted = config.search.enabled and config.search.in_pods and not config.validate.folds
    return config.search.workers if wanted else 0


def retry_defaults(text: str) -> Mapping[str, Any]:
    """Return the retry strategy in the engine's defaults for workflows.

    Args:
        text: YAML, as the engine's config map has it; whatever is no such thing has no strategy.
    """
    try:
        found: Any = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    for name in ("spec", "templateDefaults", "retryStrategy"):
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _requeue_time(subject: str, core: Any, config: RunConfig, settings: Settings) -> Iterator[Finding]:
    """Yield how soon the engine looks again at a run."""
    pod = _pod_of(core, settings, "workflow-controller")
    if pod is None:
        said = f"no workflow-controller runs in the namespace {settings.namespace}"
        yield Finding(subject, State.NOTE, f"{said}: no run goes on without one. {_look_at(settings)}")
        return
    seconds = parse_duration(_variables(pod).get(REQUEUE_TIME, ""), OWN_REQUEUE_SECONDS)
    if seconds <= MOST_REQUEUE_SECONDS:
        yield Finding(subject, State.THERE, f"the engine looks again at a run after {seconds:g} s")
        return
    said = f"the engine looks again at a run after {seconds:g} s at the earliest: each step waits for that."
    yield Finding(subject, State.NOTE, f"{said} {REQUEUE_TIME} of 200ms is wanted; {SET_UP}.")


def parse_duration(text: str, otherwise: float) -> float:
    """Return the seconds of a duration such as 1s or 1m30s; ``otherwise`` where it is none."""
    parts = DURATION.findall(text)
    if not parts or "".join(map("".join, parts)) != text:
        return otherwise
    return sum(float(number) * UNITS[unit] for number, unit in parts)


def _priorities(subject: str, core: Any, config: RunConfig, settings: Settings) -> Iterator[Finding]:
    """Yield whether the classes that pods are given are there, and whether runs leave Kubeflow itself alone."""
    from kubernetes import client

    listed = client.SchedulingV1Api(core.api_client).list_priority_class(_request_timeout=SECONDS).items
    classes = {one.metadata.name: one for one in listed}
    server = _pod_of(core, settings, "ml-pipeline")
    of_runs = _class_of_runs(_variables(server).get(SPEC_PATCH, "")) if server is not None else ""
    of_workers = worker_profile(settings.environment.get(PROFILE_VARIABLE, "")).get("priorityClassName", "")
    wanted = {of_runs: "Kubeflow gives to every pod of a run"}
    if worker_pods(config):
        wanted.setdefault(of_workers, f"{PROFILE_VARIABLE} gives to search workers")
    absent = [f"{name}, which {whose}" for name, whose in wanted.items() if name and name not in classes]
    for one in absent:
        way_out = "`kubectl apply -f manifests/base/priorities.yaml`"
        yield Finding(subject, State.MISSING, f"there is no class {one}: such pods are refused. {way_out}")
    if absent:
        return
    own = classes.get(of_runs) or next((one for one in listed if one.global_default), None)
    value, never = (own.value, own.preemption_policy == "Never") if own else (0, False)
    of_kubeflow = (server.spec.priority or 0) if server is not None else 0
    if server is not None and value > of_kubeflow and not never:
        said = f"pods of runs ({value}) drive out Kubeflow's own ({of_kubeflow}) where nodes are full, and runs fail."
        yield Finding(subject, State.NOTE, f"{said} Classes of manifests/base/priorities.yaml are wanted; {SET_UP}.")
        return
    yield Finding(subject, State.THERE, "runs leave Kubeflow's own pods alone")


def _class_of_runs(patch: str) -> str:
    """Return the priority class in what Kubeflow's server lays over every workflow; empty: none."""
    try:
        found = json.loads(patch or "{}")
    except ValueError:
        return ""
    return str(found.get("podPriorityClassName") or "") if isinstance(found, dict) else ""


def _pod_of(core: Any, settings: Settings, app: str) -> Any | None:
    """Return a pod of one of Kubeflow's own programs, or None."""
    found = core.list_namespaced_pod(settings.namespace, label_selector=f"app={app}", _request_timeout=SECONDS).items
    return next((pod for pod in found if pod.status.phase == "Running"), None)


def _variables(pod: Any) -> dict[str, str]:
    return {one.name: one.value or "" for container in pod.spec.containers for one in container.env or ()}


def _look_at(settings: Settings) -> str:
    return f"Look: kubectl -n {settings.namespace} get pods -l app=workflow-controller"


LOOKS = {"retries": _retries, "requeue time": _requeue_time, "priorities": _priorities}
