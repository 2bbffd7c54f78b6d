"""``assay compile``: the graphs as files."""

from __future__ import annotations

import re
from pathlib import Path

from typer.testing import CliRunner

from pipelines.cli.main import app
from tests.pipelines.conftest import read_graph

ROOT = Path(__file__).parents[3]


def test_compile_writes_the_graph(tmp_path: Path) -> None:
    config, output = ROOT / "pipelines/configs/demo.yaml", tmp_path / "graph.yaml"
    done = CliRunner().invoke(app, ["compile", str(config), "--output", str(output)])
    assert done.exit_code == 0, done.output
    graphs = [read_graph(tmp_path / name) for name in ("graph.yaml", "sweep.yaml")]
    assert [graph.parsed()[0].pipeline_info.name for graph in graphs] == ["assay-training", "assay-sweep"]
    # As the cluster runs them: on its pools, in the images of this commit.
    for graph, task in zip(graphs, ("finetune", "sweep-row"), strict=True):
        assert graph.pod(task)["nodeSelector"]["labels"] == {"assay.dev/pool": "gpu"}
        assert re.search(r"assay-gpu:[0-9a-f]{12}$", graph.container(task)["image"])
