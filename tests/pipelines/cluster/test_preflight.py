"""The look before a run: what it finds in a cluster that lacks one thing after the other, and that submit heeds it.

The cluster is an HTTP server that allows what manifests/base/users.yaml allows and nothing else.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from assay.config import RunConfig, apply_overrides, parse_config
from assay.errors import AssayError, InputError
from assay.storage.open import open_store
from pipelines.cluster.client import NoKubernetes
from pipelines.cluster.preflight import most_at_once, preflight, stages
from pipelines.settings import Settings, load_settings
from tests.kubernetes_server import KubernetesServer, write_kubeconfig
from tests.loopback import Refused
from tests.pipelines.conftest import assay

ROOT = Path(__file__).parents[3]
NAMESPACE = "/api/v1/namespaces/kubeflow"
ACCOUNT = f"{NAMESPACE}/serviceaccounts/assay-pipeline"
QUOTA = f"{NAMESPACE}/resourcequotas/assay"
AUTOSCALER = "/api/v1/namespaces/kube-system/configmaps/cluster-autoscaler-status"
CONTROLLER_CONFIG = f"{NAMESPACE}/configmaps/workflow-controller-configmap"
CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"
GPU_TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
SPOT_TAINT = {"key": "cloud.google.com/gke-spot", "value": "true", "effect": "NoSchedule"}


def pod_of(app: str) -> str:
    return f"{NAMESPACE}/pods/{app}-5d9"


def node(labels: dict[str, str], taints: tuple[dict[str, str], ...] = (), **allocatable: str) -> dict[str, Any]:
    """Return a node of 8 cores and 32 GB."""
    offers = {"cpu": "7910m", "memory": "29200000Ki", "pods": "110"}
    offers |= {name.replace("gpu", "nvidia.com/gpu"): amount for name, amount in allocatable.items()}
    return {"metadata": {"labels": labels}, "spec": {"taints": list(taints)}, "status": {"allocatable": offers}}


def kubeflows_own() -> dict[str, dict[str, Any]]:
    """Return what manifests/kubeflow and manifests/base/priorities.yaml make of Kubeflow, by path."""

    def read(name: str) -> list[dict[str, Any]]:
        return list(yaml.safe_load_all((ROOT / "manifests" / name).read_text(encoding="utf-8")))

    (config,), (controller,), (server,) = (
        read(f"kubeflow/{name}.yaml") for name in ("retries", "controller", "server")
    )
    found = {CONTROLLER_CONFIG: {"data": config["data"]}}
    for app, deployment in (("workflow-controller", controller), ("ml-pipeline", server)):
        spec = {**deployment["spec"]["template"]["spec"], "priority": 1000}
        found[pod_of(app)] = {"metadata": {"labels": {"app": app}}, "spec": spec, "status": {"phase": "Running"}}
    for one in read("base/priorities.yaml"):
        found[f"{CLASSES}/{one['metadata']['name']}"] = one
    return found


class ReadableCluster(KubernetesServer):
    """Keeps objects by their path, and lets members of assay-users read what their roles allow."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {
            NAMESPACE: {},
            ACCOUNT: {},
            QUOTA: {"spec": {"hard": {"requests.nvidia.com/gpu": "8", "count/jobs.batch": "50"}}},
            **kubeflows_own(),
            "/api/v1/nodes/cpu-1": node({"assay.dev/pool": "cpu"}),
            "/api/v1/nodes/gpu-1": node({"assay.dev/pool": "gpu"}, (GPU_TAINT,), gpu="1"),
            "/api/v1/nodes/spot-1": node(
                {"assay.dev/pool": "gpu", "cloud.google.com/gke-spot": "true"}, (GPU_TAINT, SPOT_TAINT), gpu="1"
            ),
        }
        self.statuses: dict[str, int] = {}
        documents = yaml.safe_load_all((ROOT / "manifests/base/users.yaml").read_text(encoding="utf-8"))
        self.rules = [
            (rule, document["kind"]) for document in documents if "rules" in document for rule in document["rules"]
        ]
        super().__init__()

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> dict[str, Any]:
        if path in self.statuses:
            raise Refused(self.statuses[path], "told to fail")
        if path == "/version/":
            return {"major": "1", "minor": "34", **dict.fromkeys(VERSION_FIELDS, "")}
        found = re.fullmatch(
            r"/apis?(?:/scheduling.k8s.io)?/v1(?:/namespaces/([^/]+)(?=/))?/([^/]+)(?:/([^/]+))?", path
        )
        assert found is not None
        scope, resource, name = found.groups()
        if not self._allows("get" if name else "list", resource, name, scope):
            raise Refused(403, f'{resource} is forbidden: User "me" cannot read resource "{resource}"')
        if name is None:
            below = [key for key in self.objects if key.rpartition("/")[0] == path]
            items = [named(key.rpartition("/")[2], self.objects[key]) for key in below]
            wanted = dict(pair.split("=") for pair in filter(None, query.get("labelSelector", "").split(",")))
            return {"items": [one for one in items if wanted.items() <= one["metadata"].get("labels", {}).items()]}
        if path not in self.objects:
            raise Refused(404, f'{resource} "{name}" not found')
        return named(name, self.objects[path])

    def _allows(self, verb: str, resource: str, name: str | None, scope: str | None) -> bool:
        return any(
            resource in rule["resources"]
            and verb in rule["verbs"]
            and name in rule.get("resourceNames", [name])
            and (kind == "ClusterRole" or scope == "kubeflow")
            for rule, kind in self.rules
        )


