"""The graph: its steps, its order, what is cached, and what each step is given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from assay.config import parse_config
from assay.errors import InputError
from pipelines.graphs.order import STEPS, enabled_candidates, enabled_steps
from pipelines.graphs.training import compile_training_pipeline, pipeline_arguments
from tests.pipelines.conftest import Graph, read_graph


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


def test_candidates_do_not_wait_for_each_other(graph: Graph) -> None:
    for name in ("baseline", "search", "finetune"):
        assert set(graph.tasks[name]["dependentTasks"]) == {"preprocess", "augment"}


def test_components_install_nothing_at_run_time(graph: Graph) -> None:
    for executor in graph.spec["deploymentSpec"]["executors"].values():
        assert "pip install" not in " ".join(executor["container"]["command"])


def test_steps_after_ingest_wait_for_data_to_train_on(graph: Graph) -> None:
    (condition,) = [task for task in graph.tasks.values() if "triggerPolicy" in task and "condition" in str(task)]
    assert condition["triggerPolicy"]["condition"].endswith("!= ''")
    assert condition["dependentTasks"] == ["ingest"]


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


def test_sections_travel_as_json_that_reads_back_to_the_same_config() -> None:
    config = parse_config({"version": 1, "finetune": {"epochs": 3}})
    arguments = pipeline_arguments(config)
    assert json.loads(arguments["finetune_config"]) == config.finetune.model_dump(mode="json")


def test_a_storage_root_that_kubeflow_cannot_compare_is_refused() -> None:
    config = parse_config({"version": 1, "storage": {"root": "/data/doctor's"}})
    with pytest.raises(InputError, match="doctor's"):
        pipeline_arguments(config)


def test_a_run_names_its_record_by_its_own_id(local_graph: Graph, cluster_graph: Graph) -> None:
    there = cluster_graph.tasks["promote"]["inputs"]["parameters"]["run_id"]
    assert there == {"runtimeValue": {"constant": "{{$.pipeline_job_uuid}}"}}
    here = local_graph.tasks["promote"]["inputs"]["parameters"]["run_id"]
    assert here["componentInputParameter"].endswith("run_id")
    # A new id for each run: of all steps it may reach only the one that is never cached.
    for name in set(STEPS) - {"promote"}:
        assert "run_id" not in str(local_graph.tasks[name]["inputs"])


def test_what_the_interface_can_show_is_among_the_outputs(cluster_graph: Graph) -> None:
    kinds = {"system.HTML", "system.Markdown", "system.ClassificationMetrics"}
    shown = {}
    for name in STEPS:
        outputs = cluster_graph.spec["components"][cluster_graph.tasks[name]["componentRef"]["name"]]
        types = {one["artifactType"]["schemaTitle"] for one in outputs["outputDefinitions"]["artifacts"].values()}
        assert "system.Metrics" in types, name
        shown[name] = types & kinds
    assert shown.pop("evaluate") == kinds
    assert shown.pop("promote") == {"system.Markdown"}
    assert shown.pop("preprocess") == set()
    assert set(map(frozenset, shown.values())) == {frozenset({"system.HTML"})}
