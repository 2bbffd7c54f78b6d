"""Names, labels, taints and rights of the manifests against the settings, the placement and the search's Job."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from assay.observability.last_words import WRONG_INPUT
from assay.search.job import SEARCH_LABEL, worker_job
from pipelines.graphs.placement import STEP_LABEL
from pipelines.settings import SPOT_LABEL, Profile, Settings, load_settings
from tests.manifests.conftest import MANIFESTS, Render, named

EFFECTS = {"NO_SCHEDULE": "NoSchedule", "PREFER_NO_SCHEDULE": "PreferNoSchedule", "NO_EXECUTE": "NoExecute"}
KIND_SETTINGS = MANIFESTS / "kind" / "settings.yaml"
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: kubeflow}}
spec: {{template: {{spec: {{containers: [{{name: {container}, image: i, env: {env}}}]}}}}}}
---"""
KUBEFLOW = (
    DEPLOYMENT.format(
        name="workflow-controller",
        container="workflow-controller",
        env='[{name: TRANSIENT_ERROR_PATTERN, value: "(?i)(spot)"}]',
    )
    + DEPLOYMENT.format(
        name="ml-pipeline", container="ml-pipeline-api-server", env='[{name: PUBLISH_LOGS, value: "true"}]'
    )
    + DEPLOYMENT.format(name="mysql", container="mysql", env="[]")
    + """
apiVersion: v1
kind: ConfigMap
metadata: {name: workflow-controller-configmap, namespace: kubeflow}
data: {executor: kept, workflowDefaults: theirs}
"""
)


class Pool:
    """Labels and taints of the nodes of a pool."""

    def __init__(self, labels: dict[str, str], taints: list[dict[str, str]], accelerators: int) -> None:
        self.labels = labels
        self.taints = taints
        self.accelerators = accelerators

    def takes(self, profile: Profile, tolerations: list[dict[str, Any]]) -> bool:
        """Whether the scheduler would put a pod of the profile here."""
        selector = {**profile.node_selector, **(SPOT_LABEL if profile.spot else {})}
        if not selector.items() <= self.labels.items() or (profile.accelerator and not self.accelerators):
            return False
        return all(any(_tolerates(toleration, taint) for toleration in tolerations) for taint in self.taints)


def _tolerates(toleration: dict[str, Any], taint: dict[str, str]) -> bool:
    same = toleration["key"] == taint["key"] and toleration["effect"] == taint["effect"]
    return same and (toleration["operator"] == "Exists" or toleration["value"] == taint["value"])


def _tolerations(profile: Profile) -> list[dict[str, Any]]:
    from pipelines.settings import SPOT_TOLERATION

    every = (*profile.tolerations, *((SPOT_TOLERATION,) if profile.spot else ()))
    return [toleration.model_dump() for toleration in every]


@pytest.fixture
def gke_pools(render: Render) -> dict[str, Pool]:
    pools = {}
    for name, document in named(render("overlays/gke/config-connector"), "ContainerNodePool").items():
        node = document["spec"]["nodeConfig"]
        # GKE labels spot nodes itself.
        labels = {**node["labels"], **(SPOT_LABEL if node.get("spot") else {})}
        taints = [{**taint, "effect": EFFECTS[taint["effect"]]} for taint in node.get("taint", [])]
        pools[name] = Pool(labels, taints, sum(gpu["count"] for gpu in node.get("guestAccelerator", [])))
    return pools


@pytest.fixture
def kind_pools() -> dict[str, Pool]:
    pools = {}
    for number, node in enumerate(yaml.safe_load((MANIFESTS / "kind" / "cluster.yaml").read_text())["nodes"]):
        if node["role"] != "worker":
            continue
        patches = [yaml.safe_load(patch) for patch in node.get("kubeadmConfigPatches", [])]
        taints = [taint for patch in patches for taint in patch["nodeRegistration"]["taints"]]
        labels = node["labels"]
        spot = "-spot" if SPOT_LABEL.items() <= labels.items() else ""
        # up.sh gives the fake resource to the nodes with this label.
        gpus = 4 if labels["assay.dev/pool"] == "gpu" else 0
        pools[f"assay-{labels['assay.dev/pool']}{spot}"] = Pool(labels, taints, gpus)
        assert number > 0
    return pools


@pytest.fixture(params=["gke", "kind"])
def cluster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[Settings, dict[str, Pool]]:
    """The settings for a cluster and its pools."""
    if request.param == "kind":
        monkeypatch.setenv("ASSAY_SETTINGS", str(KIND_SETTINGS))
    return load_settings(), request.getfixturevalue(f"{request.param}_pools")


