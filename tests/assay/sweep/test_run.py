"""Sweeps on this machine: trained once, resumed, cut short, and not stopped by one row's failure."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.config import load_config
from assay.errors import AssayError, InputError
from assay.sweep.run import Worker, run_sweep
from assay.sweep.runs import Job, Record, Records

# Each step multiplies the weights by -19.
DIVERGES = {"optimizer": {"name": "sgd", "learning_rate": 10}, "model.options.l2": 1.0, "batch_size": 1}


@pytest.fixture(scope="module")
def worker():  # type: ignore[no-untyped-def]
    with Worker() as worker:
        yield worker


def test_rows_are_trained_once_and_a_changed_row_alone_again(tmp_path: Path, make_sweep: Any, worker: Worker) -> None:
    sweep = make_sweep(rows=[{}, {"batch_size": 16}], seeds=[0])
    first = run_sweep(sweep, tmp_path / "runs", worker)
    assert (first.ran, first.reused, first.failed, first.left) == (2, 0, 0, 0)
    names = {path.name for path in first.folder.iterdir()}
    assert names == {"table.md", "table.csv", "sweep.html", "best.yaml"}
    best = load_config(first.folder / "best.yaml")
    assert first.table.best is not None
    assert best.baseline == first.table.best.row.config.baseline

    more = run_sweep(make_sweep(rows=[{}, {"batch_size": 8}], seeds=[0, 1]), tmp_path / "runs", worker)
    assert (more.ran, more.reused) == (3, 1)
    assert more.table.lines[0].records[0].metrics == first.table.lines[0].records[0].metrics

    cut = run_sweep(make_sweep(rows=[{}, {"epochs": 2}]), tmp_path / "runs", worker, deadline=0.0)
    assert (cut.ran, cut.reused, cut.left) == (0, 2, 2)
    assert cut.table.lines[1].note == "not run yet"


def test_a_row_that_diverges_is_recorded_and_the_others_are_run(
    tmp_path: Path, make_sweep: Any, worker: Worker
) -> None:
    sweep = make_sweep(rows=[DIVERGES, {}], seeds=[0], common={"epochs": 2})
    outcome = run_sweep(sweep, tmp_path / "runs", worker)
    assert outcome.failed == 1
    assert outcome.table.lines[0].note.startswith("diverged")
    assert outcome.table.lines[1].best
    assert run_sweep(sweep, tmp_path / "runs", worker).ran == 0


def test_nothing_is_trained_where_one_network_does_not_fit(tmp_path: Path, make_sweep: Any, worker: Worker) -> None:
    sweep = make_sweep(rows=[{}, {"model": {"name": "cnn9"}}])
    with pytest.raises(InputError, match=r"row 2: .*cnn9"):
        run_sweep(sweep, tmp_path / "runs", worker)
    assert not (tmp_path / "store" / "sweeps").exists()


def test_a_killed_worker_costs_one_call_and_the_next_gets_a_new_one(worker: Worker) -> None:
    with pytest.raises(AssayError, match="killed"):
        worker.call(os.kill, worker.call(os.getpid), signal.SIGKILL)
    assert worker.call(os.getpid) != os.getpid()


def test_the_key_of_a_run_follows_what_its_outcome_depends_on_and_nothing_else() -> None:
    job = Job("finetune", {"epochs": 1, "weights": "/here"}, {}, 0)
    moved = Job("finetune", {"epochs": 1, "weights": "/there"}, {}, 0)
    assert job.key("data", "weights") == moved.key("data", "weights")
    others = [
        Job("finetune", {"epochs": 2}, {}, 0).key("data", "weights"),
        Job("finetune", {"epochs": 1}, {"horizontal_flip": True}, 0).key("data", "weights"),
        Job("finetune", {"epochs": 1}, {}, 1).key("data", "weights"),
        job.key("other data", "weights"),
        job.key("data", "other weights"),
    ]
    assert len({job.key("data", "weights"), *others}) == 6


def test_a_record_without_its_last_file_is_none(tmp_path: Path) -> None:
    records = Records(str(tmp_path))
    records.keep(Record("key", 0, "failed", note="diverged"), Job("baseline", {}, {}, 0))
    assert records.find("key") == Record("key", 0, "failed", note="diverged")
    (tmp_path / "key" / "record.json").unlink()
    assert records.find("key") is None


@pytest.mark.parametrize("file", ["record.json", "validation.npz"])
@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_damaged_record_is_run_again_and_never_believed(
    file: str, place: int, bit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("records")
    records, kept = Records(str(folder)), Record("key", 0, "done", {"val_auc": 0.5}, "", np.eye(2, dtype=np.float32))
    records.keep(kept, Job("baseline", {}, {}, 0))
    content = bytearray((folder / "key" / file).read_bytes())
    content[place % len(content)] ^= 1 << bit
    (folder / "key" / file).write_bytes(content)
    found = records.find("key")
    if found is not None:  # some bits of a zip file say nothing
        assert found.metrics == kept.metrics
        assert np.array_equal(found.probabilities, kept.probabilities)