VERSION_FIELDS = ("gitVersion", "gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform")


def named(name: str, kept: dict[str, Any]) -> dict[str, Any]:
    return {**kept, "metadata": {**kept.get("metadata", {}), "name": name}}


@pytest.fixture
def kubernetes(cluster_settings: Settings, tmp_path: Path) -> Iterator[ReadableCluster]:
    """A cluster that has all that a run needs and is the present kubeconfig's."""
    running = ReadableCluster()
    write_kubeconfig(tmp_path / "kubeconfig", running.url)
    yield running
    running.stop()


@pytest.fixture
def settings(cluster_settings: Settings, gcs_root: str) -> Settings:
    return load_settings(**{**cluster_settings.model_dump(), "storage_root": gcs_root})


def config_with(*overrides: str) -> RunConfig:
    base = {"version": 1, "name": "tiny", "data": {"source": "demo://tissue?images=60"}}
    return parse_config(apply_overrides(base, list(overrides)), "test")


def look(settings: Settings, config: RunConfig | None = None) -> tuple[list[str], list[str]]:
    """Return all lines, and of them those of what is missing; the outcome must agree with them."""
    console = Console(file=io.StringIO(), width=80)
    try:
        preflight(config or config_with(), settings, console)
        passed = True
    except InputError:
        raise
    except AssayError as error:
        assert "--no-preflight" in str(error)
        passed = False
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    missing = [line[2:] for line in lines if line.startswith("✗")]
    assert passed == (not missing)
    return lines, missing


def test_a_cluster_that_has_everything(kubernetes: ReadableCluster, settings: Settings) -> None:
    lines, missing = look(settings)
    assert not missing
    assert not any(line.startswith("·") for line in lines), "the rights of manifests/base/users.yaml are enough"
    assert [line.partition(":")[0] for line in lines] == [
        "✓ Kubernetes",
        "✓ Kubeflow Pipelines",
        "✓ namespace kubeflow",
        "✓ service account assay-pipeline",
        "✓ profile cpu (ingest, preprocess, augment, promote, notify)",
        "✓ profile gpu (baseline, finetune, evaluate)",
        "✓ profile search (search)",
        "✓ quota assay",
        "✓ images",
        "✓ images",
        "✓ retries",
        "✓ requeue time",
        "✓ priorities",
        "✓ storage",
    ]
    assert "answers, version 2.17.0" in lines[1]
    assert "fits node gpu-1" in lines[5]
    assert "after 0.2 s" in lines[11]
    assert not open_store(str(settings.storage_root)).list(), "nothing is left in the storage"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (NAMESPACE, r"namespace kubeflow: is not there. .*manifests/kubeflow.sh"),
        (ACCOUNT, r"service account assay-pipeline: is not in the namespace kubeflow. Make it, `kubectl apply -k man"),
        (
            "/api/v1/nodes/gpu-1",
            r"profile gpu \(.*\): no node takes it. Nearest: node spot-1 has the taint cloud.google",
        ),
        (
            "/api/v1/nodes/spot-1",
            r"profile search \(search\): .*node gpu-1 lacks the label cloud.google.com/gke-spot=true",
        ),
    ],
)
def test_each_missing_thing_has_a_line_of_its_own(
    kubernetes: ReadableCluster, settings: Settings, path: str, words: str
) -> None:
    del kubernetes.objects[path]
    _, (line,) = look(settings)
    assert re.match(words, line)


