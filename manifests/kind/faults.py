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
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

NAMESPACE = "kubeflow"
AWAY_SECONDS = 120
SHORT_SECONDS = 45
POLL_SECONDS = 2.0
LONGEST_SECONDS = 1800
# Where Kubeflow keeps what runs leave, as the server of SeaweedFS's files names it, and its mark of a folder (Go's).
ARTIFACTS, FOLDER = "/buckets/mlpipeline/v2/artifacts/assay-training", 1 << 31
# What ended otherwise than it should.
UNWANTED: list[str] = []
ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
# A baseline that trains long enough to be hit in the middle, alone.
ALONE = ("search.enabled=false", "finetune.enabled=false")
TRAINING = (*ALONE, "baseline.epochs=400", "baseline.callbacks.not_learning_steps=null")
# Of a node object, what its kubelet may not bring along when it comes back.
LEFT_WITH_A_NODE = ("metadata.labels", "spec.taints")
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


def new_seed() -> int:
    """Return a number that no run before had for its seed: nothing comes from the cache."""
    return time.time_ns() % 2**30


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
        """Start a run of the tiny config with a seed of its own, unless the overrides name one."""
        seed = () if any(one.startswith("seed=") for one in overrides) else (f"seed={new_seed()}",)
        options = [part for one in (*seed, *overrides) for part in ("--set", one)]
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

    def succeeded(self, step: str) -> None:
        """Wait until a pod of a step has ended well."""
        until = time.monotonic() + LONGEST_SECONDS
        while not any(pod["status"].get("phase") == "Succeeded" for pod in self.pods(step)):
            if time.monotonic() > until or self.state in ENDED:
                raise SystemExit(f"run {self.run_id}: no pod of {step} has ended well: {self.summary(step)}")
            time.sleep(POLL_SECONDS)

    def waiting(self, step: str, word: str) -> str:
        """Wait until the workflow says of a step's pod something with this word, and return it."""
        until = time.monotonic() + LONGEST_SECONDS
        while time.monotonic() < until and self.state not in ENDED:
            listed = json.loads(kubectl("get", "workflows", "-l", f"pipeline/runid={self.run_id}", "-o", "json"))
            for workflow in listed["items"]:
                for node in workflow["status"].get("nodes", {}).values():
                    if f".{step}(0)" in node["name"] and word in node.get("message", ""):
                        return " ".join(str(node["message"]).split())[:200]
            time.sleep(POLL_SECONDS)
        raise SystemExit(f"run {self.run_id}: nothing with '{word}' was said of {step}: {self.summary(step)}")

    def end(self, *wanted: str) -> str:
        """Wait until it has ended, and return its state; one that is not wanted fails the whole in the end."""
        until = time.monotonic() + LONGEST_SECONDS
        while (state := self.state) not in ENDED:
            if time.monotonic() > until:
                raise SystemExit(f"run {self.run_id}: not ended after {LONGEST_SECONDS} s ({state})")
            time.sleep(POLL_SECONDS)
        if state not in (wanted or ("SUCCEEDED",)):
            UNWANTED.append(f"{self.run_id} ended as {state}, wanted {' or '.join(wanted or ('SUCCEEDED',))}")
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

    def node_of(self, pod: str) -> str:
        """Return the node that a pod is on, and wait until it is on one."""
        return kubectl("get", "pod", pod, "-o", "jsonpath={.spec.nodeName}").strip()

    def told(self) -> str:
        """Return what a person at the terminal reads of the run's end."""
        said = subprocess.run(
            [".venv/bin/assay", "runs", "watch", self.run_id], capture_output=True, text=True, check=False
        )
        lines = [line for line in (said.stdout + said.stderr).splitlines() if line.strip()]
        return f"exit code {said.returncode}; the last lines: {' | '.join(lines[-3:])[:500]}"

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
    run.end("FAILED")
    return run.summary("ingest")


def out_of_memory() -> str:
    """The training needs more memory than its profile has."""
    run = Run.submit(*ALONE, ASSAY_PROFILES__GPU__MEMORY="200Mi", ASSAY_PROFILES__GPU__RETRIES="1")
    run.end("FAILED")
    return run.summary("baseline")


def cancelled() -> str:
    """Someone ends the run."""
    run = Run.submit(*TRAINING)
    run.running("baseline", "train ")
    subprocess.run([".venv/bin/assay", "runs", "cancel", run.run_id], check=False, capture_output=True)
    run.end("FAILED", "CANCELED")
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


