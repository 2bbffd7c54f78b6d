"""Trials: continued exactly, recorded whatever happens, and never tried forever."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from assay.config import Policy, RuntimeConfig, SearchConfig
from assay.data.dataset import Dataset
from assay.errors import AssayError, InputError
from assay.runtime import apply_runtime
from assay.search.hypermodels import train_config
from assay.search.spec import SearchSpec
from assay.search.trials import (
    STRIKES,
    FailedTrial,
    Place,
    Starts,
    TrialRecords,
    TrialRunner,
    describe_failure,
    is_trials_own,
    trial_seed,
)
from assay.storage.files import BucketNotFound, ObjectNotFound
from assay.training.checkpoint import Checkpoint, TrainingState
from assay.training.fit import DivergedError

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


def test_a_damaged_record_is_made_again_from_the_checkpoint(
    spec: SearchSpec, dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    runner = TrialRunner(spec, dataset)
    row = runner.run("0000", VALUES, Place(2))
    (Path(spec.location) / "rows" / "0000.json").write_bytes(b'{"trial": "00')
    capsys.readouterr()
    again = runner.run("0000", VALUES, Place(2))
    said = capsys.readouterr().out
    assert "rows/0000.json: the record of a trial is damaged" in said and "train cnn" not in said
    assert (again.score, again.epochs, again.metrics) == (row.score, row.epochs, row.metrics)


def test_a_trial_that_kills_its_process_again_and_again_is_given_up(spec: SearchSpec, dataset: Dataset) -> None:
    runner = TrialRunner(spec, dataset)
    runner.records.write_starts("0000", Starts(count=STRIKES))
    row = runner.run("0000", VALUES, Place(1))
    assert (row.status, row.score, row.epochs) == ("failed", None, 0)
    assert row.note == "its process died 3 times without getting any further (out of memory?)"
    assert runner.run("0001", VALUES, Place(1)).status == "completed"
    assert runner.records.starts("0001") == Starts()


def test_a_trial_killed_many_times_that_gets_further_each_time_is_finished(
    spec: SearchSpec, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """As a kill, it leaves no record."""

    spec = replace(spec, runtime=spec.runtime.model_copy(update={"checkpoint_minutes": 1e-6}))
    runner = TrialRunner(spec, dataset)
    straight = TrialRunner(replace(spec, location=f"{spec.location}-straight"), dataset).run("0000", VALUES, Place(3))
    save = Checkpoint.save
    steps: list[tuple[int, int]] = []

    def save_and_die(checkpoint: Checkpoint, state: TrainingState) -> None:
        save(checkpoint, state)
        if state.values["history"]["ended"] is None:
            steps.append((state.values["at"]["epoch"], state.values["at"]["step"]))
            raise Killed

    monkeypatch.setattr(Checkpoint, "save", save_and_die)
    for _ in range(20):
        try:
            row = runner.run("0000", VALUES, Place(3))
            break
        except Killed:
            continue
    assert len(steps) > 2 * STRIKES and steps == sorted(set(steps)), "each start got a step further"
    assert (row.status, row.score, row.best_epoch) == ("completed", straight.score, straight.best_epoch)


def test_no_progress_is_counted_from_the_step_that_was_reached() -> None:
    starts = Starts()
    counts = []
    for place in [(0, 0), (0, 0), (0, 4), (0, 4), (1, 0), (1, 0), (1, 0), (1, 0)]:
        starts = starts.at(*place)
        counts.append(starts.count)
    assert counts == [1, 2, 1, 2, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "fault", [OSError(28, "No space left on device"), AssayError("gs://b/o: the storage service cannot be used")]
)
def test_a_fault_of_the_machine_ends_the_search_and_loses_no_trial(
    spec: SearchSpec, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    runner, save, failing = TrialRunner(spec, dataset), Checkpoint.save, [True]

    def fail_once(checkpoint: Checkpoint, state: TrainingState) -> None:
        if failing and state.values["at"]["epoch"] == 2:
            failing.clear()
            raise fault
        save(checkpoint, state)

    monkeypatch.setattr(Checkpoint, "save", fail_once)
    with pytest.raises(type(fault), match=str(fault).split(" ", 1)[-1][-10:]):
        runner.run("0000", VALUES, Place(3))
    assert runner.records.row("0000") is None, "nothing is held against the trial"
    row = runner.run("0000", VALUES, Place(3))
    assert (row.status, row.total_epochs) == ("completed", 3)


def test_what_is_the_trials_own_failure_and_what_the_machines() -> None:
    own = [DivergedError("nan"), InputError("batch_size"), FailedTrial("nan"), MemoryError(), ValueError("shape")]
    own += [tf.errors.ResourceExhaustedError(None, None, "OOM"), tf.errors.InvalidArgumentError(None, None, "shape")]
    machines = [
        OSError(28, "full"),
        AssayError("storage"),
        ObjectNotFound("gone"),
        BucketNotFound("gone"),
        ConnectionError("reset"),
    ]
    machines += [tf.errors.UnavailableError(None, None, "away")]
    assert [is_trials_own(error) for error in own] == [True] * len(own)
    assert [is_trials_own(error) for error in machines] == [False] * len(machines)


def test_every_trial_computes_in_the_precision_asked_for_and_the_same_in_any_order(
    spec: SearchSpec, dataset: Dataset
) -> None:
    half = spec.runtime.model_copy(update={"precision": "mixed_bfloat16"})
    other = VALUES | {"width": 8, "learning_rate": 0.003}
    scores: dict[str, list[tuple[float | None, dict[str, float]]]] = {"first": [], "second": []}
    seen = []
    try:
        apply_runtime(half, 0)
        for order in ("forwards", "backwards"):
            runner = TrialRunner(replace(spec, runtime=half, location=f"{spec.location}-{order}"), dataset)
            build = runner.hypermodel.build

            def building(values: dict, seed: int, build=build):  # type: ignore[no-untyped-def]
                built = build(values, seed)
                seen.extend(layer.compute_dtype for layer in built.whole.layers if "conv" in layer.name)
                return built

            runner.hypermodel.build = building  # type: ignore[method-assign]
            trials = [("first", VALUES), ("second", other)]
            for name, values in trials if order == "forwards" else reversed(trials):
                row = runner.run(name, values, Place(2))
                scores[name].append((row.score, row.metrics))
    finally:
        keras.config.set_dtype_policy("float32")
    assert seen and set(seen) == {"bfloat16"}
    assert scores["first"][0] == scores["first"][1]
    assert scores["second"][0] == scores["second"][1]


def test_class_weights_reach_every_trial(spec: SearchSpec) -> None:
    balanced = spec.search.model_copy(update={"class_weights": "balanced"})
    assert train_config(balanced, VALUES).class_weights == "balanced"
    assert train_config(spec.search, VALUES).class_weights == "none"


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