def test_all_that_is_missing_is_shown_at_once(kubernetes: ReadableCluster, settings: Settings) -> None:
    del kubernetes.objects[ACCOUNT], kubernetes.objects["/api/v1/nodes/cpu-1"]
    kubernetes.objects[QUOTA] = {"spec": {"hard": {"requests.nvidia.com/gpu": "1"}}}
    _, missing = look(settings)
    assert [line.split()[0] for line in missing] == ["service", "profile", "quota"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"gpu": "0"}, "node gpu-1 offers nvidia.com/gpu 0, wanted 1: install its driver"),
        ({"cpu": "3900m"}, r"node gpu-1 offers cpu 3.9, wanted 4: lower profiles.gpu.cpu"),
        ({"memory": "15Gi"}, r"node gpu-1 offers memory 15.0Gi, wanted 16.0Gi"),
    ],
)
def test_a_node_of_the_pool_that_is_too_small(
    kubernetes: ReadableCluster, settings: Settings, changed: dict[str, str], words: str
) -> None:
    small = node({"assay.dev/pool": "gpu"}, (GPU_TAINT,), **{"gpu": "1", **changed})
    kubernetes.objects["/api/v1/nodes/gpu-1"] = small
    # No autoscaler helps: a further node of the pool would be as small.
    kubernetes.objects[AUTOSCALER] = {}
    del kubernetes.objects["/api/v1/nodes/spot-1"]
    _, (line,) = look(settings, config_with("search.enabled=false"))
    assert re.search(words, line)


def test_more_accelerators_than_a_node_has(kubernetes: ReadableCluster, settings: Settings) -> None:
    two = load_settings(**{**settings.model_dump(), "accelerator": {"count": "2"}})
    _, missing = look(two)
    assert len(missing) == 2
    assert "node gpu-1 offers nvidia.com/gpu 1, wanted 2: lower accelerator.count" in missing[0]
    assert "node spot-1 offers" in missing[1]


@pytest.mark.parametrize(
    ("taint", "words"),
    [
        (
            {"key": "team", "value": "b", "effect": "NoExecute"},
            "has the taint team=b:NoExecute: add it to profiles.gpu.tol",
        ),
        ({"key": "nvidia.com/gpu", "effect": "NoExecute"}, "has the taint nvidia.com/gpu:NoExecute"),
        ({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}, "kubectl describe node gpu-1"),
        ({"key": "team", "effect": "PreferNoSchedule"}, None),
    ],
)
def test_a_taint_that_the_profile_does_not_tolerate(
    kubernetes: ReadableCluster, settings: Settings, taint: dict[str, str], words: str | None
) -> None:
    tainted = node({"assay.dev/pool": "gpu"}, (GPU_TAINT, taint), gpu="1")
    kubernetes.objects["/api/v1/nodes/gpu-1"] = tainted
    _, missing = look(settings, config_with("search.enabled=false"))
    assert [words in line for line in missing] == [True] if words else not missing  # type: ignore[operator]


def test_profiles_of_steps_that_do_not_run_are_not_looked_for(kubernetes: ReadableCluster, settings: Settings) -> None:
    del kubernetes.objects["/api/v1/nodes/spot-1"]
    lines, missing = look(settings, config_with("search.enabled=false"))
    assert not missing
    assert not any("search" in line for line in lines)


def test_a_pool_that_grows_from_zero_is_no_failure(kubernetes: ReadableCluster, settings: Settings) -> None:
    del kubernetes.objects["/api/v1/nodes/gpu-1"]
    kubernetes.objects[AUTOSCALER] = {"data": {"status": "time: now"}}
    lines, missing = look(settings)
    assert not missing
    (note,) = [line for line in lines if line.startswith("·")]
    assert "profile gpu" in note
    assert "no node with assay.dev/pool=gpu takes it now. The autoscaler makes one" in note


