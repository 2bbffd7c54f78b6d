"""The commands about schedules: what they say, and what they refuse before the cluster is asked."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipelines.settings import Settings
from tests.pipelines.conftest import assay

pytestmark = pytest.mark.usefixtures("compiled_once")

ROOT = Path(__file__).parents[3]
CONFIG = "pipelines/configs/demo.yaml"
# Far from now whenever the tests run.
CRON = "0 0 3 29 2 *"


@pytest.fixture(autouse=True)
def environment(cluster_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that lead a command to the server on loopback alone."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    monkeypatch.setenv("ASSAY_STORAGE_ROOT", "gs://bucket/assay")
    monkeypatch.setenv("ASSAY_IMAGES__CPU", cluster_settings.images.cpu)
    monkeypatch.setenv("ASSAY_IMAGES__GPU", cluster_settings.images.gpu)


def test_a_schedule_is_set_listed_replaced_and_deleted(
    kubeflow: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ("--data", "gs://bucket/images", "--set", "finetune.epochs=3")
    assert assay(monkeypatch, "schedule", "list") == 0
    assert capsys.readouterr().err == "no schedules\n"

    assert assay(monkeypatch, "schedule", "set", CONFIG, "--cron", CRON, *data) == 0
    (first,) = kubeflow.state.schedules
    assert "gs://bucket/images" in kubeflow.state.schedules[first]["runtime_config"]["parameters"]["data"]
    said = capsys.readouterr().out
    assert f'demo: schedule "{CRON}" created ({first})' in said
    assert "trains if data, config or code changed" in said
    assert "-02-29 03:00:00 UTC" in said

    assert assay(monkeypatch, "schedule", "set", CONFIG, "--cron", CRON, *data) == 0
    assert "is as wanted" in capsys.readouterr().out
    assert list(kubeflow.state.schedules) == [first]

    run = kubeflow.fire(first)["run_id"]
    assert assay(monkeypatch, "schedule", "set", CONFIG, "--cron", "@yearly", "--force", *data) == 0
    said = capsys.readouterr().out
    second = list(kubeflow.state.schedules)[1]
    assert "always trains" in said
    assert f"schedule {first} is switched off and stays until {run} has ended" in said

    assert assay(monkeypatch, "schedule", "list") == 0
    old, new = capsys.readouterr().out.splitlines()
    assert (old.split()[0], old.split()[-1]) == ("demo", first)
    assert "disabled" in old
    assert " running " in old
    assert (new.split()[0], new.split()[-1]) == ("demo", second)
    assert '"0 0 0 1 1 *"' in new
    assert "-01-01 00:00" in new
    assert "no run yet" in new

    assert assay(monkeypatch, "schedule", "delete", "demo", "--now") == 0
    assert not kubeflow.state.schedules
    assert f"{first} is deleted" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--cron", "0 3 * * *"), 'Say "0 0 3 * * *"'),
        (("--cron", CRON, "--data", "./images"), "Received: ./images"),
        (("--cron", CRON, "--set", "finetune.epoch=3"), "epoch"),
    ],
)
def test_wrong_input_is_one_line_before_the_cluster_is_asked(
    kubeflow: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    words: str,
) -> None:
    assert assay(monkeypatch, "schedule", "set", CONFIG, *arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert words in line
    assert kubeflow.state.requests == []


def test_deleting_an_unknown_name_is_wrong_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert assay(monkeypatch, "schedule", "delete", "absent") == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "Received: absent" in line


@pytest.mark.parametrize(
    ("variables", "command"),
    [
        ((), "assay schedule list"),
        (
            ("CRON=0 0 3 * * *", "CONFIG=my.yaml", "DATA=gs://b/i", "SET=seed=1 data.shards=4", "FORCE=1"),
            'assay schedule set "my.yaml" --cron "0 0 3 * * *" --data "gs://b/i" '
            '--set "seed=1" --set "data.shards=4" --force',
        ),
    ],
)
def test_make_schedule_gives_the_command_what_it_was_given(variables: tuple[str, ...], command: str) -> None:
    # As if installed: what would be run is all that is asked for.
    asked = ["make", "--dry-run", "--old-file=.venv/.run", "schedule", *variables]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(asked, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert " ".join(done.stdout.splitlines()[-1].partition(" || ")[0].split()) == f".venv/bin/{command}"
