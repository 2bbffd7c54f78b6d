"""The graph of sweeps: data once, a loop over runs, one table; and the same run here."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from assay.config import load_config
from assay.sweep.spec import Sweep, load_sweep
from pipelines.graphs.sweep import build_sweep_pipeline, compile_sweep_pipeline, sweep_arguments
from pipelines.settings import load_settings
from tests.pipelines.conftest import IMAGES, Graph, read_graph, undeclared_inputs

BASE = """
version: 1
data: {source: "demo://tissue?images=96&size=16&slides=24&difficulty=0&seed=0"}
augment: {preview_images: 1}
baseline: {model: {name: cnn, options: {depth: 1, width: 2, dense: 0}}, epochs: 1}
runtime: {precision: float32, workers: 1}
"""
SPEC = """
version: 1
name: tiny
config: base.yaml
seeds: [0]
rows: [{}, {model: {name: cnn9}}]
"""


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    (tmp_path / "base.yaml").write_text(BASE, encoding="utf-8")
    (tmp_path / "sweep.yaml").write_text(SPEC, encoding="utf-8")
    return load_sweep(tmp_path / "sweep.yaml", [f"storage.root={tmp_path / 'store'}"])


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    path = tmp_path_factory.mktemp("graph") / "sweep.yaml"
    compile_sweep_pipeline(path, load_settings(images=IMAGES))
    return read_graph(path)


def test_the_runs_are_a_loop_and_the_table_waits_for_all_of_them(graph: Graph) -> None:
    (loop,) = [name for name, task in graph.tasks.items() if "parameterIterator" in task]
    assert set(graph.tasks["sweep-table"]["dependentTasks"]) == {"preprocess", loop}
    for step in ("ingest", "preprocess", "augment"):
        assert "dependentTasks" not in graph.tasks[step] or loop not in graph.tasks[step]["dependentTasks"]


def test_runs_are_placed_where_a_baseline_trains_and_data_steps_where_they_are_prepared(graph: Graph) -> None:
    assert graph.container("sweep-row")["image"] == IMAGES["gpu"]
    assert graph.container("sweep-table")["image"] == IMAGES["cpu"]


def test_ingest_and_the_table_are_never_cached_and_runs_take_the_code_version(graph: Graph) -> None:
    for step in ("ingest", "sweep-table"):
        assert not graph.tasks[step].get("cachingOptions", {}).get("enableCache", False)
    for step in ("preprocess", "augment", "sweep-row"):
        assert graph.tasks[step]["cachingOptions"]["enableCache"]
        assert "code_version" in graph.tasks[step]["inputs"]["parameters"]


def test_each_input_that_a_step_takes_from_the_graph_around_it_is_declared_there(graph: Graph) -> None:
    assert undeclared_inputs(graph.spec) == []


def test_every_argument_is_a_parameter_of_the_graph(graph: Graph, sweep: Sweep) -> None:
    assert set(sweep_arguments(sweep)) <= set(graph.spec["root"]["inputDefinitions"]["parameters"])


def test_the_end_of_a_sweep_is_told_where_somebody_is_told(tmp_path: Path) -> None:
    compile_sweep_pipeline(tmp_path / "told.yaml", load_settings(images=IMAGES, webhook="https://chat.example/hook"))
    told = read_graph(tmp_path / "told.yaml")
    assert set(told.spec["root"]["dag"]["tasks"]) == {"exit-handler-1", "notify"}
    assert told.tasks["notify"]["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    assert undeclared_inputs(told.spec) == []


def test_records_travel_as_addresses_in_storage(graph: Graph) -> None:
    assert set(graph.tasks["sweep-table"]["inputs"]["artifacts"]) == {"dataset"}
    outputs = graph.spec["components"][graph.tasks["sweep-row"]["componentRef"]["name"]]["outputDefinitions"]
    assert outputs == {"parameters": {"Output": {"parameterType": "STRING"}}}


def test_items_are_texts_because_numbers_would_arrive_as_floats(sweep: Sweep) -> None:
    items = sweep_arguments(sweep)["system_items"]
    assert all(isinstance(item, str) for item in items)
    assert [json.loads(item) for item in items] == [{"row": 1, "seed": 0}, {"row": 2, "seed": 0}]


def test_it_runs_and_a_row_that_does_not_fit_leaves_its_reason(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import builtins

    from kfp import local

    printing = builtins.print
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "steps"))
    with capsys.disabled(), (tmp_path / "log").open("w") as log, contextlib.redirect_stdout(log):
        with contextlib.redirect_stderr(log):
            build_sweep_pipeline()(**sweep_arguments(sweep), system_run_id="a-run")
    # Kubeflow's loops leave it indented.
    builtins.print = printing
    (table,) = (tmp_path / "steps").rglob("sweep-table/table")
    lines = [line for line in table.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert "(best)" in lines[2]
    assert "cnn9" in lines[3]
    assert "16" in lines[3]
    kept = tmp_path / "store" / "sweeps" / "tables" / "tiny" / "a-run"
    assert (kept / "table.md").read_text(encoding="utf-8") == table.read_text(encoding="utf-8")
    assert load_config(kept / "best.yaml").baseline.model.name == "cnn"
