"""The pods of a run, as Kubernetes shows them to whoever is signed in here; what cannot be seen is left out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from assay.errors import AssayError
from pipelines.cluster.client import Cluster, kubernetes_api
from pipelines.cluster.workflow import parse_time

RUN_LABEL, WORKFLOW_LABEL = "pipeline/runid", "workflows.argoproj.io/workflow"
STEP_LABEL = "assay.dev/step"
SECONDS = 10
AGAIN_SECONDS = 60.0


@dataclass(frozen=True)
class Pod:
    """A pod, from its resource in Kubernetes."""

    resource: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.resource["metadata"]["name"])

    @property
    def number(self) -> str:
        """What ends its name, and the id of its node in the workflow."""
        return self.name.rsplit("-", 1)[-1]

    @property
    def uid(self) -> str:
        """Of this pod alone: one that is made again under the same name has another."""
        return str(self.resource["metadata"].get("uid") or self.resource["metadata"].get("creationTimestamp"))

    @property
    def step(self) -> str:
        """The step that it is of, or an empty string."""
        return str((self.resource["metadata"].get("labels") or {}).get(STEP_LABEL, ""))

    @property
    def node(self) -> str:
        """Where it is; empty: nowhere yet."""
        return str(self.resource["spec"].get("nodeName") or "")

    @property
    def phase(self) -> str:
        """Pending, Running, Succeeded, Failed or Unknown."""
        return str(self.resource["status"].get("phase") or "")

    @property
    def reason(self) -> str:
        """Why it ended, where Kubernetes ended it: Evicted, DeadlineExceeded..."""
        return str(self.resource["status"].get("reason") or "")

    @property
    def message(self) -> str:
        """What Kubernetes said of that."""
        return " ".join(str(self.resource["status"].get("message") or "").split())

    def condition(self, kind: str) -> Mapping[str, Any]:
        """Return a condition, or an empty one."""
        found = self.resource["status"].get("conditions") or ()
        return next((condition for condition in found if condition.get("type") == kind), {})

    def containers(self) -> dict[str, Mapping[str, Any]]:
        """Return the state of each container by name: a mapping with one of waiting, running and terminated."""
        status = self.resource["status"]
        listed = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
        return {status["name"]: status.get("state") or {} for status in listed}

    def ended(self, container: str = "main") -> Mapping[str, Any]:
        """Return how a container ended, or an empty mapping."""
        return self.containers().get(container, {}).get("terminated") or {}

    @property
    def started(self) -> datetime | None:
        """When the step itself began."""
        main = self.containers().get("main", {})
        return parse_time((main.get("running") or main.get("terminated") or {}).get("startedAt"))

    @property
    def finished(self) -> datetime | None:
        """When the step itself ended."""
        return parse_time(self.ended().get("finishedAt"))

    @property
    def memory_limit(self) -> str:
        """Of the step itself, in Kubernetes's words; empty: none."""
        main: Mapping[str, Any] = next(
            (container for container in self.resource["spec"]["containers"] if container["name"] == "main"), {}
        )
        return str(((main.get("resources") or {}).get("limits") or {}).get("memory", ""))


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
