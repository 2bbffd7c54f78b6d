"""Placement, read from the compiled graph: images, resources, pools, retries, timeouts of every task."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from google.protobuf.json_format import ParseError

from assay.config import SearchConfig
from assay.errors import InputError
from pipelines.graphs.order import STEPS
from pipelines.settings import Settings, load_settings
from tests.pipelines.conftest import IMAGES, Graph

TASKS = STEPS
ON_GPU = ("baseline", "search", "finetune", "evaluate")


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_its_image_and_says_so(cluster_graph: Graph, task: str) -> None:
    container = cluster_graph.container(task)
    image = IMAGES["gpu" if task in ON_GPU else "cpu"]
    assert container["image"] == image
    assert {"name": "ASSAY_IMAGE", "value": image} in container["env"]
    machine = "search" if task == "search" else "gpu" if task in ON_GPU else "cpu"
    assert {"name": "ASSAY_MACHINE", "value": machine} in container["env"]
    assert cluster_graph.pod(task)["imagePullPolicy"] == "IfNotPresent"


def test_the_yaml_is_valid_against_the_spec_of_the_backend(cluster_graph: Graph) -> None:
    spec, pods = cluster_graph.parsed()
    assert spec.pipeline_info.name == "assay-training"
    assert pods["exec-finetune"].node_selector.labels["assay.dev/pool"] == "gpu"
    cluster_graph.spec["root"]["dag"]["tasks"]["for-a-typing-error"] = {"taskinfo": {}}
    try:
        with pytest.raises(ParseError, match="taskinfo"):
            cluster_graph.parsed()
    finally:
        del cluster_graph.spec["root"]["dag"]["tasks"]["for-a-typing-error"]


def test_the_settings_environment_reaches_every_task(compile_graph: Callable[..., Graph]) -> None:
    graph = compile_graph(environment={"STORAGE_EMULATOR_HOST": "http://storage:4443"})
    for task in TASKS:
        assert {"name": "STORAGE_EMULATOR_HOST", "value": "http://storage:4443"} in graph.container(task)["env"]


@pytest.mark.parametrize("task", TASKS)
def test_every_task_asks_for_memory_and_cores(cluster_graph: Graph, task: str) -> None:
    resources = cluster_graph.container(task)["resources"]
    assert resources["resourceMemoryLimit"] == resources["resourceMemoryRequest"]
    assert resources["resourceCpuRequest"]


@pytest.mark.parametrize("task", TASKS)
def test_accelerators_are_asked_for_by_the_run_and_only_on_gpu_pools(cluster_graph: Graph, task: str) -> None:
    resources = cluster_graph.container(task)["resources"]
    pod = cluster_graph.pod(task)
    if task in ON_GPU:
        # Without the channel among the task's inputs the driver has no value for it and fails.
        for name, field in (("type", "resourceType"), ("count", "resourceCount")):
            channel = f"pipelinechannel--system_accelerator_{name}"
            assert resources["accelerator"][field] == f"{{{{$.inputs.parameters['{channel}']}}}}"
            taken = cluster_graph.tasks[task]["inputs"]["parameters"][channel]
            assert taken == {"componentInputParameter": f"system_accelerator_{name}"}
        assert pod["nodeSelector"]["labels"]["assay.dev/pool"] == "gpu"
        assert any(toleration["key"] == "nvidia.com/gpu" for toleration in pod["tolerations"])
    else:
        assert "accelerator" not in resources
        assert "nodeSelector" not in pod


def test_the_accelerator_is_a_parameter_of_type_string(cluster_graph: Graph) -> None:
    parameters = cluster_graph.spec["root"]["inputDefinitions"]["parameters"]
    for name, default in (("system_accelerator_type", "nvidia.com/gpu"), ("system_accelerator_count", "1")):
        assert parameters[name]["parameterType"] == "STRING"
        assert parameters[name]["defaultValue"] == default


@pytest.mark.parametrize("task", TASKS)
def test_every_pod_has_shared_memory_scratch_label_and_timeout(cluster_graph: Graph, task: str) -> None:
    pod = cluster_graph.pod(task)
    mounts = {mount["mountPath"]: mount for mount in pod["emptyDirMounts"]}
    assert mounts["/dev/shm"]["medium"] == "Memory"
    assert mounts["/dev/shm"]["sizeLimit"]
    assert "/tmp" in mounts
    assert pod["podMetadata"]["labels"]["assay.dev/step"] == task
    assert int(pod["activeDeadlineSeconds"]) == 240 * 60


@pytest.mark.parametrize("task", TASKS)
def test_every_task_is_tried_again_after_a_growing_wait(cluster_graph: Graph, task: str) -> None:
    policy = cluster_graph.tasks[task]["retryPolicy"]
    assert policy["maxRetryCount"] == (4 if task == "search" else 3)
    # Wrong input is told after the first wait; three retries go on for over two minutes without a store or a server.
    assert policy["backoffDuration"] == "2s"
    assert policy["backoffFactor"] == 8.0
    assert sum(2 * 8**attempt for attempt in range(3)) > 120


@pytest.mark.parametrize(
    ("timeout_minutes", "retries", "run_deadline_hours"), [(240, 3, 24), (600, 4, 24), (1, 0, 1), (30, 1, 0.5)]
)
def test_no_attempt_is_ended_by_the_time_that_all_attempts_may_take_together(
    compile_graph: Callable[..., Graph], timeout_minutes: int, retries: int, run_deadline_hours: float
) -> None:
    profile = {"timeout_minutes": timeout_minutes, "retries": retries}
    graph = compile_graph(profiles={"cpu": profile}, run_deadline_hours=run_deadline_hours)
    policy = graph.tasks["ingest"]["retryPolicy"]
    seconds = int(policy["backoffMaxDuration"].removesuffix("s"))
    assert policy.get("maxRetryCount", 0) == retries
    assert seconds > (retries + 1) * timeout_minutes * 60
    assert seconds > run_deadline_hours * 3600


def test_the_wait_grows_by_an_integer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_BACKOFF__FACTOR", "1.5")
    with pytest.raises(InputError, match=r"factor.*1\.5"):
        load_settings()


def test_search_runs_on_spot_nodes(cluster_graph: Graph) -> None:
    pod = cluster_graph.pod("search")
    assert pod["nodeSelector"]["labels"]["cloud.google.com/gke-spot"] == "true"
    assert any(toleration["key"] == "cloud.google.com/gke-spot" for toleration in pod["tolerations"])


def test_a_run_ends_and_is_cleaned_up(cluster_graph: Graph) -> None:
    config = cluster_graph.platform["platforms"]["kubernetes"]["pipelineConfig"]
    # The engine's installation has its own hour for each of success and failure: what is not said is that hour.
    assert sorted(map(int, config.values())) == [86400, 259200, 259200, 259200]


def test_who_is_told_runs_like_a_step(compile_graph: Callable[..., Graph]) -> None:
    graph = compile_graph(webhook="https://chat.example/hook")
    assert graph.container("notify")["image"] == IMAGES["cpu"]
    assert graph.pod("notify")["podMetadata"]["labels"]["assay.dev/step"] == "notify"


def test_parallel_preprocessing_is_placed_too(compile_graph) -> None:
    graph = compile_graph(shards=4)
    for task in ("preprocess-shard", "merge-shards"):
        assert graph.container(task)["image"] == IMAGES["cpu"]
        assert graph.tasks[task]["retryPolicy"]["maxRetryCount"] == 3


@pytest.mark.parametrize("image", ["assay:latest", "assay", "assay:v1", "registry.example:5000/assay"])
def test_an_image_that_can_change_is_refused(compile_graph, image: str) -> None:
    with pytest.raises(InputError, match=image):
        compile_graph(images={"cpu": image, "gpu": image})
    assert compile_graph(images={"cpu": image, "gpu": image}, allow_mutable_images=True)


def test_a_digest_cannot_change(compile_graph) -> None:
    digest = "assay@sha256:" + "0" * 64
    assert compile_graph(images={"cpu": digest, "gpu": digest}).container("ingest")["image"] == digest


def test_the_environment_stands_above_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("namespace: team-a\nexperiment: from-file\n", encoding="utf-8")
    monkeypatch.setenv("ASSAY_SETTINGS", str(file))
    monkeypatch.setenv("ASSAY_EXPERIMENT", "from-environment")
    monkeypatch.setenv("ASSAY_BACKOFF__SECONDS", "5")
    settings = load_settings()
    assert (settings.namespace, settings.experiment, settings.backoff.seconds) == ("team-a", "from-environment", 5)


@pytest.mark.parametrize(
    ("variable", "value"), [("ASSAY_BACKOFF__SECONDS", "soon"), ("ASSAY_BACKOFF__SECOND", "5"), ("ASSAY_SETTINGS", "x")]
)
def test_a_wrong_setting_is_one_line_that_names_it(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError) as caught:
        load_settings()
    assert "\n" not in str(caught.value)
    assert value in str(caught.value)


def test_a_profile_that_does_not_exist_is_named(compile_graph) -> None:
    placement = {**load_settings().placement, "search": "tpu"}
    with pytest.raises(InputError, match=r"placement\.search names the profile 'tpu'"):
        compile_graph(placement=placement)


def test_a_search_that_looks_after_worker_pods_holds_no_accelerator(compile_graph: Callable[..., Graph]) -> None:
    own = {"ASSAY_SEARCH_WORKER_POD": '{"priorityClassName": "assay-search"}'}
    graph = compile_graph(chief_waits=True, environment=own)
    container, pod = graph.container("search"), graph.pod("search")
    assert "accelerator" not in container["resources"]
    assert "nodeSelector" not in pod
    assert not pod.get("tolerations")
    variables = {one["name"]: one["value"] for one in container["env"]}
    assert (variables["ASSAY_MACHINE"], variables["ASSAY_WORKER_MACHINE"]) == ("cpu", "search")
    # Its workers have what the step has where it trains itself, and what the settings say of them.
    workers = json.loads(variables["ASSAY_SEARCH_WORKER_POD"])
    assert workers["resources"] == {
        "requests": {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "1"},
        "limits": {"memory": "16Gi", "nvidia.com/gpu": "1"},
    }
    trains = compile_graph().pod("search")
    assert workers["nodeSelector"] == trains["nodeSelector"]["labels"]
    assert {taint["key"] for taint in workers["tolerations"]} == {taint["key"] for taint in trains["tolerations"]}
    assert workers["priorityClassName"] == "assay-search"
    # The others are as they were.
    assert graph.container("finetune")["resources"]["accelerator"]
    assert container["image"] == IMAGES["gpu"]


@pytest.mark.parametrize(
    ("search", "waits"),
    [
        ({}, False),
        ({"workers": 3}, True),
        ({"placement": "pods"}, True),
        ({"workers": 3, "placement": "processes"}, False),
        ({"workers": 3, "finish_best": True}, False),
        ({"workers": 3, "hypermodel": "vgg16_head"}, False),
    ],
)
def test_the_step_of_a_search_only_waits_where_nothing_is_left_to_it_to_compute(search: dict, waits: bool) -> None:
    assert SearchConfig.model_validate(search).chief_waits == waits


def test_one_value_from_the_environment_leaves_the_other_profiles_and_placements(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ASSAY_PROFILES__GPU__MEMORY", "32Gi")
    monkeypatch.setenv("ASSAY_PLACEMENT__EVALUATE", "cpu")
    settings = load_settings()
    usual = Settings.model_fields["profiles"].get_default(call_default_factory=True)
    assert settings.profile("finetune") == usual["gpu"].model_copy(update={"memory": "32Gi"})
    assert settings.profile("search") == usual["search"]
    assert settings.profile("evaluate") == usual["cpu"]
    assert settings.profile("baseline").accelerator
