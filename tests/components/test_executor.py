"""Every component through the SDK's executor, with executor inputs as Kubeflow's backend writes them.

Unlike the local runner it hands artifacts in without a schema title, leaves out inputs that have no value, and gives
addresses in its own object storage that are mounted below a folder of that name.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.graphs.training import compile_training_pipeline, pipeline_arguments
from pipelines.settings import load_settings
from tests.pipelines.conftest import CANDIDATES, IMAGES, Graph, read_graph
from tests.recorded import tiny_config

BUCKET = "minio://mlpipeline/v2/artifacts/assay-training/429fe07d"


class Backend:
    """Runs tasks of a compiled graph one after another, as the backend's launcher starts them.

    Args:
        graph: The graph.
        folder: What stands for the mounts of object storage.
    """

    def __init__(self, graph: Graph, folder: Path) -> None:
        self.graph, self.folder = graph, folder
        self.outputs: dict[tuple[str, str], Any] = {}

    def run(self, task: str, /, **given: Any) -> dict[str, Any]:
        """Run a task with these parameters and artifacts; an artifact is a (task, output) that ran before."""
        from kfp.dsl import executor, utils

        component = self.graph.spec["components"][self.graph.tasks[task]["componentRef"]["name"]]
        declared = component.get("inputDefinitions", {})
        assert set(given) <= {*declared.get("parameters", {}), *declared.get("artifacts", {})}
        out = f"{BUCKET}/{task}"
        outputs = component.get("outputDefinitions", {})
        executor_input = {
            "inputs": {
                "parameterValues": {name: given[name] for name in declared.get("parameters", {}) if name in given},
                "artifacts": {
                    name: {"artifacts": [self.stored(*given[name])]}
                    for name in declared.get("artifacts", {})
                    if name in given
                },
            },
            "outputs": {
                "parameters": {
                    name: {"outputFile": f"/tmp/kfp/outputs/{name}"} for name in outputs.get("parameters", {})
                },
                "artifacts": {
                    name: {
                        "artifacts": [
                            {
                                "name": name,
                                "type": {"schemaTitle": kind["artifactType"]["schemaTitle"], "schemaVersion": "0.0.1"},
                                "uri": f"{out}/{name}",
                            }
                        ]
                    }
                    for name, kind in outputs.get("artifacts", {}).items()
                },
                "outputFile": str(self.folder / task / "output_metadata.json"),
            },
        }
        script = self.graph.container(task)["command"]
        source = next(part for part in script if "from kfp import dsl" in part)
        module = self.folder / task.replace("-", "_") / "ephemeral_component.py"
        module.parent.mkdir(parents=True, exist_ok=True)
        module.write_text(source, encoding="utf-8")
        function = self.graph.container(task)["args"][-1]
        loaded = utils.load_module(module_name=module.stem, module_directory=str(module.parent))
        written = executor.Executor(executor_input, getattr(loaded, function)).execute()
        made: dict[str, Any] = json.loads(Path(str(written)).read_text(encoding="utf-8"))
        for name in outputs.get("artifacts", {}):
            assert (self.folder / f"{out}/{name}".removeprefix("minio://")).exists(), f"{task}: {name} was not written"
            self.outputs[task, name] = made["artifacts"][name]["artifacts"][0]
        return made

    def stored(self, task: str, output: str) -> dict[str, Any]:
        """Return an artifact as it comes back from the metadata store."""
        made = self.outputs[task, output]
        return {
            "name": "29",
            "type": {"instanceSchema": ""},
            "uri": made["uri"],
            "metadata": {**made["metadata"], "display_name": output, "store_session_info": '{"Provider":"minio"}'},
        }


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each step of a small run gave."""
    from kfp.dsl.types import artifact_types

    folder = tmp_path_factory.mktemp("backend")
    config = tiny_config(folder)
    given = pipeline_arguments(config)
    code = {"code_version": given["system_code_version"]}
    root = {"storage_root": given["system_storage_root"]}
    common = {"runtime": "", "seed": 0, **code}
    mark = {"config_fingerprint": given["system_config"], "name": "tiny"}
    settings = load_settings(images=IMAGES, webhook="http://127.0.0.1:9")
    compile_training_pipeline(CANDIDATES, folder / "graph.yaml", settings, shards=2)
    made: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifact_types, "_MINIO_LOCAL_MOUNT_PREFIX", f"{folder}/")
        backend = Backend(read_graph(folder / "graph.yaml"), folder)
        reading = {"data": given["data"], "seed": 0.0, "skip_unchanged": True, **root, **mark, **code}
        made["ingest"] = backend.run("ingest", **reading)
        snapshot = {"data": given["data"], "snapshot": made["ingest"]["parameterValues"]["snapshot"]}
        parts = [
            backend.run("preprocess-shard", index=index, count=2.0, **snapshot, **root, **common)["parameterValues"]
            for index in (0.0, 1.0)
        ]
        uris = [part["Output"] for part in parts]
        made["preprocess"] = backend.run("merge-shards", shards=uris, **root, **code)
        dataset = {"dataset": ("merge-shards", "dataset")}
        made["augment"] = backend.run("augment", config=given["augment"], **dataset, **root, **common)
        made["baseline"] = backend.run("baseline", config=given["baseline"], policy="", **dataset, **root, **common)
        models = {"baseline": ("baseline", "model"), "finetune": ("baseline", "model")}
        judging = {"config": given["evaluate"], "name": "tiny", **root}
        made["evaluate"] = backend.run("evaluate", **judging, **models, **dataset, **common)
        judged = {"evaluation": ("evaluate", "evaluation")}
        made["promote"] = backend.run(
            "promote", config="", runtime="", seed=0, run_id="a-run", **mark, **root, **dataset, **judged
        )
        made["ingest again"] = backend.run("ingest", **reading)
        # As a real server wrote it.
        told = {
            "state": "COMPLETE",
            "pipelineTaskName": "exit-handler-1",
            "pipelineJobResourceName": "assay-training-kctzd",
        }
        told |= {"error": {}}
        made["notify"] = backend.run("notify", name="tiny", run_id="run-1", public_url="", webhook="", status=told)
    return made