@pytest.mark.parametrize(
    ("profile", "pools"), [("cpu", {"assay-cpu"}), ("gpu", {"assay-gpu"}), ("search", {"assay-gpu-spot"})]
)
def test_each_profile_fits_exactly_its_pool(
    cluster: tuple[Settings, dict[str, Pool]], profile: str, pools: set[str]
) -> None:
    settings, known = cluster
    wanted = settings.profiles[profile]
    assert {name for name, pool in known.items() if pool.takes(wanted, _tolerations(wanted))} == pools


def test_pools_start_from_zero_install_drivers_and_use_workload_identity(render: Render) -> None:
    pools = named(render("overlays/gke/config-connector"), "ContainerNodePool")
    assert set(pools) == {"assay-cpu", "assay-gpu", "assay-gpu-spot"}
    for pool in pools.values():
        spec = pool["spec"]
        assert (
            spec["autoscaling"]["minNodeCount"] == spec["initialNodeCount"] == 0 < spec["autoscaling"]["maxNodeCount"]
        )
        assert spec["nodeConfig"]["workloadMetadataConfig"] == {"mode": "GKE_METADATA"}
        for gpu in spec["nodeConfig"].get("guestAccelerator", []):
            assert gpu["gpuDriverInstallationConfig"]["gpuDriverVersion"] in ("DEFAULT", "LATEST")


def test_gcloud_makes_the_same_pools(render: Render) -> None:
    script = (MANIFESTS / "overlays/gke/cloud.sh").read_text().replace("\\\n", " ")
    lines = re.findall(r"^pool (assay-\S+) (.*)$", script, flags=re.MULTILINE)
    pools = named(render("overlays/gke/config-connector"), "ContainerNodePool")
    assert {name for name, _ in lines} == set(pools)
    for name, flags in lines:
        words = shlex.split(flags)
        options = {word: words[at + 1] if at + 1 < len(words) else "" for at, word in enumerate(words)}
        spec = pools[name]["spec"]
        node = spec["nodeConfig"]
        assert options["--machine-type"] == node["machineType"]
        assert options["--disk-size"] == str(node["diskSizeGb"])
        assert options["--max-nodes"] == str(spec["autoscaling"]["maxNodeCount"])
        assert options["--location-policy"] == spec["autoscaling"]["locationPolicy"]
        assert ("--spot" in words) == node.get("spot", False)
        assert options["--node-labels"] == ",".join(f"{key}={value}" for key, value in node["labels"].items())
        taints = [f"{taint['key']}={taint['value']}:{EFFECTS[taint['effect']]}" for taint in node.get("taint", [])]
        assert options.get("--node-taints", "") == ",".join(taints)
        for gpu in node.get("guestAccelerator", []):
            driver = gpu["gpuDriverInstallationConfig"]["gpuDriverVersion"].lower()
            assert options["--accelerator"] == f"type={gpu['type']},count={gpu['count']},gpu-driver-version={driver}"


def test_the_steps_account_and_namespace_are_the_settings(render: Render) -> None:
    settings = load_settings()
    account = named(render("overlays/gke"), "ServiceAccount")[settings.service_account]
    assert account["metadata"]["namespace"] == settings.namespace
    google = account["metadata"]["annotations"]["iam.gke.io/gcp-service-account"]
    assert google.startswith(f"{settings.service_account}@")
    members = named(render("overlays/gke/config-connector"), "IAMPolicyMember").values()
    acts = [member["spec"]["member"] for member in members if "member" in member["spec"]]
    assert any(member.endswith(f"[{settings.namespace}/{settings.service_account}]") for member in acts)


def test_the_quota_counts_the_accelerator_of_the_settings(render: Render) -> None:
    hard = named(render("base"), "ResourceQuota")["assay"]["spec"]["hard"]
    assert f"requests.{load_settings().accelerator.type}" in hard


