"""kind-up and kind-test on a machine whose tools are played by small programs that write down what they are told.

The cluster itself cannot be had in a test; the scripts' own logic can: what they ask of the tools, and what makes
them refuse.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.manifests.conftest import MANIFESTS, ROOT

# Pods of the run by step, and their nodes.
NODES = {"gpu": "gpu-node", "search": "spot-node", "cpu": "cpu-node"}
KUBECTL = """#!/usr/bin/env bash
echo "kubectl $*" >>"$CALLS"
[[ $* != *"apply -k"*/.kubeflow-* ]] || cat "$3/kustomization.yaml" >>"$CALLS"
case "$*" in
  *"version --client"*) echo "Client Version: v1.34.0" ;;
  *"get nodes -l assay.dev/pool=gpu"*) printf 'node/gpu-node\\nnode/spot-node\\n' ;;
  *port-forward*) echo "Forwarding from 127.0.0.1:4321 -> 8888"; exec sleep 20 ;;
  *"get pods -l pipeline/runid=${RUN_ID},assay.dev/step="*spec.nodeName*)
    all="$*" step=${all#*assay.dev/step=} step=${step%% *}
    variable=NODE_$step
    [[ ${!variable} == none ]] || echo "$step-pod ${!variable}" ;;
  *"get pods -l pipeline/runid=${RUN_ID} -o json"*) cat "$PODS" ;;
  *"logs ingest-pod"*) cat "$LOG" ;;
  *"get node gpu-node"*) echo "gpu <no value>" ;;
  *"get node spot-node"*) echo "gpu true" ;;
  *"get node cpu-node"*) echo "cpu <no value>" ;;
esac
"""
KIND = """#!/usr/bin/env bash
echo "kind $*" >>"$CALLS"
[[ $1 != version ]] || echo "kind v$KIND_VERSION go1.24 linux/amd64"
[[ $* != "get clusters" ]] || echo "${CLUSTERS:-}"
"""
CURL = """#!/usr/bin/env bash
echo "curl $*" >>"$CALLS"
case "$*" in
  *recurringruns*)
    grep -q "^make.*schedule" "$CALLS" && echo '{"recurringRuns": [{"recurring_run_id": "r1"}]}' || echo '{}' ;;
  *) echo '{"items": ['"$(printf '{"name": "%s"},' $OBJECTS)"'{"name": "kind/last"}]}' ;;
