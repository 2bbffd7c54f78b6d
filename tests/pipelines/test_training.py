"""The graph: its steps, its order, what is cached, and what each step is given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from assay.config import parse_config
from assay.errors import InputError
from pipelines.steps import STEPS, enabled_candidates, enabled_steps
from pipelines.training import compile_training_pipeline, pipeline_arguments


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> dict:
    path = tmp_path_factory.mktemp("graph") / "training.yaml"
    compile_training_pipeline(("baseline", "search", "finetune"), path)
    return next(iter(yaml.safe_load_all(path.read_text(encoding="utf-8"))))


def tasks(graph: dict) -> dict[str, dict]:
    found = dict(graph["root"]["dag"]["tasks"])
    for component in graph["components"].values():
        found.update(component.get("dag", {}).get("tasks", {}))
    return found


def test_all_eight_steps_are_there(graph: dict) -> None:
    assert set(STEPS) <= set(tasks(graph))


def test_ingest_and_promote_are_never_cached_and_the_rest_is(graph: dict) -> None:
    for name, task in tasks(graph).items():
        if name in STEPS:
            cached = task.get("cachingOptions", {}).get("enableCache", False)
            assert cached == (name not in ("ingest", "promote")), name


def test_cached_steps_take_the_code_version_as_input(graph: dict) -> None:
    for name in set(STEPS) - {"ingest", "promote"}:
        assert "code_version" in tasks(graph)[name]["inputs"]["parameters"], name


def test_candidates_do_not_wait_for_each_other(graph: dict) -> None:
    for name in ("baseline", "search", "finetune"):
        assert set(tasks(graph)[name]["dependentTasks"]) == {"preprocess", "augment"}


def test_components_install_nothing_at_run_time(graph: dict) -> None:
    for executor in graph["deploymentSpec"]["executors"].values():
        assert "pip install" not in " ".join(executor["container"]["command"])


def test_a_disabled_candidate_is_not_in_the_graph(tmp_path: Path) -> None:
    config = parse_config({"version": 1, "search": {"enabled": False}})
    assert enabled_candidates(config) == ("baseline", "finetune")
    assert "search" not in enabled_steps(config)
    compile_training_pipeline(enabled_candidates(config), tmp_path / "graph.yaml")
    assert "search" not in tasks(next(iter(yaml.safe_load_all((tmp_path / "graph.yaml").read_text(encoding="utf-8")))))


def test_sections_travel_as_json_that_reads_back_to_the_same_config() -> None:
    config = parse_config({"version": 1, "finetune": {"epochs": 3}})
    arguments = pipeline_arguments(config)
    assert json.loads(arguments["finetune_config"]) == config.finetune.model_dump(mode="json")


def test_a_storage_root_that_kubeflow_cannot_compare_is_refused() -> None:
    config = parse_config({"version": 1, "storage": {"root": "/data/doctor's"}})
    with pytest.raises(InputError, match="doctor's"):
        pipeline_arguments(config)
