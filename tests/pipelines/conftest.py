"""Compiled graphs, read back as a cluster would read them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from assay.config import CANDIDATES, RunConfig, parse_config
from pipelines.cli.main import main
from pipelines.cluster.client import Cluster, connect
from pipelines.graphs.training import compile_training_pipeline
from pipelines.settings import Settings, load_settings
from tests.kubernetes_server import write_kubeconfig

TAG = "0123456789ab"
IMAGES = {"cpu": f"registry.example/assay:{TAG}", "gpu": f"registry.example/assay-gpu:{TAG}"}


@dataclass(frozen=True)
class Graph:
    """The IR of a compiled pipeline and its Kubernetes part."""

    spec: dict[str, Any]
    platform: dict[str, Any]

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """Every task of every (sub)graph by name."""
        found = dict(self.spec["root"]["dag"]["tasks"])
        for component in self.spec["components"].values():
            found.update(component.get("dag", {}).get("tasks", {}))
        return found

    def container(self, task: str) -> dict[str, Any]:
        """The container of a task's executor."""
        label = self.spec["components"][self.tasks[task]["componentRef"]["name"]]["executorLabel"]
        return self.spec["deploymentSpec"]["executors"][label]["container"]

    def pod(self, task: str) -> dict[str, Any]:
        """The Kubernetes settings of a task's pod."""
        label = self.spec["components"][self.tasks[task]["componentRef"]["name"]]["executorLabel"]
        return self.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"][label]

    def parsed(self) -> tuple[Any, dict[str, Any]]:
        """The spec and each executor's pod settings, read strictly into the backend's protocol buffers.

        Raises:
            ParseError: A field that the backend does not know, or a value of another type.
        """
        from google.protobuf.json_format import MessageToDict, ParseDict
        from kfp.kubernetes import kubernetes_executor_config_pb2
        from kfp.pipeline_spec import pipeline_spec_pb2

        platform = ParseDict(self.platform, pipeline_spec_pb2.PlatformSpec())
        pods = platform.platforms["kubernetes"].deployment_spec.executors if self.platform else {}
        config = kubernetes_executor_config_pb2.KubernetesExecutorConfig
        return (
            ParseDict(self.spec, pipeline_spec_pb2.PipelineSpec()),
            {name: ParseDict(MessageToDict(pod), config()) for name, pod in pods.items()},
        )


def undeclared_inputs(spec: dict[str, Any]) -> list[tuple[str, str]]:
    """Return each (task, input) that a task takes from the graph around it and that this graph does not declare.

    Kubeflow's driver looks for it there when the task is to start, and fails.
    """
    wrong = []
    for component in (spec["root"], *spec["components"].values()):
        declared = component.get("inputDefinitions", {})
        for name, task in component.get("dag", {}).get("tasks", {}).items():
            for kind, key in (("parameters", "componentInputParameter"), ("artifacts", "componentInputArtifact")):
                taken = [value.get(key) for value in task.get("inputs", {}).get(kind, {}).values()]
                wrong += [(name, one) for one in taken if one is not None and one not in declared.get(kind, {})]
    return wrong


def read_graph(path: Path) -> Graph:
    """Read a compiled pipeline."""
    documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    return Graph(documents[0], documents[1] if len(documents) > 1 else {})


@pytest.fixture(scope="session")
def compile_graph(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Graph]:
    """Compile for a cluster with the given settings, shards and folds, and what else changes the graph."""

    def compile_with(
        shards: int = 1,
        *,
        folds: int = 0,
        skip_unchanged: bool = False,
        policy_chosen: bool = False,
        chief_waits: bool = False,
        **settings: Any,
    ) -> Graph:
        path = tmp_path_factory.mktemp("graph") / "training.yaml"
        made = load_settings(**{"images": IMAGES, **settings})
        how = {"skip_unchanged": skip_unchanged, "policy_chosen": policy_chosen, "chief_waits": chief_waits}
        compile_training_pipeline(CANDIDATES, path, made, shards, folds=folds, **how)
        return read_graph(path)

    return compile_with


@pytest.fixture(scope="session")
def local_graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """The graph as it runs on one machine."""
    path = tmp_path_factory.mktemp("graph") / "training.yaml"
    compile_training_pipeline(CANDIDATES, path)
    return read_graph(path)


@pytest.fixture(scope="session")
def cluster_graph(compile_graph: Callable[..., Graph]) -> Graph:
    """The graph for a cluster with default settings and immutable images."""
    return compile_graph()


def assay(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Return the exit code of a command, run in this process."""
    monkeypatch.setattr(sys, "argv", ["assay", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.fixture
def kubeflow() -> Iterator[Any]:
    """A server of Kubeflow Pipelines on loopback: `tests/pipelines/kfp_server.py`."""
    from tests.pipelines.kfp_server import KubeflowServer

    with KubeflowServer() as server:
        yield server


@pytest.fixture
def cluster_settings(kubeflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings that name that server alone: no kubeconfig, no context and no variable of whoever runs the tests."""
    for name in list(os.environ):
        if name.startswith(("ASSAY_", "KFP_", "KF_PIPELINES_")) and name != "ASSAY_SHARED":
            monkeypatch.delenv(name)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    # The client of Kubernetes reads that variable when it is imported.
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
    monkeypatch.setenv("KFP_HOST", kubeflow.url)
    return load_settings(
        images=IMAGES,
        storage_root="gs://bucket/assay",
        public_url="https://kubeflow.example/pipeline",
    )


@pytest.fixture
def cluster(cluster_settings: Settings) -> Cluster:
    """A connection to that server that does not wait between attempts."""
    connected = connect(cluster_settings)
    connected.pause_seconds = 0.0
    return connected


@pytest.fixture(scope="session")
def compiled() -> dict[str, bytes]:
    """Graphs by what they were compiled from: `compiled_once` fills it."""
    return {}


@pytest.fixture
def compiled_once(compiled: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile what has not been compiled yet, and copy the rest: it takes a second each time."""

    def compile_or_copy(
        candidates: tuple[str, ...],
        output: Path,
        settings: Settings | None = None,
        shards: int = 1,
        **how: Any,
    ) -> None:
        key = repr((candidates, settings, shards, sorted(how.items())))
        if key not in compiled:
            compile_training_pipeline(candidates, output, settings, shards, **how)
            compiled[key] = output.read_bytes()
        output.write_bytes(compiled[key])

    monkeypatch.setattr("pipelines.graphs.training.compile_training_pipeline", compile_or_copy)


@pytest.fixture
def tiny_config() -> RunConfig:
    """A config that a cluster could run."""
    return parse_config({"version": 1, "name": "tiny", "data": {"source": "demo://tissue?images=60"}}, "test")


@pytest.fixture
def kubeconfig(kubeflow: Any, tmp_path: Path) -> Path:
    """A kubeconfig whose cluster is that server, where `cluster_settings` lets it be looked for."""
    path = tmp_path / "kubeconfig"
    write_kubeconfig(path, kubeflow.url)
    return path
