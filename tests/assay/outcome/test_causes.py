"""Why a step waits, was lost or failed: what Kubernetes and Argo say, in a person's words."""

from __future__ import annotations

from typing import Any

import pytest

from assay.outcome.causes import Cause, why_failed, why_lost, why_waiting
from assay.outcome.logs import StepLog, parse_log
from assay.outcome.pods import Pod
from assay.outcome.workflow import Node


def node(message: str = "", host: str = "") -> Node:
    return Node("w-1", "baseline", "Pod", "Failed", message, "system-container-impl", "", host, None, None)


def pod(*conditions: dict[str, str], main: dict[str, Any] | None = None, **status: Any) -> Pod:
    """Return a pod on node n1, of the profile gpu."""
    containers = [{"name": "main", "env": [{"name": "ASSAY_MACHINE", "value": "gpu"}]}]
    states = [{"name": "main", "state": {"terminated": main} if main else {}}]
    return Pod(
        {
            "metadata": {"name": "w-system-container-impl-1"},
            "spec": {"nodeName": "n1", "containers": containers},
            "status": {"conditions": list(conditions), "containerStatuses": states, **status},
        }
    )


def test_a_quota_that_keeps_a_pod_from_being_made_is_named() -> None:
    message = (
        'pods "assay-training-x-1" is forbidden: exceeded quota: assay, requested: requests.nvidia.com/gpu=1, used: '
        "requests.nvidia.com/gpu=8, limited: requests.nvidia.com/gpu=8"
    )
    assert why_waiting(node(message), None) == Cause(
        "the quota assay leaves no room (requested: requests.nvidia.com/gpu=1, used: requests.nvidia.com/gpu=8, "
        "limited: requests.nvidia.com/gpu=8)",
        "Wait for other runs, or raise it.",
    )


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("PreemptionByScheduler", "a pod of higher priority took its place"),
        ("DeletionByTaintManager", "its node n1 was lost"),
        ("EvictionByEvictionAPI", "its node n1 was drained"),
        ("TerminationByKubelet", "its node n1 ended it"),
    ],
)
def test_what_took_a_pod_away_is_said(reason: str, said: str) -> None:
    disrupted = {"type": "DisruptionTarget", "status": "True", "reason": reason}
    # Whatever its process said while it was ended.
    lost = pod(disrupted, main={"exitCode": 1, "message": "ended from outside (SIGTERM)"})
    cause = why_failed(None, node(), lost, StepLog(), "baseline")
    assert cause.said == said
    assert cause.way_out.startswith("Submit again")


@pytest.mark.parametrize(
    ("status", "message", "said"),
    [
        ({"reason": "NodeShutdown"}, "", "its node n1 was shut down, as spot nodes are"),
        (
            {"reason": "Evicted", "message": "low on resource: memory"},
            "",
            "its node n1 ran short (low on resource: memory)",
        ),
        (
            {},
            "Pod was terminated in response to imminent node shutdown.",
            "its node n1 was shut down, as spot nodes are",
        ),
        ({}, "pod deleted", "its pod was deleted"),
    ],
)
def test_what_became_of_its_node_is_said(status: dict[str, Any], message: str, said: str) -> None:
    cause = why_lost(node(message, "n1"), pod(**status))
    assert cause is not None
    assert cause.said == said


def test_the_profile_is_the_settings_or_the_pods() -> None:
    killed = pod(main={"exitCode": 1, "reason": "OOMKilled"})
    for profile in ("", "gpu"):
        way_out = why_failed(None, node(), killed, StepLog(), "baseline", profile).way_out
        assert way_out.startswith("Give the profile gpu more memory (ASSAY_PROFILES__GPU__MEMORY)")
    way_out = why_failed(None, node("OOMKilled (exit code 1)"), None, StepLog(), "baseline").way_out
    assert way_out.startswith("Give its profile more memory (ASSAY_PROFILES__NAME__MEMORY)")


def test_a_launcher_that_cannot_go_on_is_no_fault_of_the_step() -> None:
    log = parse_log("done\nF1127 07:04:42.2 18 main.go:59] failed to execute component: rpc error: Unavailable\n")
    cause = why_failed(None, node("main: Error (exit code 2)"), pod(main={"exitCode": 2}), log, "baseline")
    assert (cause.said, cause.wrong_input) == ("Kubeflow could not go on with it: rpc error: Unavailable", False)
