"""Submitting a run: what the server is given, and what is refused before it is asked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from assay.config import RunConfig, apply_overrides, parse_config
from assay.errors import AssayError, InputError
from assay.sweep.spec import load_sweep
from pipelines.cluster.client import Cluster
from pipelines.cluster.submit import submit, submit_sweep


def config_with(*overrides: str) -> RunConfig:
    base = {"version": 1, "name": "tiny", "data": {"source": "gs://bucket/images"}}
    return parse_config(apply_overrides(base, list(overrides)), "test")


def test_a_run_is_started_with_its_config(kubeflow: Any, cluster: Cluster, tiny_config: RunConfig) -> None:
    submitted = submit(cluster, tiny_config)
    (run,) = kubeflow.state.runs.values()
    given = run["runtime_config"]["parameters"]
    assert submitted.run_id == run["run_id"]
    assert submitted.link.endswith(f"/#/runs/details/{run['run_id']}")
    assert given["data"] == "source: 'demo://tissue?images=60'"
    assert given["system_storage_root"] == "gs://bucket/assay"
    assert run["service_account"] == "assay-pipeline"
    assert "demo://tissue" in run["description"]


def test_the_same_graph_is_uploaded_once_and_another_graph_anew(kubeflow: Any, cluster: Cluster) -> None:
    first = submit(cluster, config_with())
    # Another number is another value of a parameter; one candidate less is another graph.
    same = submit(cluster, config_with("finetune.epochs=3"))
    other = submit(cluster, config_with("search.enabled=false"))
    assert [first.version.uploaded, same.version.uploaded, other.version.uploaded] == [True, False, True]
    assert first.version == same.version.__class__(**{**same.version.__dict__, "uploaded": True})
    tasks = [kubeflow.state.graphs[version.version.version_id][0]["components"] for version in (first, other)]
    assert "comp-search" in tasks[0]
    assert "comp-search" not in tasks[1]


def test_a_sweep_is_started_with_its_rows(kubeflow: Any, cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("version: 1\nname: base\n", encoding="utf-8")
    spec = tmp_path / "sweep.yaml"
    spec.write_text("version: 1\nname: depths\nconfig: base.yaml\ngrid: {epochs: [1, 2, 3]}\n", encoding="utf-8")
    submitted = submit_sweep(cluster, load_sweep(spec, ["data.source=gs://bucket/images"]))
    (run,) = kubeflow.state.runs.values()
    given = run["runtime_config"]["parameters"]
    assert re.fullmatch(r"depths \d\d-\d\d \d\d:\d\d sweep of 3 rows", submitted.name)
    assert len(given["system_items"]) == 9
    assert given["system_storage_root"] == "gs://bucket/assay"
    assert submitted.version.name.startswith("assay-sweep-")
    with pytest.raises(InputError, match="pods cannot see a folder"):
        submit_sweep(cluster, load_sweep(spec, ["data.source=./images"]))


def test_what_tells_a_run_from_others_comes_first_in_its_name(cluster: Cluster) -> None:
    overrides = ["name=tiny", "finetune.epochs=3", "seed=2"]
    changed = submit(cluster, config_with(*overrides), overrides=overrides).name
    assert re.fullmatch(r"finetune.epochs=3,seed=2 tiny \d\d-\d\d \d\d:\d\d", changed)
    assert re.fullmatch(r"tiny \d\d-\d\d \d\d:\d\d baseline\+search\+finetune", submit(cluster, config_with()).name)


def test_shards_of_the_config_are_in_the_graph(kubeflow: Any, cluster: Cluster) -> None:
    submitted = submit(cluster, config_with("data.shards=4"))
    assert "comp-merge-shards" in kubeflow.state.graphs[submitted.version.version_id][0]["components"]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.source=./images", "data.source.*Received: ./images.*DATA=gs://"),
        ("finetune.weights=vgg.h5", "finetune.weights.*Received: vgg.h5"),
    ],
)
def test_what_only_this_machine_has_is_refused(kubeflow: Any, cluster: Cluster, override: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        submit(cluster, config_with(override))
    assert not kubeflow.state.runs


def test_local_storage_is_refused(cluster: Cluster, tiny_config: RunConfig) -> None:
    cluster.settings = cluster.settings.model_copy(update={"storage_root": None})
    with pytest.raises(InputError, match=r"storage.root.*ASSAY_STORAGE_ROOT=gs://"):
        submit(cluster, tiny_config)


def test_a_server_error_starts_no_second_run(kubeflow: Any, cluster: Cluster, tiny_config: RunConfig) -> None:
    kubeflow.state.fail("POST .*/runs$", 500)
    with pytest.raises(AssayError, match=r"the server failed with 500"):
        submit(cluster, tiny_config)
    assert not kubeflow.state.runs
