"""The Job that runs the workers of a search, made from the pod of the step that is their chief: plain JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from assay.errors import InputError
from assay.search.group import MACHINE_FAULT, NODE_VARIABLE

# JSON that the pipeline's placement may set on the step: resources, nodeSelector, tolerations, affinity...
PROFILE_VARIABLE = "ASSAY_SEARCH_WORKER_POD"
PROFILE_KEYS = ("resources", "nodeSelector", "tolerations", "affinity", "serviceAccountName", "priorityClassName")
SEARCH_LABEL = "assay.dev/search"
CONTAINER = "worker"
# Of the step's volumes these belong to a pod's work; others are the workflow engine's or are mounted by themselves.
SHARED_VOLUMES = ("persistentVolumeClaim", "emptyDir", "configMap", "secret", "nfs", "csi", "hostPath")
ENGINE_VOLUMES = ("var-run-argo", "tmp-dir-argument", "kfp-launcher", "kube-api-access", "gcs-", "workspace-argo")
ENGINE_VARIABLES = ("ARGO_", "KFP_", "KERASTUNER_", "METADATA_")
KEEP_SECONDS = 600
# Kubernetes ends a Job after so long at the latest, whatever becomes of its chief.
LONGEST_SECONDS = 24 * 3600
FAILURE_POLICY = {
    "rules": [
        # A pod that its node gave up (spot, drain) is not the worker's fault.
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {
            "action": "FailJob",
            # The chief's step ends with the Job, and after a fault of the machine it is tried again.
            "onExitCodes": {
                "containerName": CONTAINER,
                "operator": "In",
                "values": [InputError.exit_code, MACHINE_FAULT],
            },
        },
    ]
}


# The node's name, for the record of each trial.
NODE = {"name": NODE_VARIABLE, "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}


def worker_job(
    pod: Mapping[str, Any],
    *,
    search: str,
    workers: int,
    spec_uri: str,
    host: str,
    port: int,
    restarts: int,
    deadline_seconds: int | None = None,
    profile: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the Job that runs the workers of a search.

    Args:
        pod: The step's own pod, as the API gives it (JSON, camel case).
        search: Key of the search, for names and labels.
        workers: Number of pods.
        spec_uri: Address of the file that tells a worker what to do.
        host: The chief's address.
        port: The chief's port.
        restarts: Times that each worker is started again.
        deadline_seconds: After so long Kubernetes itself ends the Job; None: after the step's own limit, or a day.
        profile: What takes the place of the step's own values: ``resources`` of the container, and of the pod
            ``nodeSelector``, ``tolerations``, ``affinity``, ``serviceAccountName``, ``priorityClassName``.

    Returns:
        The manifest, JSON.

    Raises:
        InputError: The profile has an unknown key.
    """
    profile = _checked(profile or {})
    metadata = pod["metadata"]
    labels = {"app.kubernetes.io/name": "assay-search-worker", SEARCH_LABEL: search}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": f"assay-search-{search[:12]}-{metadata['uid'][:8]}",
            "namespace": metadata["namespace"],
            "labels": labels,
            "ownerReferences": [_owner(metadata)],
        },
        "spec": _without_empty(
            {
                "completionMode": "Indexed",
                "completions": workers,
                "parallelism": workers,
                "backoffLimitPerIndex": restarts,
                "activeDeadlineSeconds": deadline_seconds
                or pod["spec"].get("activeDeadlineSeconds")
                or LONGEST_SECONDS,
                "ttlSecondsAfterFinished": KEEP_SECONDS,
                "podFailurePolicy": FAILURE_POLICY,
                "template": {
                    "metadata": {"labels": labels, "annotations": {"sidecar.istio.io/inject": "false"}},
                    "spec": _worker_pod(pod["spec"], profile, spec_uri, host, port),
                },
            }
        ),
    }


