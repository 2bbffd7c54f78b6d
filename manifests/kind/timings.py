"""Where the time of a run went, step by step: timings.py RUN_ID [NAMESPACE], from its pods while they are there.

Columns, in seconds: `wait`, from the end of what it waited for to the step's driver; `driver`, Kubeflow's pod that
resolves its inputs; `gap`, from there to its own pod; `pending`, until a node starts it; `init`, its init containers;
`main`, its main container, of which `own` is the step itself and `upload` what the launcher does with its outputs.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

NODE = "workflows.argoproj.io/node-name"
STEP = "assay.dev/step"
COLUMNS = ("wait", "driver", "gap", "pending", "init", "main", "own", "upload")
STAMP = re.compile(r"^(\S+)Z ")


@dataclass
class Pod:
    """One pod of a run.

    Attributes:
        name: Its name.
        task: Of the graph: the step's name, in a loop with its number.
        step: Value of the label; empty: a driver.
        created: When it was asked for.
        started: When a node took it.
        main: Begin and end of its main container; None where it has none yet.
        node: The node.
    """

    name: str
    task: str
    step: str
    created: float
    started: float
    main: tuple[float, float] | None
    node: str

    @classmethod
    def of(cls, pod: dict[str, Any]) -> Pod:
        """Return what is known of a pod as the API gives it."""
        metadata, status = pod["metadata"], pod["status"]
        path = metadata.get("annotations", {}).get(NODE, metadata["name"])
        parts = [re.sub(r"\(\d+(:\d+)?\)$", "", part) for part in path.split(".")]
        named = [part for part in parts if part != "executor"]
        ended = next(
            (one["state"].get("terminated") for one in status.get("containerStatuses", []) if one["name"] == "main"),
            None,
        )
        return cls(
            name=metadata["name"],
            task=named[-1].removesuffix("-driver"),
            step=metadata.get("labels", {}).get(STEP, ""),
            created=seconds(metadata["creationTimestamp"]),
            started=seconds(status["startTime"]) if status.get("startTime") else float("nan"),
            main=(seconds(ended["startedAt"]), seconds(ended["finishedAt"])) if ended else None,
            node=pod["spec"].get("nodeName", ""),
        )


def seconds(stamp: str) -> float:
    """Return a time of Kubernetes, with or without fractions, in seconds."""
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", stamp.replace("Z", "+00:00"))).timestamp()


def parts_of_main(log: Iterable[str]) -> tuple[float | None, float | None]:
    """Return the seconds of a main container that are the step's own, and those for bringing its outputs away.

    Args:
        log: Its lines, each after its time.
    """
    times: dict[str, float] = {}
    last = None
    for line in log:
        stamp = STAMP.match(line)
        if stamp is None:
            continue
        last = seconds(f"{stamp.group(1)}Z")
        for mark in ("Got executor_input", "Wrote executor output", "Executing uploadOutputArtifacts"):
            if mark in line:
                times.setdefault(mark, last)
    began, wrote = times.get("Got executor_input"), times.get("Wrote executor output")
    own = None if began is None or wrote is None else wrote - began
    upload = None if wrote is None or last is None else last - wrote
    return own, upload


def rows(pods: list[Pod], logs: dict[str, list[str]]) -> list[tuple[str, dict[str, float | None], str]]:
    """Return name, seconds by column and node of each step, in the order in which they began."""
    drivers = {pod.task: pod for pod in pods if not pod.step}
    found = []
    for pod in sorted((pod for pod in pods if pod.step), key=lambda pod: pod.created):
        driver = drivers.get(pod.task)
        first = driver or pod
        ended = [other.main[1] for other in pods if other.main and other.main[1] <= first.created]
        own, upload = parts_of_main(logs.get(pod.name, []))
        values: dict[str, float | None] = {
            "wait": first.created - max(ended) if ended else None,
            "driver": driver.main[1] - driver.created if driver and driver.main else None,
            "gap": pod.created - driver.main[1] if driver and driver.main else None,
            "pending": pod.started - pod.created,
            "init": pod.main[0] - pod.started if pod.main else None,
            "main": pod.main[1] - pod.main[0] if pod.main else None,
            "own": own,
            "upload": upload,
        }
        found.append((pod.task, values, pod.node))
    return found


def main() -> None:
    """Print the table of a run."""
    run, namespace = sys.argv[1], (sys.argv[2:] or ["kubeflow"])[0]
    kubectl = ["kubectl", "-n", namespace]
    listed = subprocess.run(
        [*kubectl, "get", "pods", "-l", f"pipeline/runid={run}", "-o", "json"],
        capture_output=True,
        text=True,
        check=True,
    )
    pods = [Pod.of(pod) for pod in json.loads(listed.stdout)["items"]]
    if not pods:
        sys.exit(f"run {run}: no pod of it is left in {namespace}")
    logs = {}
    for pod in pods:
        if pod.step:
            # Without --all-containers: only main has what is asked for. A pod may be gone meanwhile.
            said = subprocess.run(
                [*kubectl, "logs", pod.name, "-c", "main", "--timestamps"], capture_output=True, text=True, check=False
            )
            logs[pod.name] = said.stdout.splitlines()
    print(f"{'step':<18}" + "".join(f"{column:>8}" for column in COLUMNS) + "  node")
    for task, values, node in rows(pods, logs):
        cells = "".join(f"{'-' if values[one] is None else f'{values[one]:.0f}':>8}" for one in COLUMNS)
        print(f"{task:<18}{cells}  {node}")
    begun = min(pod.created for pod in pods)
    ends = [pod.main[1] for pod in pods if pod.main]
    drivers = sum(not pod.step for pod in pods)
    alive = covered([(pod.created, pod.main[1]) for pod in pods if pod.main])
    print(
        f"{max(ends) - begun:.0f} s from the first pod to the last one's end; no pod was alive for "
        f"{max(ends) - begun - alive:.0f} s of them; {len(pods)} pods, {drivers} of them Kubeflow's drivers"
    )


def covered(spans: list[tuple[float, float]]) -> float:
    """Return for how long at least one of these spans lasted."""
    total, until = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total


if __name__ == "__main__":
    main()
