"""The pods of a run and its workflow, as whoever is signed in here may see them; the rest is left out."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from assay.errors import AssayError
from assay.outcome.pods import RUN_LABEL, Pod
from assay.outcome.workflow import Workflow, parse_workflow
from pipelines.cluster.client import ANSWER_SECONDS, Cluster, kubernetes_api

SECONDS = 10
AGAIN_SECONDS = 60.0


@dataclass
class Pods:
    """Looks at pods, and remembers why it cannot.

    Args:
        cluster: Where the runs are.
    """

    cluster: Cluster
    problem: str = ""
    _core: Any = field(default=None, repr=False)
    _not_before: float = 0.0

    def of_run(self, run_id: str) -> list[Pod]:
        """Return the pods of a run, the oldest first; none where they cannot be seen, then `problem` says why."""
        found = self._ask(
            lambda core: core.list_namespaced_pod(
                self.cluster.settings.namespace,
                label_selector=f"{RUN_LABEL}={run_id}",
                _request_timeout=SECONDS,
                _preload_content=False,
            )
        )
        items = json.loads(found.data)["items"] if found is not None else []
        return sorted(map(Pod, items), key=lambda pod: str(pod.resource["metadata"].get("creationTimestamp")))

    def log(self, run_id: str, pod: str, lines: int) -> str:
        """Return the last lines of what a step printed; empty where they are gone or cannot be seen."""
        found = self._ask(
            lambda core: core.read_namespaced_pod_log(
                pod,
                self.cluster.settings.namespace,
                container="main",
                tail_lines=lines,
                _request_timeout=SECONDS,
                _preload_content=False,
            )
        )
        if found is not None:
            return bytes(found.data).decode(errors="replace")
        try:
            # Kubeflow's server reads it with its own rights, from its archive too.
            said = self.cluster.get(f"/apis/v1alpha1/runs/{run_id}/nodes/{pod}/log", patience_seconds=0)
        except AssayError:
            return ""
        return said if isinstance(said, str) and "error_message" not in said else ""

    def node_problem(self, name: str) -> str:
        """Return what is wrong with a node; empty: nothing, or it may not be looked at."""
        from kubernetes.client import ApiException

        try:
            found = self._ask(
                lambda core: core.read_node(name, _request_timeout=SECONDS, _preload_content=False), told=ApiException
            )
        except ApiException as error:
            return "is gone" if error.status == 404 else ""
        if found is None:
            return ""
        conditions = json.loads(found.data)["status"].get("conditions") or ()
        ready: Mapping[str, Any] = next((condition for condition in conditions if condition.get("type") == "Ready"), {})
        return "" if ready.get("status") == "True" else "does not answer any more"

    def _ask(self, ask: Callable[[Any], Any], told: type[Exception] | tuple[()] = ()) -> Any:
        """Return an answer of Kubernetes, or None where it cannot be asked; ``told`` is raised."""
        if time.monotonic() < self._not_before:
            return None
        try:
            if self._core is None:
                from kubernetes import client

                self._core = client.CoreV1Api(kubernetes_api(self.cluster.settings))
            found = ask(self._core)
            self.problem = ""
            return found
        except told:
            raise
        except Exception as error:  # whatever a kubeconfig, its plug-in or the way there raises
            reason = getattr(error, "reason", None) or error
            if getattr(error, "status", None) == 404:
                return None  # It was asked: what is gone is gone.
            self.problem = (str(reason).splitlines() or [type(error).__name__])[0][:160]
            # Each look would wait for it again, and a run has many.
            self._not_before = time.monotonic() + AGAIN_SECONDS
            return None


def read_workflow(cluster: Cluster, run_id: str) -> Workflow | None:
    """Return the workflow of a run, or None where neither Kubeflow nor Kubernetes gives it.

    The server keeps it with the run, so it is there without Kubernetes and after the pods are gone.
    """
    kept = kept_workflow(cluster, run_id)
    if kept is not None:
        return kept
    with contextlib.suppress(Exception):  # no kubeconfig, no right, no answer: whatever it is, there is none to be had
        from kubernetes import client

        found = client.CustomObjectsApi(kubernetes_api(cluster.settings)).list_namespaced_custom_object(
            "argoproj.io",
            "v1alpha1",
            cluster.settings.namespace,
            "workflows",
            label_selector=f"pipeline/runid={run_id}",
            _request_timeout=ANSWER_SECONDS,
        )
        return parse_workflow(found["items"][0])
    return None


def kept_workflow(cluster: Cluster, run_id: str) -> Workflow | None:
    """Return the workflow of a run as Kubeflow's server keeps it, or None where it does not give it."""
    with contextlib.suppress(AssayError, ValueError, KeyError, TypeError):
        said = cluster.get(f"/apis/v1beta1/runs/{run_id}", patience_seconds=0)
        manifest = json.loads(said["pipeline_runtime"]["workflow_manifest"])
        if manifest.get("status"):
            return parse_workflow(manifest)
    return None