@pytest.mark.parametrize("resource", ["namespaces/kubeflow", "nodes", "namespaces/kubeflow/resourcequotas"])
def test_what_may_not_be_looked_at_is_a_note(kubernetes: ReadableCluster, settings: Settings, resource: str) -> None:
    wanted = resource.split("/")[-1].replace("kubeflow", "namespaces")
    kubernetes.rules = [
        ({**rule, "resources": [one for one in rule["resources"] if one != wanted]}, kind)
        for rule, kind in kubernetes.rules
    ]
    lines, missing = look(settings)
    assert not missing
    (note,) = [line for line in lines if line.startswith("·")]
    assert re.search(r"may not be looked at \(.*forbidden.*\). Ask for the role in manifests/base/users.yaml", note)


def test_an_autoscaler_that_may_not_be_looked_at(kubernetes: ReadableCluster, settings: Settings) -> None:
    kubernetes.rules = [(rule, kind) for rule, kind in kubernetes.rules if "resourceNames" not in rule]
    del kubernetes.objects["/api/v1/nodes/gpu-1"]
    lines, missing = look(settings)
    assert not missing
    assert any(line.startswith("· profile gpu") and "may not be looked at" in line for line in lines)


def test_a_server_error_is_said_and_the_rest_is_looked_at(kubernetes: ReadableCluster, settings: Settings) -> None:
    kubernetes.statuses["/api/v1/nodes"] = 500
    lines, (line,) = look(settings)
    assert line.startswith("node pools: Kubernetes refused with 500 (told to fail)")
    assert "✓ quota assay: leaves room for the run" in lines


@pytest.mark.parametrize(
    ("hard", "used", "words"),
    [
        (
            {"requests.nvidia.com/gpu": "7"},
            {"requests.nvidia.com/gpu": "3"},
            "needs requests.nvidia.com/gpu 5 at once, and 3 of 7 are in use: wait for other runs to end, or lower",
        ),
        (
            {"requests.nvidia.com/gpu": "4"},
            {},
            "and 0 of 4 are in use: lower search.workers, or raise it, kubectl -n kub",
        ),
        ({"cpu": "23500m"}, {}, "needs cpu 26 at once, and 0 of 23.5"),
        ({"limits.memory": "96Gi"}, {"limits.memory": "1Mi"}, "needs limits.memory 104.0Gi at once"),
        ({"pods": "7"}, {"pods": "1"}, "needs pods 7 at once, and 1 of 7"),
        ({"pods": "8"}, {"pods": "1"}, None),
    ],
)
def test_a_quota_that_leaves_no_room(
    kubernetes: ReadableCluster, settings: Settings, hard: dict[str, str], used: dict[str, str], words: str | None
) -> None:
    # Baseline, finetune, the step of the search and its three workers: 6 pods of 4 cores and 16 GiB, all but that step
    # with an accelerator. Augment beside them: 2 cores and 8 GiB.
    kubernetes.objects[QUOTA] = {"spec": {"hard": hard}, "status": {"hard": hard, "used": used}}
    _, missing = look(settings, config_with("search.workers=3"))
    assert [words in line for line in missing] == [True] if words else not missing  # type: ignore[operator]


def test_a_quota_for_other_pods_does_not_count(kubernetes: ReadableCluster, settings: Settings) -> None:
    kubernetes.objects[QUOTA] = {"spec": {"hard": {"pods": "0"}, "scopes": ["BestEffort"]}}
    lines, missing = look(settings)
    assert not missing
    assert not any("quota" in line for line in lines)


@pytest.mark.parametrize(
    ("hard", "words"),
    [
        ({"requests.nvidia.com/gpu": "8"}, "needs requests.nvidia.com/gpu 8 at once, and 1 of 8 are in use"),
        ({"cpu": "16"}, "needs cpu 17 at once, and 0 of 16"),
        ({"requests.nvidia.com/gpu": "9", "cpu": "17"}, None),
    ],
)
def test_what_search_workers_ask_for_of_their_own_is_counted(
    kubernetes: ReadableCluster, settings: Settings, hard: dict[str, str], words: str | None
) -> None:
    # Three candidates of 4 cores, two with an accelerator, and augment of 2;
    # three workers of 1 core and 2 accelerators, the cores as limited.
    pod = {"resources": {"limits": {"cpu": "1", "nvidia.com/gpu": 2}, "requests": {"memory": "1Gi"}}}
    own = load_settings(**{**settings.model_dump(), "environment": {"ASSAY_SEARCH_WORKER_POD": json.dumps(pod)}})
    used = {"requests.nvidia.com/gpu": "1"}
    kubernetes.objects[QUOTA] = {"spec": {"hard": hard}, "status": {"hard": hard, "used": used}}
    kubernetes.objects["/api/v1/nodes/spot-1"]["status"]["allocatable"]["nvidia.com/gpu"] = "2"
    _, missing = look(own, config_with("search.workers=3"))
    assert [words in line for line in missing] == [True] if words else not missing  # type: ignore[operator]


