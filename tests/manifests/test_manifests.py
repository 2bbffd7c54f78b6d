"""The rendered manifests against Kubernetes's schemas and against each other."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest

from tests.manifests.conftest import KUSTOMIZATIONS, MANIFESTS, Render, named

# That of the nodes in versions.env, and the newest that the validator has.
KUBERNETES_VERSIONS = ("1.34", "1.37")
IN_CLUSTER = ("base", "overlays/gke", "overlays/kind")
# Config Connector's own schemas are in no package: what its reference calls required, and what we rely on.
CONNECTOR_FIELDS = {
    "ContainerNodePool": {"location", "clusterRef", "autoscaling", "nodeConfig", "management", "initialNodeCount"},
    "StorageBucket": {"resourceID", "location", "uniformBucketLevelAccess", "publicAccessPrevention"},
    "IAMServiceAccount": {"displayName"},
    "IAMPolicyMember": {"role", "resourceRef"},
}


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
@pytest.mark.parametrize("folder", IN_CLUSTER)
def test_every_document_is_valid_kubernetes(render: Render, folder: str, version: str) -> None:
    documents = render(folder)
    assert len(documents) >= 10
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)


def test_the_validator_does_refuse_a_wrong_field(render: Render) -> None:
    quota = named(render("base"), "ResourceQuota")["assay"]
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**quota, "spec": {"hardd": {}}}, KUBERNETES_VERSIONS[0], strict=True)


def test_config_connector_resources_have_what_they_require(render: Render) -> None:
    documents = render("overlays/gke/config-connector")
    assert {document["kind"] for document in documents} == set(CONNECTOR_FIELDS)
    for document in documents:
        assert document["apiVersion"].endswith(".cnrm.cloud.google.com/v1beta1")
        assert document["metadata"]["annotations"]["cnrm.cloud.google.com/project-id"] == "my-project"
        assert CONNECTOR_FIELDS[document["kind"]] <= set(document["spec"]), document["metadata"]["name"]
        if document["kind"] == "IAMPolicyMember":
            assert ("member" in document["spec"]) != ("memberFrom" in document["spec"])
            assert set(document["spec"]["resourceRef"]) in ({"kind", "name"}, {"kind", "external"})


@pytest.mark.parametrize("folder", KUSTOMIZATIONS)
def test_names_are_there_once_and_in_one_namespace(render: Render, folder: str) -> None:
    documents = render(folder)
    keys = [(document["kind"], document["metadata"]["name"]) for document in documents]
    assert len(keys) == len(set(keys))
    assert {document["metadata"].get("namespace", "kubeflow") for document in documents} == {"kubeflow"}


def _pods(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [document["spec"]["template"]["spec"] for document in documents if "template" in document.get("spec", {})]


@pytest.mark.parametrize("folder", IN_CLUSTER)
def test_pods_are_unprivileged_limited_and_of_immutable_images(render: Render, folder: str) -> None:
    for pod in _pods(render(folder)):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod.get("hostNetwork") and not pod.get("hostPID")
        assert not any("hostPath" in volume for volume in pod.get("volumes", []))
        for container in (*pod["containers"], *pod.get("initContainers", [])):
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False and own["readOnlyRootFilesystem"] is True
            assert own["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} <= set(container["resources"]["limits"])
            name, _, tag = container["image"].rpartition(":")
            assert name and tag[0].isdigit(), f"{container['image']}: not a version"


def test_the_kind_overlay_holds_the_only_pod_of_ours(render: Render) -> None:
    assert len(_pods(render("overlays/kind"))) == 1
    assert _pods(render("base")) == []


@pytest.mark.parametrize("folder", IN_CLUSTER)
def test_whatever_is_referred_to_exists(render: Render, folder: str) -> None:
    documents = render(folder)
    for kind in ("RoleBinding", "ClusterRoleBinding"):
        for binding in named(documents, kind).values():
            assert binding["roleRef"]["name"] in named(documents, binding["roleRef"]["kind"])
            for subject in binding["subjects"]:
                if subject["kind"] == "ServiceAccount":
                    assert subject["name"] in named(documents, "ServiceAccount")
                    assert subject["namespace"] == "kubeflow"
    for pod in _pods(documents):
        assert pod.get("serviceAccountName", "default") in {"default", *named(documents, "ServiceAccount")}
        assert pod.get("priorityClassName") in {None, *named(documents, "PriorityClass")}
        volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= set(volumes)
    for service in named(documents, "Service").values():
        selected = [
            deployment
            for deployment in named(documents, "Deployment").values()
            if service["spec"]["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
        ]
        (deployment,) = selected
        ports = {port["name"] for port in deployment["spec"]["template"]["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


def test_nothing_rendered_comes_from_the_network() -> None:
    for file in MANIFESTS.rglob("kustomization.yaml"):
        text = "\n".join(line for line in file.read_text().splitlines() if not line.lstrip().startswith("#"))
        assert "://" not in text and "github.com" not in text, f"{file} fetches something"


def test_params_reach_every_place(render: Render) -> None:
    rendered = {folder: str(render(folder)) for folder in KUSTOMIZATIONS if "gke" in folder}
    scripts = [(MANIFESTS / name).read_text() for name in ("kubeflow.sh", "overlays/gke/cloud.sh")]
    lines = (MANIFESTS / "overlays/gke/params/params.env").read_text().splitlines()
    params = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    for name, value in params.items():
        in_scripts = any(f"${name}" in script or f"${{{name}:?}}" in script for script in scripts)
        assert any(value in text for text in rendered.values()) or in_scripts, f"params.env: {name} is used nowhere"
    assert "gke-params" not in "".join(rendered.values()), "the params are for kustomize alone"


def test_artifacts_lie_in_the_bucket_on_gke_and_in_kubeflows_store_on_kind(render: Render) -> None:
    root = {
        folder: named(render(folder), "ConfigMap")["kfp-launcher"]["data"]["defaultPipelineRoot"]
        for folder in IN_CLUSTER
    }
    assert root["overlays/gke"].startswith("gs://my-project-assay/")
    assert root["overlays/kind"].startswith("minio://")


def test_no_quota_on_cores_or_memory(render: Render) -> None:
    # Kubeflow's own pods, some without requests, would be refused.
    hard = named(render("base"), "ResourceQuota")["assay"]["spec"]["hard"]
    assert not any("cpu" in name or "memory" in name for name in hard)
