"""Compiled graphs, read back as a cluster would read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.settings import load_settings
from pipelines.training import compile_training_pipeline

CANDIDATES = ("baseline", "search", "finetune")
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


def read_graph(path: Path) -> Graph:
    """Read a compiled pipeline."""
    documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    return Graph(documents[0], documents[1] if len(documents) > 1 else {})


@pytest.fixture(scope="session")
def compile_graph(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Graph]:
    """Compile for a cluster with the given settings and number of shards."""

    def compile_with(shards: int = 1, **settings: Any) -> Graph:
        path = tmp_path_factory.mktemp("graph") / "training.yaml"
        compile_training_pipeline(CANDIDATES, path, load_settings(**{"images": IMAGES, **settings}), shards)
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
