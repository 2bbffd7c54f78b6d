"""The graph with folds: a task for each candidate and fold, addresses between them, the steps around as they were."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from assay.config import CANDIDATES, parse_config
from pipelines.graphs.training import config_of, pipeline_arguments
from tests.pipelines.conftest import Graph, undeclared_inputs

FOLDS = 5


@pytest.fixture(scope="module")
def graph(compile_graph: Callable[..., Graph]) -> Graph:
    return compile_graph(folds=FOLDS, parallel_folds=3)


def loops(graph: Graph) -> dict[str, dict]:
    return {name: task for name, task in graph.tasks.items() if "parameterIterator" in task}


def test_each_candidate_is_trained_for_five_folds_as_many_at_once_as_the_settings_say(graph: Graph) -> None:
    found = loops(graph)
    assert len(found) == len(CANDIDATES)
    for loop in found.values():
        assert json.loads(loop["parameterIterator"]["items"]["raw"]) == list(range(FOLDS))
        assert loop["iteratorPolicy"]["parallelismLimit"] == 3
        (task,) = graph.spec["components"][loop["componentRef"]["name"]]["dag"]["tasks"].values()
        assert task["inputs"]["parameters"]["fold"]["componentInputParameter"].startswith("pipelinechannel--loop-item")
        assert task["cachingOptions"] == {"enableCache": True}
    given = [task["inputs"]["parameters"] for name, task in graph.tasks.items() if name.startswith("train-fold")]
    assert {one["candidate"]["runtimeValue"]["constant"] for one in given} == set(CANDIDATES)
    assert not set(CANDIDATES) & set(graph.tasks)


def test_a_folds_task_runs_where_its_candidate_would(graph: Graph, cluster_graph: Graph) -> None:
    for name, task in graph.tasks.items():
        if name.startswith("train-fold"):
            candidate = task["inputs"]["parameters"]["candidate"]["runtimeValue"]["constant"]
            assert graph.pod(name) == cluster_graph.pod(candidate)
            assert graph.container(name)["resources"] == cluster_graph.container(candidate)["resources"]
    assert graph.pod("evaluate-folds") == cluster_graph.pod("evaluate")


def test_folds_hand_on_addresses(graph: Graph) -> None:
    task = graph.tasks["evaluate-folds"]
    assert set(task["inputs"]["artifacts"]) == {"dataset"}
    component = graph.spec["components"][task["componentRef"]["name"]]
    for candidate in CANDIDATES:
        assert component["inputDefinitions"]["parameters"][candidate]["parameterType"] == "LIST"
        taken = task["inputs"]["parameters"][candidate]["taskOutputParameter"]
        assert taken["producerTask"] in loops(graph)
        outputs = graph.spec["components"][loops(graph)[taken["producerTask"]]["componentRef"]["name"]]
        assert outputs["outputDefinitions"]["parameters"][taken["outputParameterKey"]]["parameterType"] == "LIST"
    assert graph.tasks["promote"]["inputs"]["artifacts"]["evaluation"]["taskOutputArtifact"] == {
        "outputArtifactKey": "evaluation",
        "producerTask": "evaluate-folds",
    }


def test_kubeflow_reads_the_graph_and_finds_every_input(graph: Graph) -> None:
    graph.parsed()
    assert undeclared_inputs(graph.spec) == []
    for step in ("ingest", "preprocess"):
        assert graph.tasks[step]["inputs"]["parameters"]["folds"] == {"runtimeValue": {"constant": FOLDS}}


@pytest.mark.parametrize("options", [{"shards": 2}, {"skip_unchanged": True}])
def test_folds_go_with_parallel_preprocessing_and_with_schedules(compile_graph: Callable[..., Graph], options) -> None:
    graph = compile_graph(folds=2, **options)
    assert undeclared_inputs(graph.spec) == []
    parts = [task for name, task in graph.tasks.items() if name in ("preprocess", "preprocess-shard")]
    assert [task["inputs"]["parameters"]["folds"]["runtimeValue"]["constant"] for task in parts] == [2]


def test_a_single_split_has_no_folds(cluster_graph: Graph) -> None:
    assert not loops(cluster_graph)
    assert not [name for name, task in cluster_graph.tasks.items() if "folds" in task["inputs"].get("parameters", {})]


def test_a_run_tells_its_folds_and_gives_them_back() -> None:
    config = parse_config({"version": 1, "validate": {"folds": 5}})
    arguments = pipeline_arguments(config)
    assert arguments["validate"] == "folds: 5"
    assert config_of(arguments).validate.folds == 5
    assert "validate" not in pipeline_arguments(parse_config({"version": 1}))
