"""Steps that are told to run again: they and what follows them, and what they give is reused from then on."""

import os
import time
from pathlib import Path

import pytest
from kfp import dsl, local

from assay.config import CANDIDATES, parse_config
from assay.errors import InputError
from pipelines.graphs.order import STEPS
from pipelines.graphs.training import build_training_pipeline
from pipelines.local.kept import ALWAYS, PARTS, SEALS, check_forced, find_steps, in_use, reusing, undisturbed


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def first(log: str, given: dsl.Output[dsl.Artifact]):
    from pathlib import Path

    with Path(log).open("a") as file:
        file.write("first ")
    Path(given.path).write_text("x")


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def second(log: str, taken: dsl.Input[dsl.Artifact], given: dsl.Output[dsl.Artifact]):
    from pathlib import Path

    with Path(log).open("a") as file:
        file.write("second ")
    Path(given.path).write_text("y")


@dsl.pipeline(name="two")
def two(log: str) -> None:
    second(log=log, taken=first(log=log).outputs["given"])


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def told(log: str, part: int) -> str:
    from pathlib import Path

    with Path(log).open("a") as file:
        file.write(f"{part} ")
    return f"store/{part}"


@dsl.pipeline(name="loops")
def loops(log: str) -> None:
    with dsl.ParallelFor([1, 2], parallelism=1, name="one") as part:
        told(log=log, part=part)
    with dsl.ParallelFor([3], parallelism=1, name="other") as part:
        told(log=log, part=part)


def run_below(folder: Path) -> None:
    """Have Kubeflow run graphs in subprocesses here, with outputs and cache below a folder."""
    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(folder / "steps"),
        enable_caching=True,
        cache_root=str(folder / "cache"),
    )


def test_parts_of_a_loop_that_give_an_address_are_reused_one_by_one_and_forced_wherever_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, log, folder = tmp_path / "cache", tmp_path / "log", tmp_path / "folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    run_below(tmp_path)
    ran = []
    for forced in ((), (), ("told",)):
        log.write_text("")
        (folder / "changed").write_text(str(forced))
        with reusing(cache, forced):
            loops(log=str(log))
        ran.append(sorted(log.read_text().split()))
        if not forced:
            (folder / "changed").write_text("what lies in the folder that one works in is no output")
    assert ran == [["1", "2", "3"], [], ["1", "2", "3"]]


def test_a_forced_step_runs_again_with_what_follows_it_and_is_reused_then(tmp_path: Path) -> None:
    cache, log = tmp_path / "cache", tmp_path / "log"
    run_below(tmp_path)
    ran = []
    for forced in ((), (), ("second",), ("first",), ()):
        log.write_text("")
        with reusing(cache, forced):
            two(log=str(log))
        ran.append(log.read_text().split())
    assert ran == [["first", "second"], [], ["second"], ["first", "second"], []]


@pytest.mark.parametrize(
    ("harm", "ran"),
    [
        (lambda file: file.write_text("z"), ["first", "second"]),
        (lambda file: file.write_text("xx"), ["first", "second"]),
        (lambda file: None, []),
    ],
)
def test_a_step_whose_output_is_damaged_is_made_again_and_it_is_said(
    tmp_path: Path, harm, ran: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    cache, log = tmp_path / "cache", tmp_path / "log"
    run_below(tmp_path)
    for harmed in (False, True):
        log.write_text("")
        with reusing(cache):
            two(log=str(log))
        if not harmed:
            (file,) = (path for path in (tmp_path / "steps").rglob("given") if path.read_text() == "x")
            harm(file)
    assert log.read_text().split() == ran
    assert ("is damaged" in capfd.readouterr().out) == bool(ran)


@pytest.mark.parametrize("harm", ["value", "text"])
def test_an_entry_of_the_cache_that_is_damaged_is_not_taken(
    tmp_path: Path, harm: str, capfd: pytest.CaptureFixture[str]
) -> None:
    cache, log = tmp_path / "cache", tmp_path / "log"
    run_below(tmp_path)
    with reusing(cache):
        two(log=str(log))
    for entry in cache.glob("*.json"):
        if not entry.name.endswith(SEALS):
            text = entry.read_text()
            # Still JSON, and of another artifact; or none.
            entry.write_text(
                text.replace("Dataset", "Datasex").replace("Artifact", "Artifacx") if harm == "value" else "x"
            )
    log.write_text("")
    with reusing(cache):
        two(log=str(log))
    assert log.read_text().split() == ["first", "second"]
    assert "is damaged" in capfd.readouterr().out


def test_the_names_of_the_steps_are_those_of_the_graphs_components() -> None:
    parts = [part for step in STEPS if step not in ALWAYS for part in PARTS.get(step, (step,))]
    found: set[str] = set()
    for options in ({"shards": 1}, {"shards": 2}, {"folds": 2}):
        spec = build_training_pipeline(CANDIDATES, **options).pipeline_spec
        found |= set(spec.components)
    assert {f"comp-{part}" for part in parts} <= found


@pytest.mark.parametrize(
    ("step", "said"),
    [("finetun", "Did you mean 'finetune'"), ("search", "no step of this run"), ("promote", "runs in any case")],
)
def test_what_cannot_be_forced_is_told_in_one_line(step: str, said: str) -> None:
    config = parse_config({"version": 1, "search": {"enabled": False}})
    with pytest.raises(InputError, match=said):
        check_forced(config, [step])


def test_a_step_that_is_named_twice_is_forced_once() -> None:
    assert check_forced(parse_config({"version": 1}), ["search", "augment", "search"]) == ("search", "augment")


def age(path: Path, days: float) -> None:
    os.utime(path, (time.time() - days * 86_400,) * 2)


def test_outputs_that_no_used_entry_of_the_cache_names_can_go(tmp_path: Path) -> None:
    cache, log = tmp_path / "cache", tmp_path / "log"
    run_below(tmp_path)

    def run(*forced: str) -> list[str]:
        log.write_text("")
        with reusing(cache, forced):
            two(log=str(log))
        return log.read_text().split()

    assert run() == ["first", "second"]
    for path in tmp_path.rglob("*"):
        age(path, 50)
    assert run("second") == ["second"]
    assert find_steps(tmp_path, 60) == []
    # The first step's outputs were used just now; the second's have been made anew.
    (one,) = find_steps(tmp_path, 30)
    assert one.kind == "outputs of a step"
    assert Path(one.place).name == "second"
    one.remove()
    assert run() == []
    for path in tmp_path.rglob("*"):
        age(path, 50)
    found = find_steps(tmp_path, 30)
    assert {found.kind for found in found} == {"outputs of a step", "entry of the cache"}
    for leftover in found:
        leftover.remove()
    assert run() == ["first", "second"]


def test_a_folder_with_a_run_in_flight_is_not_undisturbed(tmp_path: Path) -> None:
    with undisturbed(tmp_path) as alone:
        assert alone
    with in_use(tmp_path), in_use(tmp_path):
        with undisturbed(tmp_path) as alone:
            assert not alone
    with undisturbed(tmp_path) as alone:
        assert alone
    with undisturbed(tmp_path / "absent") as alone:
        assert alone
