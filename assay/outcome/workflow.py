"""What Argo knows of a run: each step, each attempt at it, where it was and what was said of it.

Kubeflow's own list of tasks names Argo's nodes without saying which belong together, and never has an error. The
workflow has both.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

# Kubeflow's templates of a step: what starts it, the step, and its pod; names may have a prefix.
DRIVER, EXECUTOR, POD = "system-container-driver", "system-container-executor", "system-container-impl"
PART_DRIVER = "system-dag-driver"
ATTEMPT = re.compile(r"\(\d+\)$")
ITERATION = re.compile(r"\((\d+):")
ACTIVE = ("", "Pending", "Running")
PAST_DEADLINE = "exceeded workflow deadline"
NOT_RUN = ("Skipped", "Omitted")


@dataclass(frozen=True)
class Node:
    """A node of a workflow."""

    id: str
    name: str
    type: str
    phase: str
    message: str
    template: str
    boundary: str
    host: str
    started: datetime | None
    finished: datetime | None

    @property
    def number(self) -> str:
        """What ends its id, and the name of its pod."""
        return self.id.rsplit("-", 1)[-1]


@dataclass(frozen=True)
class Workflow:
    """A workflow as far as a person is concerned.

    Attributes:
        name: Of the workflow; pods carry it as a label.
        message: Why it ended, where it did not end by itself.
        deadline_seconds: Of the whole run; 0: it was ended by someone; None: there is none.
        nodes: By id, in the order of their start.
    """

    name: str
    message: str
    deadline_seconds: int | None
    nodes: Mapping[str, Node]

    @property
    def was_ended(self) -> bool:
        """Whether someone ended it before its time: Kubeflow sets its deadline to nothing then."""
        return self.deadline_seconds == 0

    @property
    def past_deadline(self) -> bool:
        """Whether it was ended since it took longer than it may."""
        return not self.was_ended and any(
            PAST_DEADLINE in said for said in (self.message, *(node.message for node in self.nodes.values()))
        )

    def phase(self, name: str) -> str:
        """Return how a part of the graph stands, in Argo's words; empty: there is none of that name."""
        return next((node.phase for node in self.nodes.values() if node.name == name), "")

    def steps(self) -> Iterator[Node]:
        """Yield the nodes that stand for steps, one each."""
        for node in self.nodes.values():
            if node.template.endswith(EXECUTOR) and not ATTEMPT.search(node.name):
                yield node

    def attempts(self, step: Node) -> list[Node]:
        """Return the nodes of a step's pods, the first attempt first."""
        return [
            node
            for node in self.nodes.values()
            if node.type == "Pod" and node.template.endswith(POD) and self._step_of(node) == step.id
        ]

    def is_cached(self, step: Node) -> bool:
        """Return whether a step ended without a pod of its own, since its outputs were there."""
        within = [
            node for node in self.nodes.values() if node.template.endswith(POD) and self._step_of(node) == step.id
        ]
        return step.phase == "Succeeded" and bool(within) and all(node.phase == "Skipped" for node in within)

    def failed_drivers(self) -> Iterator[tuple[str, Node]]:
        """Yield the pods that should have started something and failed, with the name of the step, or an empty one."""
        for node in self.nodes.values():
            if node.type == "Pod" and node.phase in ("Failed", "Error"):
                if node.template.endswith(DRIVER):
                    yield ATTEMPT.sub("", node.name).removesuffix("-driver"), node
                elif node.template.endswith(PART_DRIVER):
                    yield "", node

    def part(self, step: Node) -> int | None:
        """Return which round of a loop a step belongs to, from 1; None: of no loop."""
        node: Node | None = step
        while node is not None:
            found = ITERATION.search(node.name)
            if found:
                return int(found.group(1)) + 1
            node = self.nodes.get(node.boundary)
        return None

    def pod_name(self, node: Node) -> str:
        """Return the name of a node's pod."""
        # As Argo makes it, which cuts prefixes that are too long for Kubernetes.
        longest = 253 - len(node.number) - 1
        return f"{f'{self.name}-{node.template}'[:longest]}-{node.number}"

    def _step_of(self, pod: Node) -> str:
        """Return the id of the step that a pod's node belongs to."""
        around = self.nodes.get(pod.boundary)
        if around is None or not ATTEMPT.search(around.name):
            return pod.boundary
        # The attempt at the whole step; the step is beside it under its name.
        bare = ATTEMPT.sub("", around.name)
        return next(
            (
                node.id
                for node in self.nodes.values()
                if node.name == bare and node.boundary == around.boundary and node.template == around.template
            ),
            pod.boundary,
        )


def parse_workflow(manifest: Mapping[str, Any]) -> Workflow:
    """Return a workflow from its resource in Kubernetes."""
    status = manifest.get("status") or {}
    packed = status.get("compressedNodes")
    # Argo packs the nodes of a large workflow.
    raw = json.loads(gzip.decompress(base64.b64decode(packed))) if packed else status.get("nodes") or {}
    nodes = [
        Node(
            id=identifier,
            name=str(node.get("displayName") or node.get("name") or ""),
            type=str(node.get("type") or ""),
            phase=str(node.get("phase") or ""),
            message=" ".join(str(node.get("message") or "").split()),
            template=str(node.get("templateName") or ""),
            boundary=str(node.get("boundaryID") or ""),
            host=str(node.get("hostNodeName") or ""),
            started=parse_time(node.get("startedAt")),
            finished=parse_time(node.get("finishedAt")),
        )
        for identifier, node in raw.items()
    ]
    nodes.sort(key=lambda node: (node.started is None, node.started or datetime.min, node.name))
    deadline = (manifest.get("spec") or {}).get("activeDeadlineSeconds")
    return Workflow(
        name=str(manifest["metadata"]["name"]),
        message=str(status.get("message") or ""),
        deadline_seconds=None if deadline is None else int(deadline),
        nodes={node.id: node for node in nodes},
    )


def parse_time(text: Any) -> datetime | None:
    """Return a time of Kubernetes, or None."""
    return datetime.fromisoformat(text) if text else None