@pytest.mark.parametrize(
    ("pod", "words"),
    [
        (
            {"nodeSelector": {"team": "b"}},
            r"search workers: no node takes it. .* lacks the label team=b: .* correct nodeSelector of ASSAY_SEARCH",
        ),
        (
            {"tolerations": []},
            r"search workers: no node takes it. .*: add it to tolerations of ASSAY_SEARCH_WORKER_POD",
        ),
        (
            {"resources": {"limits": {"cpu": "64", "nvidia.com/gpu": "1"}}},
            r"search workers: .* offers cpu 7.91, wanted 64: lower resources of ASSAY_SEARCH_WORKER_POD",
        ),
        ({"tolerations": [{"operator": "Exists"}]}, ""),
        ({"priorityClassName": "gone"}, r"priorities: there is no class gone, which ASSAY_SEARCH_WORKER_POD gives to"),
    ],
)
def test_where_search_workers_of_their_own_kind_fit(
    kubernetes: ReadableCluster, settings: Settings, pod: dict[str, Any], words: str
) -> None:
    own = load_settings(**{**settings.model_dump(), "environment": {"ASSAY_SEARCH_WORKER_POD": json.dumps(pod)}})
    lines, missing = look(own, config_with("search.workers=2"))
    assert (len(missing) == 1 and re.search(words, missing[0])) if words else not missing, lines
    # One worker alone works in the step: none is looked for.
    assert not any("search workers:" in line for line in look(own)[0])


def test_a_worker_pod_that_cannot_be_read_is_refused(kubernetes: ReadableCluster, settings: Settings) -> None:
    own = load_settings(**{**settings.model_dump(), "environment": {"ASSAY_SEARCH_WORKER_POD": '{"nodes": 1}'}})
    with pytest.raises(InputError, match=r"ASSAY_SEARCH_WORKER_POD: unknown key nodes. Known: resources"):
        look(own, config_with("search.workers=2"))


AS_IT_COMES = "spec: {templateDefaults: {retryStrategy: {limit: 2, retryPolicy: OnError}}}"


@pytest.mark.parametrize(
    ("defaults", "words"),
    [
        (AS_IT_COMES, r"retries: .* has retryPolicy OnError: .* Always is wanted; `manifests/kubeflow.sh gke`"),
        ("", "retries: .* has retryPolicy none"),
        ("[", "retries: .* has retryPolicy none"),
        (AS_IT_COMES.replace("OnError", "Always"), "retries: .* tries wrong input again as well"),
    ],
)
def test_engine_defaults_that_try_the_wrong_things_again_are_a_note(
    kubernetes: ReadableCluster, settings: Settings, defaults: str, words: str
) -> None:
    kubernetes.objects[CONTROLLER_CONFIG] = {"data": {"workflowDefaults": defaults}}
    assert re.match(words, the_note(settings))


@pytest.mark.parametrize(("value", "seconds"), [(None, "10"), ("30s", "30"), ("1m30s", "90"), ("soon", "10")])
def test_an_engine_that_looks_seldom_is_a_note(
    kubernetes: ReadableCluster, settings: Settings, value: str | None, seconds: str
) -> None:
    (container,) = kubernetes.objects[pod_of("workflow-controller")]["spec"]["containers"]
    container["env"] = [] if value is None else [{"name": "DEFAULT_REQUEUE_TIME", "value": value}]
    assert re.match(
        rf"requeue time: the engine looks again at a run after {seconds} s at .*200ms is", the_note(settings)
    )


def test_an_engine_that_is_not_there_is_a_note(kubernetes: ReadableCluster, settings: Settings) -> None:
    del kubernetes.objects[pod_of("workflow-controller")], kubernetes.objects[CONTROLLER_CONFIG]
    lines, missing = look(settings)
    assert not missing
    assert [line.split(":")[0] for line in lines if line.startswith("·")] == ["· retries", "· requeue time"]


