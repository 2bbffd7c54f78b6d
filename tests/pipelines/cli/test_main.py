"""The command line: what it says, and its exit codes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipelines.conftest import read_graph

ROOT = Path(__file__).parents[3]


def assay(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *arguments], cwd=cwd, text=True, capture_output=True, timeout=120
    )


def test_help_imports_nothing_heavy() -> None:
    heavy = ("tensorflow", "keras", "kfp", "cv2", "pandas", "numpy")
    code = f"import sys, pipelines.cli.main; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_names_every_command() -> None:
    said = assay("--help").stdout
    for command in ("run", "compile", "submit", "runs", "config", "data", "predict", "registry"):
        assert command in said


def test_config_show_prints_the_resolved_config() -> None:
    done = assay("config", "show", "pipelines/configs/demo.yaml", "--set", "finetune.epochs=7")
    assert done.returncode == 0
    assert "epochs: 7" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("config", "show", "absent.yaml"),
        ("run", "absent.yaml"),
        ("run", "pipelines/configs/demo.yaml", "--set", "finetune.epoch=3"),
        ("config", "explain", "finetun"),
        ("models", "show", "cnn33"),
        ("models", "show", "cnn3", "--shape", "96 x"),
        ("predict", "x.png", "--format", "xml"),
        ("nonsense",),
    ],
)
def test_wrong_input_ends_with_2_and_no_trace(arguments: tuple[str, ...]) -> None:
    done = assay(*arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr


def test_errors_are_one_line() -> None:
    done = assay("run", "pipelines/configs/demo.yaml", "--set", "finetune.epoch=3")
    (line,) = done.stderr.strip().splitlines()
    assert "finetune.epoch" in line
    assert "'epochs'" in line


def test_compile_writes_the_graph(tmp_path: Path) -> None:
    done = assay("compile", "pipelines/configs/demo.yaml", "--output", str(tmp_path / "graph.yaml"))
    assert done.returncode == 0, done.stderr
    graphs = [read_graph(tmp_path / name) for name in ("graph.yaml", "sweep.yaml")]
    assert [graph.parsed()[0].pipeline_info.name for graph in graphs] == ["assay-training", "assay-sweep"]
    # As the cluster runs them: on its pools, in the images of this commit.
    for graph, task in zip(graphs, ("finetune", "sweep-row"), strict=True):
        assert graph.pod(task)["nodeSelector"]["labels"] == {"assay.dev/pool": "gpu"}
        assert re.search(r"assay-gpu:[0-9a-f]{12}$", graph.container(task)["image"])
