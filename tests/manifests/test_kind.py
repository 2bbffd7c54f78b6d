"""kind-up and kind-test on a machine whose tools are played by small programs that write down what they are told.

The cluster itself cannot be had in a test; the scripts' own logic can: what they ask of the tools, and what makes
them refuse.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

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
  *"get pods -l assay.dev/step="*)
    all="$*" step=${all#*assay.dev/step=} step=${step%% *}
    variable=NODE_$step
    [[ ${!variable} == none ]] || echo "2999-01-01T00:00:00Z $step-pod ${!variable}" ;;
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
echo "$(basename "$0") $* [$ASSAY_SETTINGS $ASSAY_IMAGES__GPU $KFP_HOST $STORAGE_EMULATOR_HOST]" >>"$CALLS"
exit "${SUBMIT:-0}"
"""
OBJECTS = "kind/snapshots/f/snapshot.json kind/models/kind/versions/v1/version.json kind/models/kind/champion.json"
STEPS = {
    **dict.fromkeys(("ingest", "preprocess", "augment", "promote"), "cpu-node"),
    **dict.fromkeys(("baseline", "finetune", "evaluate"), "gpu-node"),
    "search": "spot-node",
}
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
    for file in (*MANIFESTS.rglob("*.sh"), *MANIFESTS.rglob("*.yaml"), *MANIFESTS.rglob("*.env")):
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

    def run(name: str, *arguments: str, **variables: str) -> tuple[subprocess.CompletedProcess[str], str]:
        calls.write_text("")
        played = {"CALLS": str(calls), "OBJECTS": OBJECTS, "ASSAY_IMAGES__CPU": "assay:0123456789ab"}
        nodes = {f"NODE_{step}": node for step, node in STEPS.items()}
        result = subprocess.run(
            [root / "manifests" / name, *arguments],
            env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", **played, **nodes, **variables},
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
    assert [settings in line for line in calls.splitlines() if line.startswith("make")] == [True] * 3
    assert "make --no-print-directory submit WAIT=1 CONFIG=" in calls


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


def test_load_names_an_image_that_is_not_there(script: Script) -> None:
    result, _ = script("kind/load.sh", "assay:0123456789ab")
    assert result.returncode == 1
    assert "no kind cluster 'assay'" in result.stderr
