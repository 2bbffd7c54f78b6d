"""Search workers as pods: one Indexed Job beside the step's own pod. The only module that meets Kubernetes.

The chief is the step itself. Workers run the step's image, as the step's service account, and belong to the step's
pod, so that they vanish with it. A pod that dies is started again under its index and is given its trial back.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from assay.errors import AssayError, InputError
from assay.observability.progress import log
from assay.search.group import MACHINE_FAULT, Poll, worker_id

# JSON that the pipeline's placement may set on the step: resources, nodeSelector, tolerations, affinity...
PROFILE_VARIABLE = "ASSAY_SEARCH_WORKER_POD"
PROFILE_KEYS = ("resources", "nodeSelector", "tolerations", "affinity", "serviceAccountName", "priorityClassName")
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
SEARCH_LABEL = "assay.dev/search"
CONTAINER = "worker"
# Of the step's volumes these belong to a pod's work; others are the workflow engine's or are mounted by themselves.
SHARED_VOLUMES = ("persistentVolumeClaim", "emptyDir", "configMap", "secret", "nfs", "csi", "hostPath")
ENGINE_VOLUMES = ("var-run-argo", "tmp-dir-argument", "kfp-launcher", "kube-api-access", "gcs-", "workspace-argo")
ENGINE_VARIABLES = ("ARGO_", "KFP_", "KERASTUNER_", "METADATA_")
KEEP_SECONDS = 600
POLL_SECONDS = 3.0
PATIENCE = 20  # failed looks at the Job in a row before the search gives up on the cluster
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


def in_cluster() -> bool:
    """Return whether this process runs in a pod that may speak to its cluster."""
    return "KUBERNETES_SERVICE_HOST" in os.environ and (SERVICE_ACCOUNT / "token").is_file()


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
        deadline_seconds: After so long Kubernetes itself ends the Job; None: no limit.
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
                "activeDeadlineSeconds": deadline_seconds,
                "ttlSecondsAfterFinished": KEEP_SECONDS,
                "podFailurePolicy": FAILURE_POLICY,
                "template": {
                    "metadata": {"labels": labels, "annotations": {"sidecar.istio.io/inject": "false"}},
                    "spec": _worker_pod(pod["spec"], profile, spec_uri, host, port),
                },
            }
        ),
    }


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
            "env": [*kept, *({"name": name, "value": value} for name, value in chief.items())],
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


class ClusterWorkers:
    """The workers of one search as pods of an Indexed Job.

    Args:
        search: Key of the search.
        workers: Number of pods.
        spec_uri: Address of the file that tells a worker what to do, readable from every pod.
        restarts: Times that each worker is started again.
        deadline_seconds: After so long Kubernetes itself ends the pods; None: no limit.
    """

    def __init__(
        self, search: str, workers: int, spec_uri: str, *, restarts: int, deadline_seconds: int | None = None
    ) -> None:
        from kubernetes import client

        self.ids = tuple(worker_id(index) for index in range(workers))
        self.search = search
        self.spec_uri = spec_uri
        self.restarts = restarts
        self.deadline_seconds = deadline_seconds
        self._api = _connect()
        self._jobs = client.BatchV1Api(self._api)
        self._pods = client.CoreV1Api(self._api)
        self._pod = self._own_pod()
        self.namespace: str = self._pod["metadata"]["namespace"]
        self._name = ""
        self._lost: set[int] = set()
        self._failures = 0
        self._looked = 0.0
        self._said = ""

    @property
    def host(self) -> str:
        """The address at which pods reach this one."""
        return str(self._pod["status"]["podIP"])

    def start(self, host: str, port: int) -> None:
        """Create the Job, after removing what an earlier try of this search has left."""
        from kubernetes.client import ApiException

        job = worker_job(
            self._pod,
            search=self.search,
            workers=len(self.ids),
            spec_uri=self.spec_uri,
            host=host,
            port=port,
            restarts=self.restarts,
            deadline_seconds=self.deadline_seconds,
            profile=_profile(),
        )
        try:
            left = self._jobs.list_namespaced_job(self.namespace, label_selector=f"{SEARCH_LABEL}={self.search}")
            for old in left.items:
                self._delete(old.metadata.name)
            self._jobs.create_namespaced_job(self.namespace, job)
        except ApiException as error:
            raise AssayError(
                f"search workers: the cluster refused the Job in namespace {self.namespace} ({_reason(error)}). "
                "Allow the step's service account to create, get, list and delete jobs there."
            ) from error
        self._name = job["metadata"]["name"]
        log(f"search: {len(self.ids)} worker pods asked for, Job {self.namespace}/{self._name}")

    def poll(self) -> Poll:
        """Ask for the Job's state, at most every few seconds.

        Raises:
            AssayError: The Job has failed as a whole, is gone, or cannot be asked about for long.
        """
        if time.monotonic() - self._looked < POLL_SECONDS:
            return Poll(finished=False)
        self._looked = time.monotonic()
        status = self._status()
        if status is None:
            return Poll(finished=False)
        for condition in status.conditions or []:
            if condition.type == "Failed" and condition.status == "True" and not status.failed_indexes:
                raise AssayError(
                    f"search workers: Job {self.namespace}/{self._name} failed ({condition.reason}: "
                    f"{condition.message}). See the logs of its pods."
                )
        lost = parse_indexes(status.failed_indexes or "") - self._lost
        self._lost |= lost
        self._tell_what_waits(status)
        done = (status.succeeded or 0) + len(self._lost)
        reason = f"its pod failed more than {self.restarts} times; see the logs of Job {self._name}"
        return Poll(finished=done >= len(self.ids), lost={worker_id(index): reason for index in sorted(lost)})

    def stop(self) -> None:
        """Delete the Job and its pods; what cannot be deleted goes with the step's pod."""
        if self._name:
            self._delete(self._name)

    def _status(self) -> Any:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            status = self._jobs.read_namespaced_job(self._name, self.namespace).status
        except (ApiException, HTTPError) as error:
            gone = isinstance(error, ApiException) and error.status == 404
            self._failures += 1
            if gone or self._failures >= PATIENCE:
                raise AssayError(
                    f"search workers: Job {self.namespace}/{self._name} cannot be seen any more ({_reason(error)}). "
                    "Run the step again: it continues where it stood."
                ) from error
            return None
        self._failures = 0
        return status

    def _tell_what_waits(self, status: Any) -> None:
        """Say once why pods do not start, such as a node pool without GPUs."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        if not status.active or (status.ready or 0) >= status.active:
            return
        try:
            pods = self._pods.list_namespaced_pod(self.namespace, label_selector=f"job-name={self._name}").items
        except (ApiException, HTTPError):
            return
        reasons = sorted(
            condition.message
            for pod in pods
            for condition in pod.status.conditions or []
            if condition.type == "PodScheduled" and condition.status == "False" and condition.message
        )
        said = f"search: {len(reasons)} of {len(self.ids)} worker pods wait for a node: {reasons[0]}" if reasons else ""
        if said and said != self._said:
            log(said)
            self._said = said

    def _delete(self, name: str) -> None:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            self._jobs.delete_namespaced_job(name, self.namespace, propagation_policy="Background")
        except (ApiException, HTTPError) as error:
            if getattr(error, "status", None) != 404:
                log(f"search: Job {self.namespace}/{name} could not be deleted ({_reason(error)}).")

    def _own_pod(self) -> dict[str, Any]:
        from kubernetes.client import ApiException

        name = os.environ.get("KFP_POD_NAME") or os.environ.get("HOSTNAME", "")
        namespace = os.environ.get("KFP_NAMESPACE") or os.environ.get("POD_NAMESPACE") or _namespace()
        try:
            pod = self._pods.read_namespaced_pod(name, namespace)
        except ApiException as error:
            raise AssayError(
                f"search workers: the step's own pod {namespace}/{name} cannot be read ({_reason(error)}). "
                "Allow its service account to get pods, or set search.placement to processes."
            ) from error
        return dict(self._api.sanitize_for_serialization(pod))


def parse_indexes(text: str) -> set[int]:
    """Return the indexes in Kubernetes's notation, such as ``1,3-5``."""
    indexes: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        indexes.update(range(int(first), int(last or first) + 1))
    return indexes