def drained() -> str:
    """The node is drained in mid-training, and takes pods again a while later."""
    run = Run.submit(*TRAINING)
    node = run.node_of(run.running("baseline", "train "))
    try:
        kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=120s")
        time.sleep(SHORT_SECONDS)
    finally:
        kubectl("uncordon", node)
    run.end()
    return run.summary("baseline")


def node_lost() -> str:
    """The node is gone in mid-training, as a spot node whose machine was taken away; another comes."""
    run = Run.submit(*TRAINING)
    node = run.node_of(run.running("baseline", "train "))
    labels, taints = (kubectl("get", "node", node, "-o", f"jsonpath={{.{part}}}") for part in LEFT_WITH_A_NODE)
    subprocess.run(["docker", "stop", "--time=0", node], check=True, capture_output=True)
    try:
        # What a cloud does where a machine is no more; the pods on it are then collected.
        kubectl("delete", "node", node)
        time.sleep(AWAY_SECONDS)
    finally:
        subprocess.run(["docker", "start", node], check=True, capture_output=True)
        _again_as_it_was(node, json.loads(labels), json.loads(taints or "[]"))
    run.end()
    return run.summary("baseline")


def _again_as_it_was(node: str, labels: dict[str, str], taints: list[dict[str, Any]]) -> None:
    """Wait for a node that was started again, and give it the accelerators that it does not have (up.sh)."""
    until = time.monotonic() + LONGEST_SECONDS
    while subprocess.run(["kubectl", "get", "node", node], check=False, capture_output=True).returncode:
        if time.monotonic() > until:
            raise SystemExit(f"node {node} does not come back: docker logs {node}")
        time.sleep(POLL_SECONDS)
    own = {key: value for key, value in labels.items() if not key.startswith(("kubernetes.io/", "beta."))}
    kubectl("label", "node", node, "--overwrite", *(f"{key}={value}" for key, value in own.items()))
    for taint in taints:
        if not taint["key"].startswith("node.kubernetes.io/"):
            named = f"{taint['key']}={taint.get('value', '')}:{taint['effect']}"
            kubectl("taint", "node", node, "--overwrite", named)
    patch = [{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": "4"}]
    kubectl("patch", "node", node, "--subresource=status", "--type=json", "-p", json.dumps(patch))
    kubectl("wait", f"node/{node}", "--for=condition=Ready", "--timeout=300s")


def quota() -> str:
    """A quota leaves no accelerator for a minute."""
    spec = {"hard": {"requests.nvidia.com/gpu": "0"}}
    body = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "faults"}, "spec": spec}
    kubectl("apply", "-f", "-", given=json.dumps(body))
    try:
        run = Run.submit(*ALONE)
        said = run.waiting("baseline", "quota")
        time.sleep(SHORT_SECONDS)
    finally:
        kubectl("delete", "resourcequota", "faults")
    run.notes.append(f"meanwhile: {said}")
    run.end()
    return run.summary("baseline")


def half_warm() -> str:
    """Of four parts of preprocessing some come from the cache: the run before was ended after the first."""
    seed = f"seed={new_seed()}"
    how = (*ALONE, seed, "data.shards=4")
    # One after another, so that not all are done when the first is.
    first = Run.submit(*how, ASSAY_PARALLEL_SHARDS="1")
    first.succeeded("preprocess")
    subprocess.run([".venv/bin/assay", "runs", "cancel", first.run_id], check=False, capture_output=True)
    first.end("FAILED", "CANCELED")
    run = Run.submit(*how, ASSAY_PARALLEL_SHARDS="1")
    run.end()
    made = len(run.pods("preprocess"))
    run.notes.append(f"of 4 parts and the step that joins them, {made} were made and the others came from the cache")
    return run.summary("baseline")


def outputs_deleted() -> str:
    """The outputs that the cache names are deleted in storage; a run that trains on them, and the same once more."""

    def delete(place: str) -> str:
        kubectl("exec", "-i", "deployment/seaweedfs", "--", "weed", "shell", given=f"fs.rm -r -f {place}\n")
        return "all outputs were deleted"

    return _unusable(delete)


def outputs_damaged() -> str:
    """A byte of the dataset that the cache names is flipped in storage; a run that trains on it, and the same again."""
    return _unusable(_flip)


