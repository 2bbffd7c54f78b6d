"""The whole pipeline with each step in a container, beside the same run in subprocesses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from assay.config import load_config
from tests.containers.conftest import ROOT, Docker

pytestmark = pytest.mark.containers

TINY = ROOT / "manifests/kind/tiny.yaml"
STEPS = {"ingest", "preprocess", "augment", "baseline", "search", "finetune", "evaluate", "promote"}
# What depends on the machine and its load; every other metric is a result.
MEASURED = ("_seconds", "_memory_mb", "images_per_second", "cost")
# Nobody's, neither root nor the image's own: a cluster may run a pod as any user.
USER = os.getuid() or 12345

Assay = Callable[..., "subprocess.CompletedProcess[str]"]


def own_folder(folder: Path) -> Path:
    """Make a folder that belongs to `USER`, which is this user unless that is root."""
    folder.mkdir()
    os.chown(folder, USER, USER if os.getuid() == 0 else -1)
    return folder


@pytest.fixture(scope="module")
def assay(tmp_path_factory: pytest.TempPathFactory) -> Assay:
    """Run the tiny demo, with VGG16's real weights, into a folder: ``assay(folder, "--image", image, status=0)``."""
    cache = tmp_path_factory.mktemp("cache")

    def call(runs: Path, *options: object, status: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pipelines.cli", "run", TINY, "--runs", runs, "--weights", "imagenet"]
        settings = (
            f"storage.root={runs / 'store'}",
            "finetune.unfreeze_from=block5_conv1",
            "runtime.deterministic=true",
        )
        command += [word for setting in settings for word in ("--set", setting)]
        environment = {**os.environ, "COLUMNS": "160", "ASSAY_CACHE": str(cache)}
        done = subprocess.run(
            [*map(str, command), *map(str, options)], cwd=ROOT, env=environment, text=True, capture_output=True
        )
        log = "\n".join(path.read_text()[-6000:] for path in runs.rglob("run.log"))
        assert done.returncode == status, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}\n{log}"
        return done

    return call


@pytest.fixture(scope="module")
def in_containers(tmp_path_factory: pytest.TempPathFactory, assay: Assay, image: str) -> Path:
    """The folder of a run in containers."""
    runs = own_folder(tmp_path_factory.mktemp("containers") / "runs")
    print(assay(runs, "--image", image).stdout)
    return runs


@pytest.fixture(scope="module")
def in_subprocesses(tmp_path_factory: pytest.TempPathFactory, assay: Assay) -> Path:
    """The folder of the same run in subprocesses."""
    runs = tmp_path_factory.mktemp("subprocesses") / "runs"
    assay(runs)
    return runs


def test_every_step_gives_the_same_results(in_containers: Path, in_subprocesses: Path) -> None:
    """Packages of the same versions, on the same processor, with deterministic operations.

    Training is the same to the last bit. What NumPy's linear algebra adds up (intervals, calibration) is not: how it
    shares a sum depends on the threads that it is given.
    """

    def results(runs: Path) -> dict[str, dict[str, float]]:
        (events,) = runs.glob("*/events.jsonl")
        told = [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()]
        recorded = {event["step"]: event["metrics"] for event in told if event["event"] == "finished"}
        return {
            step: {name: value for name, value in metrics.items() if not name.endswith(MEASURED)}
            for step, metrics in recorded.items()
        }

    found, wanted = results(in_containers), results(in_subprocesses)
    assert set(found) == set(wanted) == STEPS
    assert "test_auc" in found["evaluate"]
    for step in ("baseline", "finetune"):
        assert found[step] == wanted[step]
    for step in STEPS:
        assert found[step] == pytest.approx(wanted[step], rel=1e-9, abs=1e-12, nan_ok=True), step


def test_the_fingerprints_are_the_same(in_containers: Path, in_subprocesses: Path) -> None:
    def fingerprints(runs: Path) -> tuple[str, str]:
        (dataset,) = (json.loads(path.read_text()) for path in runs.glob("steps/*/preprocess/**/dataset.json"))
        return dataset["snapshot"]["fingerprint"], dataset["fingerprint"]

    assert fingerprints(in_containers) == fingerprints(in_subprocesses)


def test_the_models_answer_alike(in_containers: Path, in_subprocesses: Path) -> None:
    for candidate in ("baseline", "search", "finetune"):
        ours, theirs = (
            np.load(next(runs.glob(f"steps/*/{candidate}/model/validation.npz")), allow_pickle=False)
            for runs in (in_containers, in_subprocesses)
        )
        assert set(ours) == set(theirs)
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=f"{candidate}: {name}")


def test_the_champion_is_in_storage(in_containers: Path, in_subprocesses: Path, image: str) -> None:
    def champion(runs: Path) -> tuple[str, str, str]:
        models = runs / "store/models/kind"
        pointer = json.loads((models / "champion.json").read_text())
        model = json.loads((models / "versions" / pointer["version"] / "model/model.json").read_text())
        return pointer["version"], model["name"], model["code_version"]

    assert champion(in_containers) == champion(in_subprocesses)
    (promoted,) = in_containers.glob("steps/*/promote/executor_output.json")
    assert image in promoted.read_text()


def test_what_steps_write_belongs_to_their_user(in_containers: Path) -> None:
    written = [*in_containers.glob("steps/*/*/**/*"), *in_containers.glob("store/**/*")]
    assert len(written) > 50
    assert {path.stat().st_uid for path in written} == {USER}


def test_no_container_is_left(in_containers: Path, docker: Docker) -> None:
    assert docker("ps", "--all", "--quiet", "--filter", "label=assay.dev/run") == ""


def test_a_second_run_reuses_what_the_image_has_computed(in_containers: Path, assay: Assay, image: str) -> None:
    said = assay(in_containers, "--image", image).stdout
    (reused,) = (line for line in said.splitlines() if line.startswith("Reused:"))
    for step in STEPS - {"ingest", "promote"}:
        assert step in reused


def test_a_step_sees_its_source_and_its_error_ends_the_run(tmp_path: Path, assay: Assay, image: str) -> None:
    runs, source = own_folder(tmp_path / "runs"), tmp_path / "images"
    for label in ("first", "second"):
        (source / label).mkdir(parents=True, exist_ok=True)
        (source / label / "empty.png").write_bytes(b"")
    done = assay(runs, "--image", image, "--data", source, status=2)
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ingest: ")
    assert "none of 2 files can be used" in line


def test_a_step_has_no_rights_beyond_its_outputs(tmp_path: Path, image: str) -> None:
    from kfp import dsl, local

    from pipelines.local.containers import Containers
    from tests.containers.probe import probe

    runs = own_folder(tmp_path / "runs")
    run_dir = runs / "run"
    run_dir.mkdir()
    (run_dir / "events.jsonl").touch()
    config = load_config(TINY, [f"storage.root={runs / 'store'}"])
    with Containers.of(image, config, runs).runner(config, run_dir, runs / "cache", {}) as runner:
        local.init(runner=runner, pipeline_root=str(runs / "steps"))
        step = dsl.component(probe, base_image=image, install_kfp_package=False)
        seen = json.loads(step().output)
    assert seen == {
        "uid": USER,
        "root": "read-only",
        "code": "PermissionError",
        "scratch": "",
        "network": "OSError",
        "capabilities": 0,
        "new privileges": False,
    }
