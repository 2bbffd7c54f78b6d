"""Break things under running pipelines on the kind cluster and print what came of it: make kind-faults [FAULTS="..."].

Each fault is a row of the table in docs/operations.md. Wants the variables that manifests/kind/test.sh sets.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

NAMESPACE = "kubeflow"
AWAY_SECONDS = 120
POLL_SECONDS = 2.0
LONGEST_SECONDS = 1800
ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
# A baseline that trains long enough to be hit in the middle, alone.
ALONE = ("search.enabled=false", "finetune.enabled=false")
TRAINING = (*ALONE, "baseline.epochs=400", "baseline.callbacks.not_learning_steps=null")
KILL = """
import os, signal
for pid in filter(str.isdecimal, os.listdir("/proc")):
    try:
        command = open(f"/proc/{pid}/cmdline").read()
    except OSError:
        continue
    if "executor_main" in command and "launcher" not in command and int(pid) != os.getpid():
        os.kill(int(pid), signal.SIGKILL)
"""


def kubectl(*arguments: str, given: str | None = None) -> str:
    """Return what kubectl says."""
    done = subprocess.run(
        ["kubectl", "-n", NAMESPACE, *arguments], input=given, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


@dataclass
class Run:
    """A run that has been started.

    Attributes:
        run_id: Kubeflow's id.
        started: Monotonic time.
        notes: What happened to it.
    """

    run_id: str
    started: float = field(default_factory=time.monotonic)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def submit(cls, *overrides: str, **variables: str) -> Run:
        """Start a run of the tiny config with a seed of its own."""
        options = [part for one in (f"seed={time.time_ns() % 2**30}", *overrides) for part in ("--set", one)]
        command = [".venv/bin/assay", "submit", os.environ["TINY"], "--no-preflight", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **variables})
        found = re.search(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", done.stdout)
        if done.returncode or found is None:
            raise SystemExit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return cls(found.group())

    @property
    def state(self) -> str:
        """Its state on the server; empty: the server is away or does not say."""
        try:
            with urllib.request.urlopen(
                f"{os.environ['KFP_HOST']}/apis/v2beta1/runs/{self.run_id}", timeout=10
            ) as said:
                return str(json.load(said).get("state", ""))
        except OSError:
            return ""

    def pods(self, step: str) -> list[dict[str, Any]]:
        """Return the pods of a step that are there."""
        listed = kubectl("get", "pods", "-l", f"pipeline/runid={self.run_id},assay.dev/step={step}", "-o", "json")
        return list(json.loads(listed)["items"])

    def running(self, step: str, line: str) -> str:
        """Wait until a step has printed something, and return its pod's name."""
        until = time.monotonic() + LONGEST_SECONDS
        while time.monotonic() < until:
            for pod in self.pods(step):
                if pod["status"].get("phase") != "Running":
                    continue
                name = str(pod["metadata"]["name"])
                said = subprocess.run(
                    ["kubectl", "-n", NAMESPACE, "logs", name, "-c", "main"],
                    capture_output=True,
                    text=True,
                    check=False,
                )
                if line in said.stdout:
                    return name
            if self.state in ENDED:
                raise SystemExit(f"run {self.run_id} ended before {step} said '{line}': {self.summary(step)}")
            time.sleep(POLL_SECONDS)
        raise SystemExit(f"run {self.run_id}: {step} has not said '{line}' in {LONGEST_SECONDS} s")

    def end(self) -> str:
        """Wait until it has ended, and return its state."""
        until = time.monotonic() + LONGEST_SECONDS
        while (state := self.state) not in ENDED:
            if time.monotonic() > until:
                raise SystemExit(f"run {self.run_id}: not ended after {LONGEST_SECONDS} s ({state})")
            time.sleep(POLL_SECONDS)
        return state

    def attempts(self, step: str) -> list[str]:
        """Return the message of each attempt of a step, in order; empty: it ended well or goes on."""
        listed = json.loads(kubectl("get", "workflows", "-l", f"pipeline/runid={self.run_id}", "-o", "json"))
        found = {}
        for workflow in listed["items"]:
            for node in workflow["status"].get("nodes", {}).values():
                place = re.search(rf"\.{re.escape(step)}\(0\)\.executor\((\d+)\)$", node["name"])
                if place and node["type"] == "Pod":
                    found[int(place.group(1))] = node.get("message", "") if node["phase"] != "Succeeded" else ""
        return [found[number] for number in sorted(found)]

    def summary(self, step: str) -> str:
        """Return what came of it, in a line."""
        attempts = self.attempts(step)
        said = "; ".join(" ".join(one.split())[:160] for one in attempts if one)
        text = f"{self.state} after {time.monotonic() - self.started:.0f} s, {len(attempts)} attempt(s) of {step}"
        return ". ".join([text + (f": {said}" if said else ""), *self.notes])


