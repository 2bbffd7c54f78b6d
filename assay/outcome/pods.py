"""A pod of a run, from what Kubernetes says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from assay.outcome.workflow import parse_time

RUN_LABEL, WORKFLOW_LABEL = "pipeline/runid", "workflows.argoproj.io/workflow"
STEP_LABEL = "assay.dev/step"
# Set by pipelines/graphs/placement.py.
PROFILE = "ASSAY_MACHINE"


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
    def profile(self) -> str:
        """The kind of machine that the settings gave it; empty: it does not say."""
        return next((str(one.get("value") or "") for one in self._main.get("env") or () if one["name"] == PROFILE), "")

    @property
    def memory_limit(self) -> str:
        """Of the step itself, in Kubernetes's words; empty: none."""
        return str(((self._main.get("resources") or {}).get("limits") or {}).get("memory", ""))

    @property
    def _main(self) -> Mapping[str, Any]:
        """The step's own container."""
        return next((container for container in self.resource["spec"]["containers"] if container["name"] == "main"), {})