def worker_profile(text: str) -> dict[str, Any]:
    """Return what takes the place of the step's own values in a worker's pod.

    Args:
        text: JSON, the value of ``ASSAY_SEARCH_WORKER_POD``; empty: nothing does.

    Raises:
        InputError: It is no JSON object, or has an unknown key.
    """
    try:
        profile = json.loads(text or "{}")
    except ValueError as error:
        raise InputError(f"{PROFILE_VARIABLE}: not JSON ({error}). Received: {text[:80]!r}") from error
    if not isinstance(profile, dict):
        raise InputError(f"{PROFILE_VARIABLE}: must be a JSON object. Received: {text[:80]!r}")
    return dict(_checked(profile))


def _checked(profile: Mapping[str, Any]) -> Mapping[str, Any]:
    unknown = sorted(set(profile) - set(PROFILE_KEYS))
    if unknown:
        raise InputError(f"{PROFILE_VARIABLE}: unknown key {', '.join(unknown)}. Known: {', '.join(PROFILE_KEYS)}.")
    return profile


def _owner(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the reference by which Kubernetes removes the Job with the step's pod."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": False,
        "blockOwnerDeletion": False,
    }


def _worker_pod(
    spec: Mapping[str, Any], profile: Mapping[str, Any], spec_uri: str, host: str, port: int
) -> dict[str, Any]:
    """Return the pod of one worker: the step's own, with the profile's values in the place of its."""
    volumes = [volume for volume in spec.get("volumes", []) if _is_shared(volume)]
    own = {**spec, "tolerations": _own_tolerations(spec)}
    container = _worker_container(_step_container(spec), profile, spec_uri, host, port, volumes)
    return _without_empty(
        {
            "restartPolicy": "Never",
            "containers": [container],
            "volumes": volumes,
            "imagePullSecrets": spec.get("imagePullSecrets"),
            "securityContext": spec.get("securityContext"),
            **{key: profile.get(key, own.get(key)) for key in PROFILE_KEYS if key != "resources"},
        }
    )


def _worker_container(
    step: Mapping[str, Any],
    profile: Mapping[str, Any],
    spec_uri: str,
    host: str,
    port: int,
    volumes: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return the step's container with a worker in it, which finds the chief by KerasTuner's variables."""
    names = {volume["name"] for volume in volumes}
    kept = [variable for variable in step.get("env", []) if not variable["name"].startswith(ENGINE_VARIABLES)]
    chief = {"KERASTUNER_ORACLE_IP": host, "KERASTUNER_ORACLE_PORT": str(port), "PYTHONUNBUFFERED": "1"}
    return _without_empty(
        {
            "name": CONTAINER,
            "image": step["image"],
            "imagePullPolicy": step.get("imagePullPolicy"),
            "command": [sys.executable, "-m", "assay.search.workers", spec_uri],
            "workingDir": step.get("workingDir"),
            "env": [*kept, *({"name": name, "value": value} for name, value in chief.items()), NODE],
            "envFrom": step.get("envFrom"),
            "resources": profile.get("resources", step.get("resources")),
            "securityContext": step.get("securityContext"),
            "volumeMounts": [mount for mount in step.get("volumeMounts", []) if mount["name"] in names],
        }
    )


def _step_container(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the container that does a step's work: the workflow engine calls it main."""
    containers = spec["containers"]
    return next((container for container in containers if container["name"] == "main"), containers[0])


def _is_shared(volume: Mapping[str, Any]) -> bool:
    return any(kind in volume for kind in SHARED_VOLUMES) and not volume["name"].startswith(ENGINE_VOLUMES)


def _own_tolerations(spec: Mapping[str, Any]) -> list[Any]:
    """Return the pod's tolerations without those that Kubernetes adds to every pod by itself."""
    own = spec.get("tolerations", [])
    return [toleration for toleration in own if not toleration.get("key", "").startswith("node.kubernetes.io/")]


def _without_empty(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value not in (None, [], {})}