def killed() -> str:
    """The process is killed with -9 in mid-training."""
    run = Run.submit(*TRAINING)
    pod = run.running("baseline", "train ")
    kubectl("exec", pod, "-c", "main", "--", "python3", "-c", KILL)
    run.end()
    return run.summary("baseline")


def deleted() -> str:
    """The pod is deleted, with its grace."""
    run = Run.submit(*TRAINING)
    kubectl("delete", "pod", run.running("baseline", "train "), "--wait=false")
    run.end()
    return run.summary("baseline")


def lost() -> str:
    """The pod is gone without a farewell."""
    run = Run.submit(*TRAINING)
    kubectl("delete", "pod", run.running("baseline", "train "), "--force", "--grace-period=0")
    run.end()
    return run.summary("baseline")


def evicted() -> str:
    """The pod is evicted through Kubernetes' API, as a drain does."""
    run = Run.submit(*TRAINING)
    pod = run.running("baseline", "train ")
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": NAMESPACE}}
    kubectl("create", "--raw", f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction", "-f", "-", given=json.dumps(body))
    run.end()
    return run.summary("baseline")


def wrong_input() -> str:
    """The source is empty."""
    run = Run.submit(*ALONE, "data.source=gs://assay/nothing")
    run.end()
    return run.summary("ingest")


def out_of_memory() -> str:
    """The training needs more memory than its profile has."""
    run = Run.submit(*ALONE, ASSAY_PROFILES__GPU__MEMORY="200Mi", ASSAY_PROFILES__GPU__RETRIES="1")
    run.end()
    return run.summary("baseline")


def cancelled() -> str:
    """Someone ends the run."""
    run = Run.submit(*TRAINING)
    run.running("baseline", "train ")
    subprocess.run([".venv/bin/assay", "runs", "cancel", run.run_id], check=False, capture_output=True)
    run.end()
    return run.summary("baseline")


def away(deployment: str) -> Callable[[], str]:
    """Return the fault of a deployment that is away for two minutes in mid-training."""

    def fault() -> str:
        run = Run.submit(*TRAINING)
        run.running("baseline", "train ")
        kubectl("scale", f"deployment/{deployment}", "--replicas=0")
        try:
            time.sleep(AWAY_SECONDS)
        finally:
            kubectl("scale", f"deployment/{deployment}", "--replicas=1")
        run.end()
        return run.summary("baseline")

    fault.__doc__ = f"{deployment} is away for two minutes."
    return fault


def side_by_side() -> str:
    """Three runs at the same time."""
    runs = [Run.submit() for _ in range(3)]
    states = [run.end() for run in runs]
    events = json.loads(kubectl("get", "events", "--field-selector", "reason=Preempted", "-o", "json"))["items"]
    seconds = max(time.monotonic() - run.started for run in runs)
    return f"{', '.join(states)} after {seconds:.0f} s; {len(events)} pods were preempted"


FAULTS: dict[str, Callable[[], str]] = {
    "wrong-input": wrong_input,
    "killed": killed,
    "deleted": deleted,
    "lost": lost,
    "evicted": evicted,
    "out-of-memory": out_of_memory,
    "cancelled": cancelled,
    "storage-away": away("assay-storage"),
    "artifacts-away": away("seaweedfs"),
    "metadata-away": away("metadata-grpc-deployment"),
    "server-away": away("ml-pipeline"),
    "side-by-side": side_by_side,
}


def main() -> None:
    """Run the faults that are named, or all."""
    wanted = sys.argv[1:] or list(FAULTS)
    unknown = sorted(set(wanted) - set(FAULTS))
    if unknown:
        raise SystemExit(f"unknown fault {', '.join(unknown)}. Known: {', '.join(FAULTS)}")
    for name in wanted:
        print(f"{name}: {' '.join((FAULTS[name].__doc__ or '').split())}", flush=True)
        print(f"  {FAULTS[name]()}", flush=True)


if __name__ == "__main__":
    main()