def _connect() -> Any:
    from kubernetes import client, config

    try:
        config.load_incluster_config()
    except config.ConfigException:
        try:
            config.load_kube_config()
        except config.ConfigException as error:
            raise InputError(
                f"search.placement pods: no cluster is configured here ({error}). "
                "Run the step in a pod, set KUBECONFIG, or set search.placement to processes."
            ) from error
    return client.ApiClient()


def _namespace() -> str:
    file = SERVICE_ACCOUNT / "namespace"
    return file.read_text(encoding="utf-8").strip() if file.is_file() else "default"


def _profile() -> dict[str, Any]:
    text = os.environ.get(PROFILE_VARIABLE, "")
    try:
        profile = json.loads(text or "{}")
    except ValueError as error:
        raise InputError(f"{PROFILE_VARIABLE}: not JSON ({error}). Received: {text[:80]!r}") from error
    if not isinstance(profile, dict):
        raise InputError(f"{PROFILE_VARIABLE}: must be a JSON object. Received: {text[:80]!r}")
    return profile


def _reason(error: Exception) -> str:
    """Return what the API said, in one line."""
    body = getattr(error, "body", None)
    try:
        said = json.loads(body)["message"] if body else str(error)
    except (ValueError, KeyError, TypeError):
        said = str(error)
    return " ".join(f"{getattr(error, 'status', '') or ''} {said}".split())[:300]