esac
"""
TELL = """#!/usr/bin/env bash
[[ $* != *gs://assay/nothing* ]] || exit "${WRONG_INPUT:-2}"
echo "$(basename "$0") $* [$ASSAY_SETTINGS $ASSAY_IMAGES__GPU $KFP_HOST $STORAGE_EMULATOR_HOST]" >>"$CALLS"
echo "kind baseline: run $RUN_ID"
exit "${SUBMIT:-0}"
"""
RUN_ID = "3f8125d2-4e44-48ad-ab1b-b5c5199bf696"
OBJECTS = "kind/snapshots/f/snapshot.json kind/models/kind/versions/v1/version.json kind/models/kind/champion.json"
STEPS = {
    **dict.fromkeys(("ingest", "preprocess", "augment", "promote"), "cpu-node"),
    **dict.fromkeys(("baseline", "finetune", "evaluate"), "gpu-node"),
    "search": "spot-node",
}
LOG = """2026-11-27T05:54:41.100000000Z [KFP Executor] Got executor_input:
2026-11-27T05:54:47.100000000Z [KFP Executor] Wrote executor output file to /minio/x.
2026-11-27T05:54:48.100000000Z I1127 launcher_v2.go:867] Executing uploadOutputArtifacts attempt: 1
2026-11-27T05:54:49.100000000Z I1127 launcher_v2.go:206] publish success.
"""


def pod(path: str, step: str, created: int, started: int, main: tuple[int, int]) -> dict[str, Any]:
    """A pod as Kubernetes gives it, by seconds after 05:54."""
    at = [f"2026-11-27T05:54:{second:02d}Z" for second in (created, started, *main)]
    terminated = {"terminated": {"startedAt": at[2], "finishedAt": at[3]}}
    return {
        "metadata": {
            "name": f"{step or 'driver'}-pod",
            "creationTimestamp": at[0],
            "labels": {"assay.dev/step": step} if step else {},
            "annotations": {"workflows.argoproj.io/node-name": path},
        },
        "spec": {"nodeName": "cpu-node"},
        "status": {"startTime": at[1], "containerStatuses": [{"name": "main", "state": terminated}]},
    }


PODS = [
    pod("run-x(0).root-driver(0)", "", 10, 11, (12, 14)),
    pod("run-x(0).root(0).ingest-driver(0)", "", 17, 18, (19, 22)),
    pod("run-x(0).root(0).ingest(0).executor(0)", "ingest", 24, 25, (38, 50)),
]
Script = Callable[..., tuple[subprocess.CompletedProcess[str], str]]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Run a script of manifests/ with the played tools; returns its result and what the tools were told."""
    tools = tmp_path / "bin"
    tools.mkdir()
    versions = (MANIFESTS / "versions.env").read_text()
    version = versions.split("KIND_VERSION=")[1].split()[0]
    programs = {"kubectl": KUBECTL, "kind": KIND.replace("$KIND_VERSION", version), "curl": CURL, "make": TELL}
    for name, text in {**programs, "docker": "#!/bin/sh\n"}.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    root = tmp_path / "checkout"
    for file in (file for kind in ("sh", "py", "yaml", "env") for file in MANIFESTS.rglob(f"*.{kind}")):
        target = root / file.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
        target.chmod(file.stat().st_mode)
    environment = root / ".venv" / "bin"
    environment.mkdir(parents=True)
    (environment / "assay").write_text(TELL)
    (environment / "assay").chmod(0o755)
    (environment / "python").symlink_to(sys.executable)
    calls = tmp_path / "calls"
    (tmp_path / "pods.json").write_text(json.dumps({"items": PODS}))
    (tmp_path / "log").write_text(LOG)

    def run(name: str, *arguments: str, **variables: str) -> tuple[subprocess.CompletedProcess[str], str]:
        calls.write_text("")
        played = {"CALLS": str(calls), "OBJECTS": OBJECTS, "ASSAY_IMAGES__CPU": "assay:0123456789ab"}
        played |= {"FAULTS": "", "RUN_ID": RUN_ID, "MODEL": "kind"}
        played |= {"PODS": str(tmp_path / "pods.json"), "LOG": str(tmp_path / "log")}
        nodes = {f"NODE_{step}": node for step, node in STEPS.items()}
        # Whoever works on a real cluster has variables for it set.
        own = {name: value for name, value in os.environ.items() if not name.startswith(("KIND_", "ASSAY_", "KFP_"))}
        result = subprocess.run(
            [root / "manifests" / name, *arguments],
            env={**own, "PATH": f"{tools}:{os.environ['PATH']}", **played, **nodes, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        return result, calls.read_text()

    return run


def test_kind_up_makes_the_cluster_of_the_pinned_node_and_gives_each_gpu_node_its_fake_resource(script: Script) -> None:
    result, calls = script("kind/up.sh")
    assert result.returncode == 0, result.stderr
    image = (MANIFESTS / "versions.env").read_text().split("KIND_NODE_IMAGE=")[1].split()[0]
    assert f"--image {image} " in calls and "kind/cluster.yaml" in calls
    for node in ("gpu-node", "spot-node"):
        assert f"kubectl patch node/{node} --subresource=status" in calls
    parts = (
        "base/priorities.yaml",
        "cluster-scoped-resources",
        "crd/applications",
        "env/platform-agnostic",
        "../kubeflow",
    )
    order = [calls.index(part) for part in parts]
    assert order == sorted(order) and calls.index("overlays/kind") > order[-1]
    # Kubeflow's parts of version 1 are not waited for.
    assert "deployment/workflow-controller" in calls and "deployment/cache-server" not in calls
    assert "--all" not in calls


def test_kind_up_takes_another_node_image_and_goes_on_from_what_is_there(script: Script) -> None:
    result, calls = script("kind/up.sh", KIND_NODE_IMAGE="assay-rig/node:1")
    assert result.returncode == 0, result.stderr
    assert "--image assay-rig/node:1 " in calls
    result, calls = script("kind/up.sh", CLUSTERS="assay")
    assert result.returncode == 0, result.stderr
    assert "create cluster" not in calls
    assert "overlays/kind" in calls


def test_kind_test_passes_where_everything_is_as_it_should_be(script: Script) -> None:
    result, calls = script("kind/test.sh")
    assert result.returncode == 0, result.stderr
    assert "as they should be" in result.stdout
    settings = "[manifests/kind/settings.yaml assay:0123456789ab http://127.0.0.1:4321 http://127.0.0.1:4321]"
    assert [settings in line for line in calls.splitlines() if line.startswith("make")] == [True] * 4
    assert "make --no-print-directory submit WAIT=1 CONFIG=" in calls
    assert "assay schedule delete kind" in calls, "nothing is left to run every night"


def test_kind_test_shows_where_the_time_went(script: Script) -> None:
    result, _ = script("kind/test.sh")
    lines = result.stdout.partition(" s\n")[2].splitlines()
    assert lines[0].split() == ["step", "wait", "driver", "gap", "pending", "init", "main", "own", "upload", "node"]
    assert lines[1].split() == ["ingest", "3", "5", "2", "1", "13", "12", "6", "2", "cpu-node"]
    # From second 10 to 50; 14 to 17 and 22 to 24 without a pod.
    assert lines[2].startswith("40 s from the first pod to the last one's end; no pod was alive for 5 s")
    assert lines[2].endswith("3 pods, 2 of them Kubeflow's drivers")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"NODE_search": "gpu-node"}, "search: scheduled on 'gpu <no value>', wanted 'gpu true'"),
        ({"NODE_ingest": "gpu-node"}, "ingest: scheduled on"),
        ({"NODE_finetune": "none"}, "finetune: no pod of this run is left"),
        (
            {"OBJECTS": "kind/snapshots/f kind/models/kind/versions/v1/x"},
            "nothing under gs://assay/kind/models/kind/champion",
        ),
    ],
)
def test_kind_test_refuses(script: Script, variables: dict[str, str], said: str) -> None:
    result, _ = script("kind/test.sh", **variables)
    assert result.returncode == 1
    assert said in result.stderr


def test_kind_test_fails_with_the_run(script: Script) -> None:
    result, calls = script("kind/test.sh", SUBMIT="1")
    assert result.returncode != 0
    assert "get pods" not in calls


def test_kind_test_wants_wrong_input_to_be_told_as_such_and_faults_that_are_known(script: Script) -> None:
    result, _ = script("kind/test.sh", WRONG_INPUT="1")
    assert result.returncode == 1
    assert "wrong input ended with exit code 1, wanted 2" in result.stderr
    result, _ = script("kind/test.sh", FAULTS="killed no-such-fault")
    assert result.returncode == 1
    assert "unknown fault no-such-fault. Known: " in result.stderr


def test_load_names_an_image_that_is_not_there(script: Script) -> None:
    result, _ = script("kind/load.sh", "assay:0123456789ab")
    assert result.returncode == 1
    assert "no kind cluster 'assay'" in result.stderr