def _unusable(spoil: Callable[[str], str]) -> str:
    """Spoil what a run has left in Kubeflow's store, and see that the second run after it is right."""
    how = (*ALONE, f"seed={new_seed()}")
    first = Run.submit(*how)
    first.end()
    done = spoil(f"{ARTIFACTS}/{first.run_id}")
    # Of a run that is reused whole nobody reads the data: here the baseline does.
    how = (*how, "baseline.epochs=2")
    run = Run.submit(*how)
    run.notes.append(done)
    run.end("FAILED")
    run.notes.append(run.told())
    again = Run.submit(*how)
    run.notes.append(f"run again: {again.end()}, with {len(again.pods('preprocess'))} pod of preprocess")
    return run.summary("baseline")


def _flip(place: str) -> str:
    """Flip a byte in the middle of a dataset's largest array below a place, and return its name."""
    with subprocess.Popen(
        ["kubectl", "-n", NAMESPACE, "port-forward", "deployment/seaweedfs", ":8888"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as forward:
        try:
            said = forward.stdout.readline() if forward.stdout else ""
            filer = f"http://127.0.0.1:{re.search(r':([0-9]+) ->', said)[1]}"  # type: ignore[index]
            arrays = [file for file in _files(filer, place) if file["FullPath"].endswith(".npy")]
            largest = max(arrays, key=lambda file: file["FileSize"])
            address = f"{filer}{urllib.parse.quote(largest['FullPath'])}"
            content = bytearray(urllib.request.urlopen(address).read())
            content[len(content) // 2] ^= 1
            urllib.request.urlopen(urllib.request.Request(address, bytes(content), method="PUT")).close()
            return f"a byte of {largest['FullPath'].removeprefix(place)} was flipped"
        finally:
            forward.terminate()


def _files(filer: str, place: str) -> Iterator[dict[str, Any]]:
    """Yield what the server of SeaweedFS's files says of each below a folder."""
    address = f"{filer}{urllib.parse.quote(place)}/?limit=10000"
    asked = urllib.request.Request(address, headers={"Accept": "application/json"})
    for entry in json.load(urllib.request.urlopen(asked))["Entries"] or ():
        if entry["Mode"] & FOLDER:
            yield from _files(filer, entry["FullPath"])
        else:
            yield entry


def chief_killed() -> str:
    """The step that leads a search with two worker pods is killed with -9."""
    run = Run.submit(
        "baseline.enabled=false", "finetune.enabled=false", "search.workers=2", "search.trials=8", "search.epochs=30"
    )
    pod = run.running("search", ": worker")
    kubectl("exec", pod, "-c", "main", "--", "python3", "-c", KILL)
    killed_at = time.monotonic()
    while _worker_pods(created_before=pod) and time.monotonic() - killed_at < LONGEST_SECONDS:
        time.sleep(POLL_SECONDS)
    run.notes.append(f"the workers of the first chief were gone after {time.monotonic() - killed_at:.0f} s")
    run.end()
    jobs = json.loads(kubectl("get", "jobs", "-l", "assay.dev/search", "-o", "json"))["items"]
    run.notes.append(f"{len(jobs)} Jobs are left")
    return run.summary("search")


def _worker_pods(created_before: str) -> list[str]:
    """Return the running worker pods whose Job belongs to a chief's pod."""
    jobs = json.loads(kubectl("get", "jobs", "-l", "assay.dev/search", "-o", "json"))["items"]
    mine = {
        job["metadata"]["name"]
        for job in jobs
        if any(owner["name"] == created_before for owner in job["metadata"].get("ownerReferences", []))
    }
    pods = json.loads(kubectl("get", "pods", "-l", "assay.dev/search", "-o", "json"))["items"]
    return [
        pod["metadata"]["name"]
        for pod in pods
        if pod["metadata"]["labels"].get("job-name") in mine and pod["status"].get("phase") in ("Pending", "Running")
    ]


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
    "drained": drained,
    "node-lost": node_lost,
    "out-of-memory": out_of_memory,
    "cancelled": cancelled,
    "storage-away": away("assay-storage"),
    "artifacts-away": away("seaweedfs"),
    "metadata-away": away("metadata-grpc-deployment"),
    "server-away": away("ml-pipeline"),
    "quota": quota,
    "half-warm": half_warm,
    "outputs-deleted": outputs_deleted,
    "outputs-damaged": outputs_damaged,
    "chief-killed": chief_killed,
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
    if UNWANTED:
        raise SystemExit(f"not as it should be: {'; '.join(UNWANTED)}")


if __name__ == "__main__":
    main()
