"""The graph: its steps, its order, what is cached, and what each step is given."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assay.config import load_config, parse_config
from assay.errors import InputError
from pipelines.graphs.order import STEPS, enabled_candidates, enabled_steps
from pipelines.graphs.training import compile_training_pipeline, config_of, pipeline_arguments
from tests.pipelines.conftest import Graph, read_graph, undeclared_inputs


@pytest.fixture(params=["local_graph", "cluster_graph"])
def graph(request: pytest.FixtureRequest) -> Graph:
    return request.getfixturevalue(request.param)


def test_all_eight_steps_are_there(graph: Graph) -> None:
    assert set(STEPS) <= set(graph.tasks)


def test_ingest_and_promote_are_never_cached_and_the_rest_is(graph: Graph) -> None:
    for name in STEPS:
        cached = graph.tasks[name].get("cachingOptions", {}).get("enableCache", False)
        assert cached == (name not in ("ingest", "promote")), name


def test_cached_steps_take_the_code_version_as_input(graph: Graph) -> None:
    for name in set(STEPS) - {"ingest", "promote"}:
        assert "code_version" in graph.tasks[name]["inputs"]["parameters"], name


def test_candidates_wait_for_the_data_alone_where_the_config_says_what_they_are_augmented_with(
    cluster_graph: Graph,
) -> None:
    for name in ("baseline", "search", "finetune"):
        assert set(cluster_graph.tasks[name]["dependentTasks"]) == {"ingest", "preprocess"}
    # So a step less is in series than there are: what a run takes is mostly the sum over these.
    judged_after = set(cluster_graph.tasks["evaluate"]["dependentTasks"])
    assert judged_after == {"baseline", "finetune", "ingest", "preprocess", "search"}


def test_candidates_wait_for_augment_where_it_decides_and_take_what_it_has_decided(
    compile_graph: Callable[..., Graph],
) -> None:
    graph = compile_graph(policy_chosen=True)
    for name in ("baseline", "search", "finetune"):
        assert set(graph.tasks[name]["dependentTasks"]) == {"ingest", "preprocess", "augment"}
        taken = graph.tasks[name]["inputs"]["artifacts"]["decided"]["taskOutputArtifact"]
        assert taken == {"outputArtifactKey": "policy", "producerTask": "augment"}


def test_another_preview_trains_nothing_anew() -> None:
    plain = parse_config({"version": 1, "augment": {"policy": {"horizontal_flip": True}}})
    shown = parse_config({"version": 1, "augment": {"policy": {"horizontal_flip": True}, "preview_images": 9}})
    before, after = pipeline_arguments(plain), pipeline_arguments(shown)
    assert before["system_policy"] == after["system_policy"] == "horizontal_flip: true"
    assert {name for name in after if before.get(name) != after[name]} == {"augment", "system_config"}


def test_components_install_nothing_at_run_time(graph: Graph) -> None:
    for executor in graph.spec["deploymentSpec"]["executors"].values():
        assert "pip install" not in " ".join(executor["container"]["command"])


def test_a_run_is_one_layer_of_steps_where_nothing_can_be_skipped_and_nobody_is_told(graph: Graph) -> None:
    assert set(graph.spec["root"]["dag"]["tasks"]) == set(STEPS)
    assert not [name for name, component in graph.spec["components"].items() if "dag" in component]


def test_where_an_unchanged_source_is_skipped_the_steps_after_ingest_wait_for_something_to_train_on(
    compile_graph: Callable[..., Graph],
) -> None:
    graph = compile_graph(skip_unchanged=True)
    assert set(graph.spec["root"]["dag"]["tasks"]) == {"ingest", "condition-1"}
    condition = graph.tasks["condition-1"]
    assert condition["triggerPolicy"]["condition"].endswith("!= ''")
    assert condition["dependentTasks"] == ["ingest"]
    assert graph.tasks["ingest"]["inputs"]["parameters"]["skip_unchanged"] == {"runtimeValue": {"constant": True}}


def test_an_exit_handler_is_there_where_somebody_is_told(compile_graph: Callable[..., Graph]) -> None:
    graph = compile_graph(webhook="https://chat.example/hook")
    assert set(graph.spec["root"]["dag"]["tasks"]) == {"exit-handler-1", "notify"}
    assert graph.tasks["notify"]["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"policy_chosen": True},
        {"shards": 3},
        {"skip_unchanged": True},
        {"webhook": "https://chat.example"},
        {"everything": True},
    ],
)
def test_each_input_that_a_step_takes_from_the_graph_around_it_is_declared_there(
    compile_graph: Callable[..., Graph], how: dict[str, Any]
) -> None:
    if "everything" in how:
        how = {"shards": 3, "skip_unchanged": True, "webhook": "https://chat.example"}
    graph = compile_graph(**how)
    assert undeclared_inputs(graph.spec) == []


def test_an_undeclared_input_is_found(cluster_graph: Graph) -> None:
    spec = json.loads(json.dumps(cluster_graph.spec))
    del spec["root"]["inputDefinitions"]["parameters"]["system_accelerator_count"]
    assert {task for task, _ in undeclared_inputs(spec)} == {"baseline", "search", "finetune", "evaluate"}


def test_the_same_steps_get_the_same_inputs_here_and_on_a_cluster(local_graph: Graph, cluster_graph: Graph) -> None:
    for name in STEPS:
        here, there = local_graph.tasks[name]["inputs"], cluster_graph.tasks[name]["inputs"]
        extra = set(there["parameters"]) - set(here["parameters"])
        assert all("accelerator" in parameter for parameter in extra)
        assert set(here["parameters"]) <= set(there["parameters"])
        assert set(here.get("artifacts", {})) == set(there.get("artifacts", {}))


def test_a_disabled_candidate_is_not_in_the_graph(tmp_path: Path) -> None:
    config = parse_config({"version": 1, "search": {"enabled": False}})
    assert enabled_candidates(config) == ("baseline", "finetune")
    assert "search" not in enabled_steps(config)
    compile_training_pipeline(enabled_candidates(config), tmp_path / "graph.yaml")
    assert "search" not in read_graph(tmp_path / "graph.yaml").tasks


def test_large_sources_are_preprocessed_in_parallel(compile_graph) -> None:
    graph = compile_graph(shards=8)
    (loop,) = [task for task in graph.tasks.values() if "parameterIterator" in task]
    assert json.loads(loop["parameterIterator"]["items"]["raw"]) == list(range(8))
    assert loop["iteratorPolicy"]["parallelismLimit"] == 8
    assert "merge-shards" in graph.tasks


def test_parts_travel_as_addresses_in_storage(compile_graph: Callable[..., Graph]) -> None:
    graph = compile_graph(shards=8)
    assert set(graph.tasks["merge-shards"]["inputs"]) == {"parameters"}
    outputs = graph.spec["components"][graph.tasks["preprocess-shard"]["componentRef"]["name"]]["outputDefinitions"]
    assert outputs == {"parameters": {"Output": {"parameterType": "STRING"}}}


def test_a_run_is_given_what_differs_from_the_defaults_in_a_readable_form() -> None:
    config = parse_config({"version": 1, "seed": 3, "finetune": {"epochs": 3}, "baseline": {"model": {"name": "cnn6"}}})
    arguments = pipeline_arguments(config)
    assert {name: value for name, value in arguments.items() if not name.startswith("system_")} == {
        "name": "assay",
        "seed": 3,
        "finetune": "epochs: 3",
        "baseline": "model.name: cnn6",
    }
    assert not any('"' in str(value) or "{" in str(value) for value in arguments.values())


def test_what_is_no_property_of_the_experiment_stands_together_behind_what_is(cluster_graph: Graph) -> None:
    # Kubeflow sorts parameters by name; of the sections `validate` alone comes after "system_".
    names = sorted(set(cluster_graph.spec["root"]["inputDefinitions"]["parameters"]) - {"validate"})
    system = [name for name in names if name.startswith("system_")]
    assert names[-len(system) :] == system
    assert {"system_code_version", "system_storage_root", "system_runtime"} <= set(system)


def test_every_argument_is_a_parameter_of_the_graph(cluster_graph: Graph) -> None:
    config = load_config(Path(__file__).parents[3] / "pipelines/configs/demo.yaml")
    assert set(pipeline_arguments(config)) <= set(cluster_graph.spec["root"]["inputDefinitions"]["parameters"])


def test_the_config_is_read_back_from_the_arguments_as_kubeflow_returns_them() -> None:
    config = load_config(Path(__file__).parents[3] / "pipelines/configs/demo.yaml", ["seed=5"])
    returned = {**pipeline_arguments(config), "seed": 5.0}
    assert config_of(returned) == config
    with pytest.raises(InputError, match="name"):
        config_of({"seed": 1})


def test_another_epoch_reaches_every_step_that_is_cached(cluster_graph: Graph) -> None:
    config = parse_config({"version": 1})
    plain, anew = pipeline_arguments(config), pipeline_arguments(config, epoch="20260101-000000")
    assert {name for name in plain if plain[name] != anew[name]} == {"system_code_version"}
    for name in set(STEPS) - {"ingest", "promote"}:
        # Ingest, which is never cached, adds the epoch that a step begins where it finds an output damaged or gone.
        taken = cluster_graph.tasks[name]["inputs"]["parameters"]["code_version"]
        assert taken == {"taskOutputParameter": {"outputParameterKey": "reused_from", "producerTask": "ingest"}}
    given = cluster_graph.tasks["ingest"]["inputs"]["parameters"]["code_version"]
    assert given == {"componentInputParameter": "system_code_version"}


def test_a_storage_root_that_kubeflow_cannot_compare_is_refused() -> None:
    config = parse_config({"version": 1, "storage": {"root": "/data/doctor's"}})
    with pytest.raises(InputError, match="doctor's"):
        pipeline_arguments(config)


def test_a_run_names_its_record_by_its_own_id(local_graph: Graph, cluster_graph: Graph) -> None:
    there = cluster_graph.tasks["promote"]["inputs"]["parameters"]["run_id"]
    assert there == {"runtimeValue": {"constant": "{{$.pipeline_job_uuid}}"}}
    here = local_graph.tasks["promote"]["inputs"]["parameters"]["run_id"]
    assert here["componentInputParameter"] == "system_run_id"
    # A new id for each run: of all steps it may reach only the one that is never cached.
    for name in set(STEPS) - {"promote"}:
        assert "run_id" not in str(local_graph.tasks[name]["inputs"])


def test_what_the_interface_can_show_is_among_the_outputs(cluster_graph: Graph) -> None:
    kinds = {"system.HTML", "system.Markdown", "system.ClassificationMetrics"}
    shown = {}
    for name in STEPS:
        outputs = cluster_graph.spec["components"][cluster_graph.tasks[name]["componentRef"]["name"]]
        types = {one["artifactType"]["schemaTitle"] for one in outputs["outputDefinitions"]["artifacts"].values()}
        assert ("system.Metrics" in types) == (name == "evaluate"), name
        shown[name] = types & kinds
    assert shown.pop("evaluate") == kinds
    assert shown.pop("promote") == {"system.Markdown"}
    assert shown.pop("preprocess") == set()
    assert set(map(frozenset, shown.values())) == {frozenset({"system.HTML"})}
