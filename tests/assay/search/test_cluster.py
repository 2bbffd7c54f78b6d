"""Worker pods: the Job that is asked for, and a search run by pods of a cluster that speaks the real API.

The cluster here is an HTTP server with the few endpoints that are used. It starts the container of each pod as a
process, with the command and environment of the Job, and starts dead ones again as the Job says.
"""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assay.config import Policy, RuntimeConfig, SearchConfig
from assay.data.dataset import Dataset
from assay.errors import AssayError, InputError
from assay.models.info import read_info
from assay.runtime import resolve_precision
from assay.search import cluster
from assay.search.cluster import ClusterWorkers, parse_indexes
from assay.search.job import LONGEST_SECONDS, PROFILE_VARIABLE, worker_job
from assay.search.search import run_search
from assay.search.spec import SearchSpec
from assay.storage.open import open_store
from assay.training.checkpoint import release_checkpoints
from tests.kubernetes_server import KubernetesServer, write_kubeconfig
from tests.loopback import Refused

NAMESPACE, POD_NAME, UID = "ml", "run-42-search-main", "0c9a61c2-1111-4222-8333-abcdefabcdef"
POD: dict[str, Any] = {
    "metadata": {"name": POD_NAME, "namespace": NAMESPACE, "uid": UID},
    "spec": {
        "serviceAccountName": "pipeline-runner",
        "imagePullSecrets": [{"name": "registry"}],
        "nodeSelector": {"pool": "cpu"},
        "tolerations": [
            {"key": "spot", "operator": "Exists"},
            {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"},
        ],
        "securityContext": {"runAsNonRoot": True},
        "containers": [
            {"name": "wait", "image": "argoexec"},
            {
                "name": "main",
                "image": "registry.example/assay:0123abc",
                "imagePullPolicy": "IfNotPresent",
                "workingDir": "/",
                "command": ["/var/run/argo/argoexec"],
                "env": [
                    {"name": "ASSAY_IMAGE", "value": "registry.example/assay:0123abc"},
                    {"name": "KFP_POD_NAME", "value": POD_NAME},
                    {"name": "ARGO_NODE_ID", "value": "x"},
                ],
                "resources": {"limits": {"cpu": "4", "memory": "8Gi"}},
                "securityContext": {"allowPrivilegeEscalation": False},
                "volumeMounts": [
                    {"name": "shm", "mountPath": "/dev/shm"},
                    {"name": "var-run-argo", "mountPath": "/var/run/argo"},
                    {"name": "kube-api-access-7x", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"},
                ],
            },
        ],
        "volumes": [
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "4Gi"}},
            {"name": "var-run-argo", "emptyDir": {}},
            {"name": "kube-api-access-7x", "projected": {"sources": []}},
        ],
    },
    "status": {"podIP": "127.0.0.1", "phase": "Running"},
}


def job(**changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "search": "a1b2c3d4e5f6a7b8c9d0e1f2",
        "workers": 3,
        "spec_uri": "gs://bucket/checkpoints/a1/spec.json",
        "host": "10.1.2.3",
        "port": 40123,
        "restarts": 2,
    }
    return worker_job(POD, **{**arguments, **changes})