def test_artifacts_without_a_schema_title_are_what_the_component_declares(ran: dict[str, Any]) -> None:
    assert ran["evaluate"]["artifacts"]["scores"]["artifacts"][0]["metadata"]["test_auc"] > 0


def test_a_candidate_that_was_not_trained_is_no_input_of_evaluate(ran: dict[str, Any]) -> None:
    scores = ran["evaluate"]["artifacts"]["scores"]["artifacts"][0]["metadata"]
    assert {"test_auc_baseline", "test_auc_finetune"} <= set(scores)
    assert "test_auc_search" not in scores


def test_scores_are_of_the_test_split_and_not_of_what_the_step_cost(ran: dict[str, Any]) -> None:
    scores = ran["evaluate"]["artifacts"]["scores"]["artifacts"][0]["metadata"]
    assert {"test_auc", "test_auc_low", "test_auc_high"} <= set(scores)
    assert not {"step_seconds", "cpu_seconds", "peak_memory_mb"} & set(scores)
    cost = ran["evaluate"]["artifacts"]["evaluation"]["artifacts"][0]["metadata"]
    assert {"step_seconds", "cpu_seconds", "peak_memory_mb"} <= set(cost)


def test_a_step_writes_into_its_artifact_what_it_read_and_by_which_code(ran: dict[str, Any]) -> None:
    model = ran["baseline"]["artifacts"]["model"]["artifacts"][0]["metadata"]
    assert {"baseline", "code_version", "image", "val_auc", "step_seconds"} <= set(model)


def test_what_a_finished_run_began_from_is_not_trained_again(ran: dict[str, Any]) -> None:
    assert ran["ingest"]["parameterValues"]["snapshot"]
    assert ran["ingest again"]["parameterValues"]["snapshot"] == ""
