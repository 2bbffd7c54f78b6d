"""Trials: continued exactly, recorded whatever happens, and never tried forever."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from assay.config import Policy, RuntimeConfig, SearchConfig
from assay.data.dataset import Dataset
from assay.errors import InputError
from assay.runtime import apply_runtime
from assay.search.spec import SearchSpec
from assay.search.trials import STRIKES, Place, TrialRecords, TrialRunner, describe_failure, trial_seed

VALUES = {
    "width": 4,
    "depth": 2,
    "kernel": 3,
    "pooling": "average",
    "dense": 8,
    "dropout": 0.25,
    "optimizer": "adam",
    "batch_size": 40,
    "learning_rate": 0.01,
}


@pytest.fixture
def spec(small_search: SearchConfig, exact: RuntimeConfig, dataset: Dataset, tmp_path: Path) -> SearchSpec:
    apply_runtime(exact, 0)
    policy = Policy(horizontal_flip=True, quarter_turns=True)
    return SearchSpec(small_search, exact, policy, str(dataset.root), str(tmp_path / "location"), seed=5)


def test_a_promoted_trial_ends_as_one_that_was_never_interrupted(spec: SearchSpec, dataset: Dataset) -> None:
    whole = TrialRunner(replace(spec, location=f"{spec.location}-whole"), dataset)
    straight = whole.run("0000", VALUES, Place(3))
    runner = TrialRunner(spec, dataset)
    first = runner.run("0000", VALUES, Place(2))
    second = runner.run("0001", VALUES, Place(3, continues="0000"))
    assert (first.epochs, first.total_epochs, second.epochs, second.total_epochs) == (2, 2, 1, 3)
    assert (second.score, second.best_epoch, second.metrics) == (straight.score, straight.best_epoch, straight.metrics)
    ours, history = runner.fit(second, second.total_epochs)
    theirs, _ = whole.fit(straight, straight.total_epochs)
    assert len(history.rows) == 3, "reading the best weights back trains nothing"
    for mine, other in zip(ours.whole.weights, theirs.whole.weights, strict=True):
        np.testing.assert_array_equal(mine.numpy(), other.numpy())
    # The optimizer's moments too, which KerasTuner does not hand on.
    mine, other = (runner.records.checkpoint("0001").load(), whole.records.checkpoint("0000").load())
    assert mine is not None and other is not None
    for name in other.arrays:
        np.testing.assert_array_equal(mine.arrays[name], other.arrays[name])


def test_a_trial_whose_parent_is_lost_is_trained_from_its_beginning(spec: SearchSpec, dataset: Dataset) -> None:
    runner = TrialRunner(spec, dataset)
    runner.run("0000", VALUES, Place(2))
    runner.records.remove_checkpoint("0000")
    row = runner.run("0001", VALUES, Place(3, continues="0000"))
    assert (row.status, row.epochs, row.total_epochs) == ("completed", 3, 3)


def test_a_trial_that_has_ended_is_only_looked_up(spec: SearchSpec, dataset: Dataset) -> None:
    runner = TrialRunner(spec, dataset)
    row = runner.run("0000", VALUES, Place(1))
    runner.records.remove_checkpoint("0000")
    assert TrialRunner(spec, dataset).run("0000", VALUES, Place(1)) == row == TrialRecords(spec.location).row("0000")


def test_a_trial_that_kills_its_process_again_and_again_is_given_up(spec: SearchSpec, dataset: Dataset) -> None:
    runner = TrialRunner(spec, dataset)
    runner.records.write_starts("0000", STRIKES)
    row = runner.run("0000", VALUES, Place(1))
    assert (row.status, row.score, row.epochs) == ("failed", None, 0)
    assert row.note == "its process died 3 times before an epoch was done (out of memory?)"
    assert runner.run("0001", VALUES, Place(1)).status == "completed"
    assert runner.records.starts("0001") == 0


def test_a_trial_that_cannot_be_trained_is_recorded_with_its_reason(spec: SearchSpec, dataset: Dataset) -> None:
    # Two devices cannot share 41 images: an error of this trial alone.
    code = f"""
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from assay.data.dataset import Dataset
from assay.search.spec import SearchSpec
from assay.search.trials import Place, TrialRunner
runner = TrialRunner(SearchSpec.read({spec.uri!r}), Dataset.open({str(dataset.root)!r}))
print(runner.run("0000", {VALUES | {"batch_size": 41}!r}, Place(1)).note)
"""
    spec.write()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "batch_size 41 cannot be shared evenly among 2 devices" in done.stdout
    row = TrialRecords(spec.location).row("0000")
    assert row is not None and row.status == "failed" and row.note in done.stdout


def test_a_trial_ends_with_its_epoch_when_the_deadline_has_passed(spec: SearchSpec, dataset: Dataset) -> None:
    late = replace(spec, deadline=time.time() - 1)
    row = TrialRunner(late, dataset).run("0000", VALUES, Place(3))
    assert (row.status, row.total_epochs) == ("completed", 1)


def test_a_configuration_trains_alike_in_whichever_trial_it_comes() -> None:
    assert trial_seed(5, VALUES) == trial_seed(5, dict(reversed(VALUES.items())))
    assert trial_seed(5, VALUES) != trial_seed(6, VALUES)
    assert trial_seed(5, VALUES) != trial_seed(5, VALUES | {"width": 8})


def test_reasons_are_one_line() -> None:
    exhausted = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor\nwith shape[1]\n more")
    assert describe_failure(exhausted) == "out of memory: OOM when allocating tensor"
    assert describe_failure(MemoryError()) == "out of memory"
    assert describe_failure(InputError("kernel: too large.\nShrink it.")) == "kernel: too large. Shrink it."
    assert describe_failure(ValueError("a\n b")) == "ValueError: a b"


def test_a_spec_is_read_back_as_it_was_written(spec: SearchSpec) -> None:
    spec = replace(spec, deadline=123.5)
    spec.write()
    assert SearchSpec.read(spec.uri) == spec
    with pytest.raises(InputError):
        SearchSpec.read(f"{spec.location}/elsewhere/spec.json")