def test_workers_have_stable_indexes_and_come_back_after_preemption() -> None:
    spec = job()["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 3, 3)
    assert spec["backoffLimitPerIndex"] == 2
    assert spec["template"]["spec"]["restartPolicy"] == "Never", "what backoffLimitPerIndex asks for"
    first, second = spec["podFailurePolicy"]["rules"]
    assert (first["action"], first["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")
    assert (second["action"], second["onExitCodes"]["values"]) == ("FailJob", [2, 3])


def test_workers_run_the_steps_image_as_its_account_and_vanish_with_it() -> None:
    manifest = job()
    (owner,) = manifest["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Pod", POD_NAME, UID)
    pod = manifest["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == "registry.example/assay:0123abc"
    assert container["command"] == [
        sys.executable,
        "-m",
        "assay.search.workers",
        "gs://bucket/checkpoints/a1/spec.json",
    ]
    assert container["securityContext"] == {"allowPrivilegeEscalation": False}
    assert container["resources"] == {"limits": {"cpu": "4", "memory": "8Gi"}}
    assert pod["serviceAccountName"] == "pipeline-runner"
    assert (pod["imagePullSecrets"], pod["securityContext"]) == ([{"name": "registry"}], {"runAsNonRoot": True})
    assert (pod["nodeSelector"], pod["tolerations"]) == ({"pool": "cpu"}, [{"key": "spot", "operator": "Exists"}])
    assert [volume["name"] for volume in pod["volumes"]] == ["shm"], "not those of the workflow engine"
    assert container["volumeMounts"] == [{"name": "shm", "mountPath": "/dev/shm"}]


def test_workers_are_told_where_the_chief_is_and_nothing_of_the_step() -> None:
    *given, node = job()["spec"]["template"]["spec"]["containers"][0]["env"]
    assert node == {"name": "ASSAY_NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
    assert {one["name"]: one["value"] for one in given} == {
        "ASSAY_IMAGE": "registry.example/assay:0123abc",
        "KERASTUNER_ORACLE_IP": "10.1.2.3",
        "KERASTUNER_ORACLE_PORT": "40123",
        "PYTHONUNBUFFERED": "1",
    }


def test_a_profile_puts_workers_on_gpu_nodes() -> None:
    profile = {
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
        "nodeSelector": {"pool": "gpu"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        "priorityClassName": "search",
    }
    pod = job(profile=profile)["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"] == {"limits": {"nvidia.com/gpu": "1"}}
    assert {key: pod[key] for key in profile if key != "resources"} == {
        key: value for key, value in profile.items() if key != "resources"
    }
    with pytest.raises(InputError, match="unknown key gpus"):
        job(profile={"gpus": 1})


def test_kubernetes_ends_every_job_after_some_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert job(deadline_seconds=900)["spec"]["activeDeadlineSeconds"] == 900
    assert job()["spec"]["activeDeadlineSeconds"] == LONGEST_SECONDS
    monkeypatch.setitem(POD["spec"], "activeDeadlineSeconds", 14400)
    assert job()["spec"]["activeDeadlineSeconds"] == 14400, "the step's own"


@pytest.mark.parametrize("changes", [{}, {"deadline_seconds": 5, "profile": {"affinity": {"nodeAffinity": {}}}}])
def test_the_manifest_has_no_field_that_kubernetes_does_not_know(changes: dict[str, Any]) -> None:
    from kubernetes import client

    class Response:
        data = json.dumps(job(**changes))

    api = client.ApiClient(client.Configuration(host="http://127.0.0.1:1"))
    assert api.sanitize_for_serialization(api.deserialize(Response(), "V1Job")) == job(**changes)
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", job()["metadata"]["name"])


@pytest.mark.parametrize(("text", "indexes"), [("", set()), ("0", {0}), ("1,3-5,7", {1, 3, 4, 5, 7})])
def test_indexes_are_read_in_kubernetes_notation(text: str, indexes: set[int]) -> None:
    assert parse_indexes(text) == indexes


class Cluster(KubernetesServer):
    """Keeps Jobs, and runs their pods as processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs: dict[str, dict[str, Any]] = {}
        self.deleted: list[str] = []
        self.processes: dict[tuple[str, int], subprocess.Popen[bytes]] = {}
        self.starts: dict[tuple[str, int], int] = {}
        self.runs_pods = True
        self.refuses = ""
        self.unschedulable = ""
        self.exceeded = ""
        self.failed: dict[str, tuple[str, int, int]] = {}
        super().__init__()

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> dict[str, Any]:
        jobs = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
        name = path.removeprefix(f"{jobs}/")
        match method, path:
            case "GET", other if other == f"/api/v1/namespaces/{NAMESPACE}/pods/{POD_NAME}":
                return {"apiVersion": "v1", "kind": "Pod", **POD}
            case "GET", other if other == f"/api/v1/namespaces/{NAMESPACE}/pods":
                assert query["labelSelector"].startswith("job-name=assay-search-")
                return {"kind": "PodList", "items": [] if self.exceeded else self.pods()}
            case "GET", other if other == f"/api/v1/namespaces/{NAMESPACE}/events":
                assert query["fieldSelector"].startswith("involvedObject.name=assay-search-")
                event = {"metadata": {}, "involvedObject": {}, "reason": "FailedCreate", "message": self.exceeded}
                return {"kind": "EventList", "items": [event] if self.exceeded else []}
            case "GET", other if other == jobs:
                label, _, wanted = query["labelSelector"].partition("=")
                found = [one for one in self.jobs.values() if one["metadata"]["labels"][label] == wanted]
                return {"kind": "JobList", "items": found}
            case "GET", _ if name in self.jobs:
                return {**self.jobs[name], "status": self.status(name)}
            case "POST", _ if self.refuses:
                raise Refused(403, self.refuses)
            case "POST", _:
                manifest: dict[str, Any] = json.loads(body)
                self.create(manifest)
                return manifest
            case "DELETE", _ if name in self.jobs:
                assert query["propagationPolicy"] == "Background"
                self.delete(name)
                return {"kind": "Status", "status": "Success"}
        raise Refused(404, f"{path} not found")

    def create(self, manifest: dict[str, Any]) -> None:
        name = manifest["metadata"]["name"]
        self.jobs[name] = manifest
        for index in range(manifest["spec"]["completions"] if self.runs_pods else 0):
            self._start(name, index)

    def _start(self, name: str, index: int) -> None:
        (container,) = self.jobs[name]["spec"]["template"]["spec"]["containers"]
        environment = {**os.environ, "JOB_COMPLETION_INDEX": str(index)}
        environment.update({one["name"]: one.get("value", f"node-{index}") for one in container["env"]})
        self.starts[name, index] = self.starts.get((name, index), 0) + 1
        with (self.folder / f"pod-{index}.log").open("ab") as log:
            self.processes[name, index] = subprocess.Popen(
                container["command"], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def pods(self) -> list[dict[str, Any]]:
        """Pods that failed, and one that waits where that is said."""
        reasons = {-signal.SIGKILL: (137, "OOMKilled"), 2: (2, "Error")}
        found = []
        for name, (_, index, code) in self.failed.items():
            number, reason = reasons.get(code, (1, "Error"))
            ended = {"exitCode": number, "reason": reason, "message": "spec.json: not JSON" if number != 137 else None}
            found.append(
                {
                    "metadata": {
                        "name": name,
                        "creationTimestamp": "2026-01-01T00:00:00Z",
                        "annotations": {"batch.kubernetes.io/job-completion-index": str(index)},
                    },
                    "spec": {"nodeName": f"node-{index}", "containers": []},
                    "status": {
                        "phase": "Failed",
                        "containerStatuses": [
                            {
                                "name": "worker",
                                "image": "",
                                "imageID": "",
                                "ready": False,
                                "restartCount": 0,
                                "state": {"terminated": ended},
                            }
                        ],
                    },
                }
            )
        if self.unschedulable:
            condition = {"type": "PodScheduled", "status": "False", "message": self.unschedulable}
            metadata = {"name": "waiting", "creationTimestamp": "2026-01-01T00:00:00Z"}
            found.append({"metadata": metadata, "status": {"phase": "Pending", "conditions": [condition]}})
        return found

    def status(self, name: str) -> dict[str, Any]:
        manifest = self.jobs[name]
        codes = {index: process.poll() for (owner, index), process in self.processes.items() if owner == name}
        for index, code in codes.items():
            if code not in (None, 0):
                self.failed[f"{name}-{index}-{self.starts[name, index]}"] = (name, index, int(code or 0))
        failed = []
        rules = manifest["spec"]["podFailurePolicy"]["rules"]
        fatal = [code for rule in rules if rule["action"] == "FailJob" for code in rule["onExitCodes"]["values"]]
        if set(fatal) & set(codes.values()):
            why = {"type": "Failed", "status": "True", "reason": "PodFailurePolicy", "message": "exit code"}
            return {"conditions": [why]}
        for index, code in codes.items():
            if code not in (None, 0):
                if self.starts[name, index] > manifest["spec"]["backoffLimitPerIndex"]:
                    failed.append(index)
                else:
                    self._start(name, index)
        running = manifest["spec"]["completions"] - sum(code == 0 for code in codes.values()) - len(failed)
        status: dict[str, Any] = {
            "active": 0 if self.exceeded else running,
            "ready": running if self.runs_pods else 0,
            "succeeded": sum(code == 0 for code in codes.values()),
        }
        if failed:
            status["failedIndexes"] = ",".join(map(str, failed))
        return status

    def delete(self, name: str) -> None:
        self.deleted.append(name)
        del self.jobs[name]
        for (owner, _), process in self.processes.items():
            if owner == name and process.poll() is None:
                process.kill()
                process.wait()

    def stop(self) -> None:
        for name in list(self.jobs):
            self.delete(name)
        super().stop()


@pytest.fixture
def k8s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster that this process's kubeconfig names, in which it is a pod."""
    running = Cluster(tmp_path)
    file = tmp_path / "kubeconfig"
    write_kubeconfig(file, running.url)
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(file))
    monkeypatch.setenv("KFP_POD_NAME", POD_NAME)
    monkeypatch.setenv("KFP_NAMESPACE", NAMESPACE)
    monkeypatch.setattr(cluster, "POLL_SECONDS", 0.1)
    yield running
    running.stop()


def test_a_search_is_run_by_pods_and_survives_the_death_of_one(
    k8s: Cluster,
    small_search: SearchConfig,
    exact: RuntimeConfig,
    dataset: Dataset,
    tmp_path: Path,
    gcs_root: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ASSAY_PRICES", '{"gpu": 2}')
    monkeypatch.setenv("ASSAY_MACHINE", "gpu")
    monkeypatch.setenv(PROFILE_VARIABLE, json.dumps({"resources": {"limits": {"nvidia.com/gpu": "1"}}}))
    search = SearchConfig.model_validate({**small_search.model_dump(), "workers": 2, "placement": "pods"})
    killer = threading.Thread(target=_kill_a_pod_in_mid_trial, args=[k8s, gcs_root])
    killer.start()
    result = run_search(search, exact, dataset.root, Policy(), tmp_path / "out", 3, gcs_root)
    killer.join()
    assert result.metrics["search_trials"] == 3
    assert result.metrics["search_failed_trials"] == 0
    assert result.metrics["search_epochs"] == 9
    assert sorted(k8s.starts.values()) == [1, 2], "one pod was killed and started again"
    said = capsys.readouterr().out
    assert "search: worker0 on node node-0: out of memory (OOMKilled)" in said
    for trial in ("0", "1", "2"):
        assert re.search(rf"search: trial {trial}: worker[01] on node-[01], \d+ s, val_auc 0\.\d{{4}}", said), said
    with (tmp_path / "out" / "trials.csv").open(newline="", encoding="utf-8") as file:
        assert {line["worker"] for line in csv.DictReader(file)} <= {"worker0 on node-0", "worker1 on node-1"}
    assert result.metrics["worker_cost"] == pytest.approx(result.metrics["train_seconds"] * 2 / 3600)
    assert not k8s.jobs and len(k8s.deleted) == 1, "no Job is left behind"
    release_checkpoints(tmp_path / "out")
    assert not open_store(gcs_root).list()


def test_workers_decide_on_their_number_format_where_they_alone_have_accelerators(
    k8s: Cluster,
    small_search: SearchConfig,
    exact: RuntimeConfig,
    dataset: Dataset,
    tmp_path: Path,
    gcs_root: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(PROFILE_VARIABLE, json.dumps({"resources": {"limits": {"nvidia.com/gpu": "1"}}}))
    monkeypatch.setattr(cluster, "in_cluster", lambda: True)
    values = {**small_search.model_dump(), "workers": 2, "placement": "pods", "trials": 2, "epochs": 1}
    search = SearchConfig.model_validate({**values, "tuner": "random"})
    auto = exact.model_copy(update={"precision": "auto"})
    result = run_search(search, auto, dataset.root, Policy(), tmp_path / "out", 3, gcs_root)
    (name,) = [name for name in open_store(gcs_root).list() if name.endswith("/spec.json")]
    assert SearchSpec.read(open_store(gcs_root).uri(name)).runtime.precision == "auto"
    info = read_info(result.model_dir)
    # Workers here are on this very machine, so they come to what this process would.
    assert info.config["precision"] == resolve_precision(auto)
    store = open_store(gcs_root)
    rows = [json.loads(store.read_bytes(name)) for name in store.list() if "/rows/" in name]
    assert {row["precision"] for row in rows} == {info.config["precision"]}


def _kill_a_pod_in_mid_trial(k8s: Cluster, root: str) -> None:
    store = open_store(root)
    stop = time.monotonic() + 300
    while time.monotonic() < stop:
        if any(re.search(r"/trial-\d+\.npz$", name) for name in store.list()):
            process = k8s.processes[next(iter(k8s.jobs)), 0]
            process.send_signal(signal.SIGKILL)
            return
        time.sleep(0.05)


def test_pods_that_fail_too_often_are_given_up_and_the_job_is_removed(k8s: Cluster, tmp_path: Path) -> None:
    spec = tmp_path / "spec.json"
    spec.write_text("{ no JSON")
    group = ClusterWorkers("a1b2", 2, str(spec), restarts=1)
    assert group.host == "127.0.0.1"
    group.start(group.host, 1)
    lost: dict[str, str] = {}
    while not (poll := group.poll()).finished:
        lost.update(poll.lost)
        time.sleep(0.1)
    lost.update(poll.lost)
    assert set(lost) == {"worker0", "worker1"}
    assert "it ended 2 times, the last time exit code" in lost["worker0"]
    assert "not JSON" in lost["worker0"]
    assert set(k8s.starts.values()) == {2}
    group.stop()
    group.stop()
    assert not k8s.jobs


def test_wrong_input_is_not_tried_again(k8s: Cluster, tmp_path: Path) -> None:
    group = ClusterWorkers("a1b2", 2, str(tmp_path / "absent" / "spec.json"), restarts=5)
    group.start(group.host, 1)
    with pytest.raises(AssayError, match=r"failed \(PodFailurePolicy.*worker[01] exit code 2"):
        while True:
            group.poll()
            time.sleep(0.1)
    assert set(k8s.starts.values()) == {1}


def test_jobs_of_an_earlier_try_are_replaced(k8s: Cluster) -> None:
    k8s.runs_pods = False
    for search in ("a1b2", "ffff"):
        earlier = job(search=search)
        earlier["metadata"]["name"] = f"old-{search}"
        k8s.create(earlier)
    group = ClusterWorkers("a1b2", 1, "/spec.json", restarts=0)
    group.start("127.0.0.1", 1)
    assert k8s.deleted == ["old-a1b2"]
    assert set(k8s.jobs) == {"old-ffff", f"assay-search-a1b2-{UID[:8]}"}


def test_why_pods_wait_is_said_once(k8s: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    k8s.runs_pods = False
    k8s.unschedulable = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    group = ClusterWorkers("a1b2", 1, "/spec.json", restarts=0)
    group.start("127.0.0.1", 1)
    for _ in range(3):
        assert not group.poll().finished
        time.sleep(0.11)
    assert capsys.readouterr().out.count("1 of 1 worker pods wait: 0/3 nodes are available") == 1


def test_a_quota_that_lets_no_pod_be_made_is_said(k8s: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    k8s.runs_pods = False
    group = ClusterWorkers("a1b2", 2, "/spec.json", restarts=0)
    group.start("127.0.0.1", 1)
    # The Job's controller tries again and again, each time with a pod of another name.
    for name in ("x", "y"):
        k8s.exceeded = (
            f'Error creating: pods "assay-search-{name}" is forbidden: exceeded quota: assay, requested: gpu=1'
        )
        assert not group.poll().finished
        time.sleep(0.11)
    said = capsys.readouterr().out
    assert said.count("2 of 2 worker pods wait: Error creating: pods are forbidden: exceeded quota: assay") == 1


def test_a_refusal_says_what_to_allow(k8s: Cluster) -> None:
    k8s.refuses = 'jobs.batch is forbidden: User "x" cannot create resource "jobs"'
    group = ClusterWorkers("a1b2", 1, "/spec.json", restarts=0)
    with pytest.raises(AssayError, match=r"403 jobs.batch is forbidden.*Allow the step's service account to create"):
        group.start("127.0.0.1", 1)


def test_a_job_that_is_gone_ends_the_search(k8s: Cluster) -> None:
    k8s.runs_pods = False
    group = ClusterWorkers("a1b2", 1, "/spec.json", restarts=0)
    group.start("127.0.0.1", 1)
    k8s.delete(next(iter(k8s.jobs)))
    with pytest.raises(AssayError, match=r"cannot be seen any more.*it continues where it stood"):
        group.poll()


def test_a_job_that_failed_as_a_whole_ends_the_search(k8s: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    k8s.runs_pods = False
    failed = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "Job was active too long"}
    monkeypatch.setattr(k8s, "status", lambda name: {"conditions": [failed]})
    group = ClusterWorkers("a1b2", 1, "/spec.json", restarts=0)
    group.start("127.0.0.1", 1)
    with pytest.raises(AssayError, match="DeadlineExceeded: Job was active too long"):
        group.poll()


def test_a_step_that_may_not_read_its_pod_says_so(k8s: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFP_POD_NAME", "another")
    with pytest.raises(AssayError, match=r"pod ml/another cannot be read \(404.*placement to processes"):
        ClusterWorkers("a1b2", 1, "/spec.json", restarts=0)


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_profile_that_is_no_json_object_is_named(k8s: Cluster, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(PROFILE_VARIABLE, text)
    with pytest.raises(InputError, match=PROFILE_VARIABLE):
        ClusterWorkers("a1b2", 1, "/spec.json", restarts=0).start("127.0.0.1", 1)


def test_pods_without_a_cluster_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", absent)
    assert not cluster.in_cluster()
    with pytest.raises(InputError, match=r"no cluster is configured here.*placement to processes"):
        ClusterWorkers("a1b2", 1, "/spec.json", restarts=0)
