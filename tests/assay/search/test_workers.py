"""Workers: killed ones come back to their trial, hopeless ones are given up, none outlives the chief."""

from __future__ import annotations

import csv
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from assay.config import Policy, RuntimeConfig, SearchConfig
from assay.data.dataset import Dataset
from assay.errors import AssayError
from assay.search.group import Poll
from assay.search.oracles import FAILED, RandomOracle
from assay.search.search import run_search
from assay.search.spec import SearchSpec
from assay.search.tuner import make_oracle, objective_of
from assay.search.workers import LOOPBACK, LocalWorkers, serve
from assay.training.checkpoint import release_checkpoints


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    """Return the search workers among a process's children."""
    found = []
    for child in process.children():
        try:
            if "assay.search.workers" in child.cmdline() and child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def wait_for(condition: Callable[[], object], alive: Callable[[], bool]) -> None:
    while not condition():
        assert alive(), "it ended before what was waited for"
        time.sleep(0.02)


def test_a_search_survives_the_death_of_its_chief_and_of_a_worker(
    small_search: SearchConfig,
    exact: RuntimeConfig,
    dataset: Dataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    search = SearchConfig.model_validate({**small_search.model_dump(), "trials": 3, "epochs": 5, "workers": 2})
    code = f"""
from pathlib import Path
from assay.augmentation.policy import Policy
from assay.config import RuntimeConfig, SearchConfig
from assay.search.search import run_search
search = SearchConfig.model_validate_json({search.model_dump_json()!r})
runtime = RuntimeConfig.model_validate_json({exact.model_dump_json()!r})
folder = Path({str(tmp_path)!r})
run_search(search, runtime, Path({str(dataset.root)!r}), Policy(), folder / "out", 3, str(folder / "store"))
"""
    chief = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    wait_for(lambda: list(tmp_path.glob("store/checkpoints/*/trial-*.npz")), lambda: chief.poll() is None)
    orphans = workers_of(psutil.Process(chief.pid))
    chief.kill()
    chief.wait()
    assert len(orphans) == 2
    _, left = psutil.wait_procs(orphans, timeout=20)
    assert not left, "workers end with their chief"

    (location,) = tmp_path.glob("store/checkpoints/*")
    begun = {path.name for path in location.glob("trial-*.npz")}
    killed = threading.Thread(target=_kill_one_worker, args=[location, begun])
    killed.start()
    result = run_search(search, exact, dataset.root, Policy(), tmp_path / "out", 3, str(tmp_path / "store"))
    killed.join()
    said = capsys.readouterr().out
    assert "died (killed by signal 9, out of memory?" in said and "started again" in said
    assert result.metrics["search_trials"] == 3
    assert result.metrics["search_failed_trials"] == 0
    assert result.metrics["search_epochs"] == 15, "no epoch is trained twice"
    assert not workers_of(psutil.Process())
    release_checkpoints(result.model_dir)
    assert not location.exists()

    # The same trials as one process alone runs: draws, seeds and order do not depend on who runs them.
    alone = search.model_copy(update={"workers": 1})
    again = run_search(alone, exact, dataset.root, Policy(), tmp_path / "alone", 3, str(tmp_path / "store"))
    assert again.metrics["val_auc"] == pytest.approx(result.metrics["val_auc"], abs=1e-4)
    assert _values(tmp_path / "alone") == _values(tmp_path / "out")


def _kill_one_worker(location: Path, begun: set[str]) -> None:
    """Kill a worker as soon as a trial has a checkpoint that it had not before."""
    me = psutil.Process()
    stop = time.monotonic() + 300
    while time.monotonic() < stop:
        new = {path.name for path in location.glob("trial-*.npz")} - begun
        workers = workers_of(me)
        if new and workers:
            workers[0].kill()
            return
        time.sleep(0.02)


def _values(folder: Path) -> dict[str, tuple[str, ...]]:
    fields = ("width", "depth", "pooling", "dense", "dropout", "optimizer", "learning_rate", "epochs")
    with (folder / "trials.csv").open(newline="", encoding="utf-8") as file:
        return {line["trial"]: tuple(line[name] for name in fields) for line in csv.DictReader(file)}


def test_workers_that_cannot_read_their_input_are_given_up_at_once(
    small_search: SearchConfig, exact: RuntimeConfig, dataset: Dataset, tmp_path: Path
) -> None:
    spec = SearchSpec(small_search, exact, Policy(), str(tmp_path / "absent"), str(tmp_path / "location"), seed=0)
    spec.write()
    lost: dict[str, str] = {}
    group = LocalWorkers(spec.uri, 1, restarts=5, folder=tmp_path)

    class Watched:
        ids = group.ids
        start, stop = group.start, group.stop

        def poll(self) -> Poll:
            poll = group.poll()
            lost.update(poll.lost)
            return poll

    oracle = _oracle(spec, dataset, tmp_path)
    serve(oracle, Watched(), LOOPBACK, lambda: None)
    assert list(lost) == ["worker0"]
    assert "exit code 2" in lost["worker0"] and "absent: no dataset here" in lost["worker0"]
    assert not oracle.trials


def test_a_worker_whose_machine_fails_ends_the_step_and_no_trial_is_lost(
    small_search: SearchConfig, exact: RuntimeConfig, dataset: Dataset, tmp_path: Path
) -> None:
    spec = SearchSpec(small_search, exact, Policy(), str(dataset.root), str(tmp_path / "location"), seed=0)
    spec.write()
    (tmp_path / "location" / "rows").write_text("where rows belong there is a file, so none can be written")
    group = LocalWorkers(spec.uri, 1, restarts=5, folder=tmp_path)
    oracle = _oracle(spec, dataset, tmp_path)
    with pytest.raises(AssayError, match=r"search: worker0: .*rows.*Mend it and run the step again"):
        serve(oracle, group, LOOPBACK, lambda: None)
    assert not oracle.end_order, "no trial is recorded as failed"
    assert not workers_of(psutil.Process())


def test_the_trial_of_a_worker_given_up_is_recorded(
    small_search: SearchConfig, exact: RuntimeConfig, dataset: Dataset, tmp_path: Path
) -> None:
    spec = SearchSpec(small_search, exact, Policy(), str(dataset.root), str(tmp_path / "location"), seed=0)
    oracle = _oracle(spec, dataset, tmp_path)
    trial = oracle.create_trial("worker1")

    class Hopeless:
        ids = ("worker0", "worker1")

        def start(self, host: str, port: int) -> None:
            assert (host, port > 0) == (LOOPBACK, True)

        def poll(self) -> Poll:
            return Poll(finished=True, lost={"worker1": "killed by signal 9"})

        def stop(self) -> None:
            oracle.ended_because = "stopped"

    updates: list[int] = []
    serve(oracle, Hopeless(), LOOPBACK, lambda: updates.append(len(oracle.end_order)))
    assert updates[-1] == 1
    assert (oracle.trials[trial.trial_id].status, oracle.ended_because) == (FAILED, "stopped")


def test_the_chief_does_not_wait_beyond_its_deadline(
    small_search: SearchConfig, exact: RuntimeConfig, dataset: Dataset, tmp_path: Path
) -> None:
    past = SearchSpec(small_search, exact, Policy(), str(dataset.root), str(tmp_path / "location"), seed=0)
    oracle = _oracle(replace(past, deadline=time.time() - 10_000), dataset, tmp_path)

    class Hung:
        ids = ("worker0",)
        stopped = False

        def start(self, host: str, port: int) -> None: ...

        def poll(self) -> Poll:
            return Poll(finished=False)

        def stop(self) -> None:
            self.stopped = True

    hung = Hung()
    serve(oracle, hung, LOOPBACK, lambda: None)
    assert hung.stopped


def _oracle(spec: SearchSpec, dataset: Dataset, folder: Path) -> RandomOracle:
    from assay.search.space import resolve_space

    space = resolve_space(spec.search, dataset.input_shape, len(dataset.train))
    oracle = make_oracle(spec, dataset, space)
    assert isinstance(oracle, RandomOracle) and oracle.objective == objective_of(spec.search)
    oracle._set_project_dir(str(folder), "search")
    return oracle