def test_steps_may_do_what_the_search_asks_of_the_cluster(render: Render) -> None:
    rules = named(render("base"), "Role")["assay-pipeline"]["rules"]
    allowed = {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    needed = {("batch", "jobs", verb) for verb in ("create", "get", "list", "delete")}
    assert needed | {("", "pods", "get"), ("", "pods", "list"), ("", "events", "list")} <= allowed
    assert not any("*" in rule for rule in allowed), "a step may not do everything"


def test_policies_select_the_labels_that_pods_carry(render: Render) -> None:
    policies = named(render("base"), "NetworkPolicy")
    keys = {name: policy["spec"]["podSelector"]["matchExpressions"][0]["key"] for name, policy in policies.items()}
    assert keys == {"assay-steps": STEP_LABEL, "assay-search-workers": SEARCH_LABEL}
    # Workers call their chief, which is a step.
    ((rule,),) = [policies["assay-steps"]["spec"]["ingress"][0]["from"]]
    assert rule["podSelector"]["matchExpressions"][0]["key"] == SEARCH_LABEL


def test_search_workers_of_kind_get_a_priority_class_that_exists(
    render: Render, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_SETTINGS", str(KIND_SETTINGS))
    profile = json.loads(load_settings().environment["ASSAY_SEARCH_WORKER_POD"])
    pod = {
        "metadata": {"name": "p", "namespace": "kubeflow", "uid": "0" * 8},
        "spec": {"containers": [{"name": "main", "image": "i"}]},
    }
    job = worker_job(pod, search="s", workers=1, spec_uri="gs://b/s", host="h", port=1, restarts=1, profile=profile)
    priorities = named(render("overlays/kind"), "PriorityClass")
    assert job["spec"]["template"]["spec"]["priorityClassName"] in priorities
    # Workers give way to steps, and the autoscaler still makes nodes for them.
    assert -10 < priorities["assay-search"]["value"] < priorities["assay-run"]["value"]


def test_runs_never_drive_out_anything_least_of_all_kubeflow(render: Render) -> None:
    priorities = named(render("base"), "PriorityClass")
    for name in ("assay-run", "assay-search"):
        assert priorities[name]["value"] <= 0
        assert priorities[name]["preemptionPolicy"] == "Never"
    assert not any(one.get("globalDefault") for one in priorities.values())
    assert priorities["assay-kubeflow"]["value"] > 0


@pytest.fixture(scope="session")
def kubeflow(kubectl: str, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Parts of Kubeflow as it comes, rendered with manifests/kubeflow over them."""
    folder = tmp_path_factory.mktemp("kubeflow")
    shutil.copytree(MANIFESTS / "kubeflow", folder / "over")
    (folder / "as-it-comes.yaml").write_text(KUBEFLOW, encoding="utf-8")
    (folder / "kustomization.yaml").write_text("resources: [as-it-comes.yaml]\ncomponents: [over]\n", encoding="utf-8")
    result = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return list(yaml.safe_load_all(result.stdout))


def test_all_of_kubeflow_stands_above_runs(kubeflow: list[dict[str, Any]], render: Render) -> None:
    deployments = named(kubeflow, "Deployment")
    assert set(deployments) == {"workflow-controller", "ml-pipeline", "mysql"}
    for deployment in deployments.values():
        assert deployment["spec"]["template"]["spec"]["priorityClassName"] == "assay-kubeflow"
    storage = named(render("overlays/kind"), "Deployment")["assay-storage"]
    assert storage["spec"]["template"]["spec"]["priorityClassName"] == "assay-kubeflow"


def test_kubeflows_own_variables_stay_and_ours_come_to_them(kubeflow: list[dict[str, Any]]) -> None:
    found = {
        name: {one["name"]: one["value"] for one in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}
        for name, deployment in named(kubeflow, "Deployment").items()
        if name != "mysql"
    }
    assert found["workflow-controller"] == {"TRANSIENT_ERROR_PATTERN": "(?i)(spot)", "DEFAULT_REQUEUE_TIME": "200ms"}
    assert found["ml-pipeline"]["PUBLISH_LOGS"] == "true"
    assert json.loads(found["ml-pipeline"]["COMPILED_PIPELINE_SPEC_PATCH"]) == {"podPriorityClassName": "assay-run"}


def test_what_a_step_says_of_wrong_input_is_what_the_engine_ends_a_run_for(kubeflow: list[dict[str, Any]]) -> None:
    config = named(kubeflow, "ConfigMap")["workflow-controller-configmap"]["data"]
    assert config["executor"] == "kept"
    spec = yaml.safe_load(config["workflowDefaults"])["spec"]
    assert spec["archiveLogs"] is False, "the end of a driver must not hang on the store of artifacts"
    strategy = spec["templateDefaults"]["retryStrategy"]
    assert strategy["retryPolicy"] == "Always"
    assert f'not (lastRetry.message contains "{WRONG_INPUT}")' in strategy["expression"]
    # Layers around a pod have no message: they do not try again what was tried again below them.
    assert 'lastRetry.message != "" &&' in strategy["expression"]
    backoff, limit = strategy["backoff"], int(strategy["limit"])
    waits = [min(int(backoff["cap"]), int(backoff["duration"]) * int(backoff["factor"]) ** n) for n in range(limit)]
    assert sum(waits) > 120, "a driver outlives two minutes without the metadata store"


def test_kinds_steps_are_sent_to_the_storage_that_is_there(render: Render, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_SETTINGS", str(KIND_SETTINGS))
    settings = load_settings()
    documents = render("overlays/kind")
    ((name, service),) = named(documents, "Service").items()
    (port,) = service["spec"]["ports"]
    address = f"http://{name}.{service['metadata']['namespace']}:{port['port']}"
    assert settings.environment["STORAGE_EMULATOR_HOST"] == address
    (container,) = named(documents, "Deployment")[name]["spec"]["template"]["spec"]["containers"]
    assert f"-external-url={address}" in container["args"]
    buckets = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert f"/data/{(settings.storage_root or '').removeprefix('gs://').split('/')[0]}" in buckets
