"""What became of the run that this pod belongs to, read from the cluster that it is in."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.errors import AssayError
from assay.outcome.failures import Causes, Failure, View, failures_of
from assay.outcome.pods import RUN_LABEL, WORKFLOW_LABEL, Pod
from assay.outcome.workflow import parse_workflow

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
SECONDS = 10
SUCCEEDED, FAILED, CANCELED = "SUCCEEDED", "FAILED", "CANCELED"


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes:
        state: SUCCEEDED, FAILED or CANCELED.
        failures: What failed for good, each with its cause.
    """

    state: str
    failures: tuple[Failure, ...] = ()


def read_outcome(run_id: str, part: str) -> Outcome:
    """Return what has become of a run, as whoever follows it from outside is told it.

    Args:
        run_id: The run's; this pod is one of its.
        part: Name of the part of the graph that has ended. The workflow knows how: Kubeflow's metadata calls it RUNNING
            where it was ended from outside, and where all of it came from the cache.

    Raises:
        Exception: Whatever the client of Kubernetes raises where this is no pod, or may not look.
    """
    here = _Here()
    pods = here.pods(run_id)
    workflow = parse_workflow(here.workflow(next(pod.resource["metadata"]["labels"][WORKFLOW_LABEL] for pod in pods)))
    if workflow.was_ended:
        return Outcome(CANCELED)
    if workflow.phase(part) == "Succeeded":
        return Outcome(SUCCEEDED)
    return Outcome(FAILED, tuple(failures_of(View(None, workflow, pods), Causes(run_id, here, {}))))


class _Here:
    """Asks the cluster that this pod is in, as the pod's service account."""

    def __init__(self) -> None:
        from kubernetes import client, config

        if "KUBERNETES_SERVICE_HOST" not in os.environ:
            raise AssayError("this is no pod of a cluster")
        configuration = client.Configuration()
        try:
            config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException:
            config.load_kube_config(client_configuration=configuration)
        configuration.retries = False
        api = client.ApiClient(configuration)
        self._core, self._objects = client.CoreV1Api(api), client.CustomObjectsApi(api)
        self._namespace = os.environ.get("KFP_NAMESPACE") or (SERVICE_ACCOUNT / "namespace").read_text("utf-8").strip()

    def pods(self, run_id: str) -> list[Pod]:
        """Return the pods of a run, the oldest first."""
        found = self._core.list_namespaced_pod(
            self._namespace,
            label_selector=f"{RUN_LABEL}={run_id}",
            _request_timeout=SECONDS,
            _preload_content=False,
        )
        pods = map(Pod, json.loads(found.data)["items"])
        return sorted(pods, key=lambda pod: str(pod.resource["metadata"].get("creationTimestamp")))

    def workflow(self, name: str) -> Any:
        """Return a workflow."""
        return self._objects.get_namespaced_custom_object(
            "argoproj.io", "v1alpha1", self._namespace, "workflows", name, _request_timeout=SECONDS
        )

    def log(self, run_id: str, pod: str, lines: int) -> str:
        """Return the last lines of what a step printed; empty where they cannot be had."""
        from kubernetes.client import ApiException

        try:
            found = self._core.read_namespaced_pod_log(
                pod,
                self._namespace,
                container="main",
                tail_lines=lines,
                _request_timeout=SECONDS,
                _preload_content=False,
            )
        except ApiException:
            return ""
        return bytes(found.data).decode(errors="replace")

    def node_problem(self, name: str) -> str:
        """Return nothing: a step may not look at nodes."""
        return ""
