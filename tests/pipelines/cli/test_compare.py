"""`assay compare` and `make compare`: where they look, what they leave, and their exit codes."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from assay.registry.records import RunRecord, write_record
from assay.storage.open import open_store
from pipelines.cluster.client import Cluster
from pipelines.settings import Settings
from tests.pipelines.compare.test_runs import start
from tests.pipelines.conftest import assay

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def place(cluster_settings: Settings, tmp_path: Path, recorded: RunRecord, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a run of its own, and a server to be asked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    monkeypatch.setenv("COLUMNS", "120")
    write_record(open_store(tmp_path / "runs" / "store"), recorded)
    return tmp_path


def test_without_a_cluster_the_runs_of_this_machine_are_compared(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KFP_HOST")
    assert assay(monkeypatch, "compare") == 0
    said = capsys.readouterr().out
    assert "run-1" in said
    assert "wrote runs/compare/compare.html" in said
    assert {file.name for file in (place / "runs" / "compare").iterdir()} == {
        "compare.csv",
        "compare.md",
        "compare.html",
    }


def test_with_a_cluster_its_runs_are_compared_unless_a_storage_is_named(
    kubeflow: Any, cluster: Cluster, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = start(kubeflow, cluster, str(place / "store"), "FAILED")
    assert assay(monkeypatch, "compare", "--output", "there") == 0
    said = capsys.readouterr().out
    assert run_id[:8] in said
    assert "run-1" not in said
    assert (place / "there" / "compare.csv").is_file()
    assert assay(monkeypatch, "compare", "--storage", "runs/store") == 0
    assert "run-1" in capsys.readouterr().out


def test_wrong_input_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert assay(monkeypatch, "compare", "--storage", "runs/store", "run-9") == 2
    assert "Did you mean 'run-1'" in capsys.readouterr().err
    assert assay(monkeypatch, "compare", "--storage", "runs/store", "--experiment", "assay") == 2
    assert "experiments are on a cluster" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ((), "compare"),
        (("RUNS=a b",), "compare a b"),
        (("EXPERIMENT=mine", "LIMIT=5"), "compare --experiment mine --limit 5"),
        (("STORAGE=gs://bucket/assay",), "compare --storage gs://bucket/assay"),
    ],
)
def test_make_compare_takes_runs_for_ids_only_where_they_are_given(given: tuple[str, ...], asked: str) -> None:
    command = ["make", "--dry-run", "--silent", "--assume-old=.venv/.run", "compare", *given]
    said = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=True).stdout
    (line,) = [line for line in said.splitlines() if "assay compare" in line]
    assert " ".join(line.partition(" || ")[0].replace('"', "").split()) == f".venv/bin/assay {asked}"
