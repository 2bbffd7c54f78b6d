"""Search workers as pods: one Indexed Job beside the step's own pod. The only module that meets Kubernetes.

The chief is the step itself. Workers run the step's image, as the step's service account, and end by themselves within
a minute of their chief, however that ends. A pod that dies is started again under its index and gets its trial back.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from assay.errors import AssayError, InputError
from assay.observability.progress import log
from assay.search.group import Poll, worker_id
from assay.search.job import PROFILE_VARIABLE, SEARCH_LABEL, worker_job, worker_profile

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
POLL_SECONDS = 3.0
INDEX_ANNOTATION = "batch.kubernetes.io/job-completion-index"
PATIENCE = 20  # failed looks at the Job in a row before the search gives up on the cluster


def in_cluster() -> bool:
    """Return whether this process runs in a pod that may speak to its cluster."""
    return "KUBERNETES_SERVICE_HOST" in os.environ and (SERVICE_ACCOUNT / "token").is_file()


class ClusterWorkers:
    """The workers of one search as pods of an Indexed Job.

    Args:
        search: Key of the search.
        workers: Number of pods.
        spec_uri: Address of the file that tells a worker what to do, readable from every pod.
        restarts: Times that each worker is started again.
        deadline_seconds: After so long Kubernetes itself ends the pods; None: see `worker_job`.
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
        self._ended: dict[str, tuple[int, str]] = {}

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
            profile=worker_profile(os.environ.get(PROFILE_VARIABLE, "")),
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
        pods = self._list_pods()
        self._tell_what_ended(pods)
        for condition in status.conditions or []:
            if condition.type == "Failed" and condition.status == "True" and not status.failed_indexes:
                why = "".join(f" {worker_id(index)} {how}." for index, how in dict(self._ended.values()).items())
                raise AssayError(
                    f"search workers: Job {self.namespace}/{self._name} failed ({condition.reason}: "
                    f"{condition.message}).{why}"
                )
        lost = parse_indexes(status.failed_indexes or "") - self._lost
        self._lost |= lost
        self._tell_what_waits(status, pods)
        done = (status.succeeded or 0) + len(self._lost)
        last = dict(self._ended.values())
        return Poll(
            finished=done >= len(self.ids),
            lost={
                worker_id(index): f"it ended {self.restarts + 1} times, the last time {last.get(index, 'unseen')}"
                for index in sorted(lost)
            },
        )

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

    def _list_pods(self) -> list[Any]:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            found = self._pods.list_namespaced_pod(self.namespace, label_selector=f"job-name={self._name}").items
        except (ApiException, HTTPError):
            return []  # the next look may succeed
        return sorted(found, key=lambda pod: str(pod.metadata.creation_timestamp))

    def _tell_what_ended(self, pods: list[Any]) -> None:
        """Say once of each pod that failed how it ended, and on which node."""
        for pod in pods:
            if pod.status.phase != "Failed" or pod.metadata.name in self._ended:
                continue
            index = int((pod.metadata.annotations or {}).get(INDEX_ANNOTATION, 0))
            how = how_it_ended(pod)
            self._ended[pod.metadata.name] = (index, how)
            log(f"search: {worker_id(index)} on node {pod.spec.node_name}: {how}")

    def _tell_what_waits(self, status: Any, pods: list[Any]) -> None:
        """Say once why pods do not start, such as a node pool without GPUs, or a quota that lets none be made."""
        going = (status.ready or 0) + (status.succeeded or 0) + len(self._lost)
        if going >= len(self.ids):
            return
        reasons = [*self._refusals(status), *_unscheduled(pods)]
        if not reasons:
            return
        said = f"search: {len(self.ids) - going} of {len(self.ids)} worker pods wait: {reasons[0]}"
        if said != self._said:
            log(said)
            self._said = said

    def _refusals(self, status: Any) -> list[str]:
        """Return why the cluster makes fewer pods than the Job asks for, such as its quota."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        if (status.active or 0) + (status.succeeded or 0) + len(self._lost) >= len(self.ids):
            return []
        selector = f"involvedObject.name={self._name},reason=FailedCreate"
        try:
            events = self._pods.list_namespaced_event(self.namespace, field_selector=selector).items
        except (ApiException, HTTPError):
            return []
        # Each try is of a pod of another name: without it the reason is the same, and said once.
        said = [" ".join((event.message or "").split()) for event in events[-1:]]
        return [re.sub(r'pods "[^"]*" is', "pods are", one) for one in said]

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


def how_it_ended(pod: Any) -> str:
    """Return why a pod failed, in a few words: out of memory, its own last line, or what its node says."""
    for container in pod.status.container_statuses or []:
        ended = container.state.terminated
        if ended is None or ended.exit_code == 0:
            continue
        if ended.reason == "OOMKilled":
            return "out of memory (OOMKilled): give the profile of search more, or lower batch_size"
        return " ".join(f"exit code {ended.exit_code}: {ended.message or ended.reason or ''}".split())[:300]
    return " ".join(f"{pod.status.reason or 'failed'}: {pod.status.message or ''}".split())[:300].rstrip(": ")


def _unscheduled(pods: list[Any]) -> Iterator[str]:
    for pod in pods:
        for condition in pod.status.conditions or []:
            if condition.type == "PodScheduled" and condition.status == "False" and condition.message:
                yield str(condition.message)


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


def worker_accelerators() -> int:
    """Return how many accelerators each worker pod asks for, by the profile that the step was given for them."""
    limits = (worker_profile(os.environ.get(PROFILE_VARIABLE, "")).get("resources") or {}).get("limits") or {}
    # Extended resources have a domain's name before them, such as nvidia.com/gpu.
    return sum(int(count) for name, count in limits.items() if "/" in name)


def _reason(error: Exception) -> str:
    """Return what the API said, in one line."""
    body = getattr(error, "body", None)
    try:
        said = json.loads(body)["message"] if body else str(error)
    except (ValueError, KeyError, TypeError):
        said = str(error)
    return " ".join(f"{getattr(error, 'status', '') or ''} {said}".split())[:300]