def test_runs_that_would_drive_out_kubeflow_are_a_note(kubernetes: ReadableCluster, settings: Settings) -> None:
    # As it was when three runs side by side evicted the database.
    kubernetes.objects[f"{CLASSES}/assay-run"] |= {"value": 1000, "preemptionPolicy": "PreemptLowerPriority"}
    kubernetes.objects[pod_of("ml-pipeline")]["spec"]["priority"] = 0
    assert re.match(r"priorities: pods of runs \(1000\) drive out Kubeflow's own \(0\)", the_note(settings))


def test_a_class_that_pods_are_given_and_that_is_not_there_is_missing(
    kubernetes: ReadableCluster, settings: Settings
) -> None:
    del kubernetes.objects[f"{CLASSES}/assay-run"]
    _, (line,) = look(settings)
    assert line == (
        "priorities: there is no class assay-run, which Kubeflow gives to every pod of a run: such pods are refused. "
        "`kubectl apply -f manifests/base/priorities.yaml`"
    )


def test_kubeflow_that_does_not_answer_or_is_another_version(
    kubeflow: Any, kubernetes: ReadableCluster, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubeflow.state.version = "2.14.3"
    assert re.match(r"Kubeflow Pipelines: http.* answers with version 2.14.3; .* made for 2.17.0", the_note(settings))
    monkeypatch.setenv("KFP_HOST", kubernetes.url)
    _, (line,) = look(settings)
    assert line.startswith("Kubeflow Pipelines: http")


def the_note(settings: Settings) -> str:
    """Return the one note of a look that misses nothing."""
    lines, missing = look(settings)
    assert not missing
    (note,) = [line[2:] for line in lines if line.startswith("·")]
    return note


def test_what_runs_at_the_same_time() -> None:
    settings = load_settings(parallel_shards=4)
    assert {"preprocess": 4} in stages(config_with("data.shards=9"), settings)
    candidates = {"baseline": 1, "search": 1, "finetune": 1}
    assert {**candidates, "augment": 1} in stages(config_with(), settings)
    assert {**candidates, "augment": 1, "search workers": 2} in stages(config_with("search.workers=2"), settings)
    # Where augment decides on the policy, it comes before them.
    assert candidates in stages(config_with("augment.ablation.enabled=true", "augment.ablation.adopt=true"), settings)
    # A search inside a fold is done by processes of its own pod.
    folds = config_with("validate.folds=5", "search.workers=3")
    assert {"baseline": 4, "search": 4, "finetune": 4, "augment": 1} in stages(folds, settings)
    for here in ("search.placement=processes", "search.enabled=false"):
        assert most_at_once(config_with("search.workers=8", here), settings)["nvidia.com/gpu"] <= 3
    # The step of a search whose workers train holds none; where it has features to compute it does.
    assert most_at_once(config_with("search.placement=pods"), settings)["nvidia.com/gpu"] == 3
    heads = config_with("search.placement=pods", "search.hypermodel=vgg16_head")
    assert most_at_once(heads, settings)["nvidia.com/gpu"] == 4


def test_storage_that_takes_nothing(
    kubernetes: ReadableCluster, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ReadOnly(KubernetesServer):
        """Google's storage as it answers whoever has no rights there."""

        def answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> dict[str, Any]:
            raise Refused(403, "does not have storage.objects.create access")

    storage = ReadOnly()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage.url)
    _, missing = look(settings, config_with("data.source=gs://images/pcam"))
    storage.stop()
    assert [line.split()[0] for line in missing] == ["storage:", "source:"]
    assert "no permission. Give this account the role roles/storage.objectUser" in missing[0]
    assert "with this machine's credentials, not the pods'" in missing[0]


def test_a_bucket_and_a_source_that_are_not_there(
    kubernetes: ReadableCluster, settings: Settings, gcs_root: str
) -> None:
    absent = load_settings(**{**settings.model_dump(), "storage_root": "gs://no-such-bucket/assay"})
    _, missing = look(absent, config_with(f"data.source={gcs_root}/images"))
    assert "gs://no-such-bucket: no such bucket" in missing[0]
    assert re.match(r"source: gs://.*/images: nothing is stored here. .*gcloud storage cp -r", missing[1])
    open_store(gcs_root).write_bytes("images/a/1.png", b"")
    lines, missing = look(settings, config_with(f"data.source={gcs_root}/images"))
    assert not missing
    assert lines[-1].startswith("✓ source:")


def test_storage_that_only_pods_are_sent_to_is_not_looked_at(
    kubernetes: ReadableCluster, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    environment = {"STORAGE_EMULATOR_HOST": "http://assay-storage.kubeflow:4443"}
    lines, missing = look(load_settings(**{**settings.model_dump(), "environment": environment}))
    assert not missing
    assert "set STORAGE_EMULATOR_HOST here" in lines[-1]


def test_the_kind_clusters_settings_fit_the_kind_cluster(
    kubernetes: ReadableCluster, gcs_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_SETTINGS", str(ROOT / "manifests/kind/settings.yaml"))
    for name in [path for path in kubernetes.objects if "/nodes/" in path]:
        del kubernetes.objects[name]
    for number, machine in enumerate(yaml.safe_load((ROOT / "manifests/kind/cluster.yaml").read_text())["nodes"]):
        patches = [yaml.safe_load(patch) for patch in machine.get("kubeadmConfigPatches", [])]
        taints = [taint for patch in patches for taint in patch["nodeRegistration"]["taints"]]
        labels = machine.get("labels", {})
        gpus = {"gpu": "4"} if labels.get("assay.dev/pool") == "gpu" else {}
        kubernetes.objects[f"/api/v1/nodes/assay-{number}"] = node(labels, tuple(taints), **gpus)
    tiny = parse_config(yaml.safe_load((ROOT / "manifests/kind/tiny.yaml").read_text()), "tiny.yaml")
    lines, missing = look(load_settings(storage_root=gcs_root), tiny)
    assert not missing
    assert sum(line.startswith("✓ profile") for line in lines) == 3


def test_a_cluster_that_is_down_is_named(kubernetes: ReadableCluster, settings: Settings) -> None:
    kubernetes.stop()
    with pytest.raises(NoKubernetes, match=f"{kubernetes.url}: the Kubernetes API does not answer"):
        look(settings)


def test_a_sign_in_that_has_expired_is_named(kubernetes: ReadableCluster, settings: Settings) -> None:
    kubernetes.statuses["/version/"] = 401
    with pytest.raises(NoKubernetes, match=r"the sign-in has expired \(told to fail\)"):
        look(settings)


def test_a_wrong_quantity_is_refused_with_the_settings() -> None:
    with pytest.raises(InputError, match=r"profiles.gpu.memory.*Received: '16GB'"):
        load_settings(profiles={"gpu": {"memory": "16GB"}})


@pytest.fixture
def command_line(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables for commands that are run in this process."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("ASSAY_STORAGE_ROOT", str(settings.storage_root))
    monkeypatch.setenv("ASSAY_IMAGES__CPU", settings.images.cpu)
    monkeypatch.setenv("ASSAY_IMAGES__GPU", settings.images.gpu)


@pytest.mark.usefixtures("command_line")
def test_submit_stops_before_anything_is_uploaded(
    kubeflow: Any, kubernetes: ReadableCluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del kubernetes.objects[ACCOUNT]
    assert assay(monkeypatch, "submit", "pipelines/configs/demo.yaml") == 1
    said = capsys.readouterr()
    assert "✗ service account assay-pipeline" in said.out
    assert said.err.startswith("error: preflight: not as the run needs it: service account assay-pipeline.")
    assert not any(asked.startswith("POST") for asked in kubeflow.state.requests)
    assert assay(monkeypatch, "submit", "pipelines/configs/demo.yaml", "--no-preflight") == 0
    assert len(kubeflow.state.runs) == 1
    kubernetes.objects[ACCOUNT] = {}
    assert assay(monkeypatch, "submit", "pipelines/configs/demo.yaml") == 0
    assert len(kubeflow.state.runs) == 2


@pytest.mark.usefixtures("command_line")
def test_without_kubernetes_submit_goes_on_and_preflight_says_what_to_do(
    kubeflow: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not Path(os.environ["KUBECONFIG"]).exists()
    assert assay(monkeypatch, "submit", "pipelines/configs/demo.yaml") == 0
    assert len(kubeflow.state.runs) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("preflight left out: no kubeconfig can be read")
    assert assay(monkeypatch, "preflight") == 2
    assert "Set KUBECONFIG" in capsys.readouterr().err


@pytest.mark.usefixtures("command_line")
def test_the_command_shows_what_is_there(
    kubernetes: ReadableCluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert assay(monkeypatch, "preflight", "--set", "search.workers=20") == 1
    assert "✗ quota assay: the run needs requests.nvidia.com/gpu 22 at once" in capsys.readouterr().out
    assert assay(monkeypatch, "preflight") == 0
