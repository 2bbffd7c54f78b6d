"""One trial: build, train, judge, record. It may be killed at any moment and goes on from its last checkpoint.

A fault of the trial is recorded and the search goes on; a fault of the machine ends the step, which is tried again.

A trial that another one continues (a promotion of hyperband) hands on its checkpoint: weights, the optimizer's
moments, the order of the images and the best epoch so far. So the second goes on as the first would have.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import keras
import tensorflow as tf

from assay.data.dataset import Dataset
from assay.errors import AssayError, InputError
from assay.hashing import hash_json
from assay.observability.progress import log
from assay.observability.resources import visible_gpus
from assay.runtime import release_memory, strategy_for
from assay.search.group import NODE_VARIABLE
from assay.search.hypermodels import Built, open_hypermodel, train_config
from assay.search.results import TrialRow
from assay.search.space import Values, resolve_space
from assay.search.spec import SearchSpec
from assay.storage.files import BucketNotFound, ObjectNotFound
from assay.storage.open import open_store
from assay.training.checkpoint import Checkpoint, TrainingState
from assay.training.fit import DivergedError, fit
from assay.training.history import UNREMARKABLE, History

# A trial whose process dies so many times without a step of progress will kill the next one too.
STRIKES = 3
# What TensorFlow raises when its machine fails, and not what it was asked to compute.
MACHINE_ERRORS = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DataLossError)


@dataclass(frozen=True)
class Place:
    """A trial's place in the schedule.

    Attributes:
        epochs: Train up to this epoch, counted from the very beginning.
        continues: Id of the trial to continue; empty: begin with fresh weights.
    """

    epochs: int
    continues: str = ""


@dataclass(frozen=True)
class Starts:
    """How often in a row a trial was begun from the same step.

    Attributes:
        count: So often.
        epoch: The step's epoch, from 0.
        step: The step within it.
    """

    count: int = 0
    epoch: int = 0
    step: int = 0

    def at(self, epoch: int, step: int) -> Starts:
        """Return what to note of one more start, from a step: a step further than the last start is progress."""
        further = (epoch, step) > (self.epoch, self.step)
        return Starts(1 if further else self.count + 1, epoch, step)


class TrialRecords:
    """What the trials of a search leave at its location, readable from every process and pod.

    Args:
        location: Local directory or ``gs://`` prefix.
    """

    def __init__(self, location: str) -> None:
        self.location = location
        self._store = open_store(location)

    def row(self, trial: str) -> TrialRow | None:
        """Return the record of a trial that has ended, or None."""
        name = f"rows/{trial}.json"
        if not self._store.exists(name):
            return None
        try:
            return TrialRow.from_json(json.loads(self._store.read_bytes(name)))
        except (ValueError, TypeError, RecursionError) as error:
            reason = " ".join(str(error).split())[:200]
            log(f"{self._store.uri(name)}: the record of a trial is damaged ({reason}); it is made again.")
            self._store.delete(name)
            return None

    def write_row(self, row: TrialRow) -> None:
        """Record that a trial has ended."""
        self._store.write_bytes(f"rows/{row.trial}.json", json.dumps(row.to_json()).encode())

    def starts(self, trial: str) -> Starts:
        """Return how often a trial was begun at the step that it has come to."""
        name = f"starts/{trial}.json"
        if not self._store.exists(name):
            return Starts()
        try:
            return Starts(**json.loads(self._store.read_bytes(name)))
        except (ValueError, TypeError):
            return Starts()

    def write_starts(self, trial: str, starts: Starts) -> None:
        """Record that a trial is begun."""
        self._store.write_bytes(f"starts/{trial}.json", json.dumps(asdict(starts)).encode())

    def remove_starts(self, trial: str) -> None:
        """Forget how often a trial that has ended was begun."""
        self._store.delete(f"starts/{trial}.json")

    def checkpoint(self, trial: str) -> Checkpoint:
        """Return the checkpoint of a trial."""
        return Checkpoint(self.location, phase_of(trial))

    def remove_checkpoint(self, trial: str) -> None:
        """Remove a checkpoint that nothing asks for any more."""
        self._store.delete(f"{phase_of(trial)}.npz")


def _who() -> dict[str, Any]:
    """Return the worker, node and GPUs of this process, where it is a worker."""
    worker = os.environ.get("KERASTUNER_TUNER_ID", "")
    if not worker:
        return {}
    return {"worker": worker, "node": os.environ.get(NODE_VARIABLE, ""), "gpus": visible_gpus()}


def phase_of(trial: str) -> str:
    """Return the name of a trial's run, in its progress, history and checkpoint."""
    return f"trial-{trial}"


class TrialRunner:
    """Runs trials of one search in this process, one after another.

    Args:
        spec: The search.
        dataset: What it trains on.

    Raises:
        InputError: The search does not suit the data.
    """

    def __init__(self, spec: SearchSpec, dataset: Dataset) -> None:
        self.spec = spec
        self.space = resolve_space(spec.search, dataset.input_shape, len(dataset.train))
        self.hypermodel = open_hypermodel(spec, dataset)
        self.records = TrialRecords(spec.location)

    def run(self, trial: str, drawn: Mapping[str, Any], place: Place) -> TrialRow:
        """Run a trial to its end and record it; one that has ended already is only looked up.

        Args:
            trial: Its id.
            drawn: What the oracle drew.
            place: How far to train, and what to continue.

        Returns:
            The record. A trial that cannot be trained has one too, with the reason.

        Raises:
            AssayError, OSError: The machine or the storage failed, not the trial: it goes on when it is tried again.
        """
        known = self.records.row(trial)
        if known is not None:
            return known
        values = self.space.values(dict(drawn))
        precision = str(keras.config.dtype_policy().name)
        row = TrialRow(
            trial=trial, values=values, status="failed", continues=place.continues, precision=precision, **_who()
        )
        parent, state = self._state(row)
        epoch, step = (state.values["at"]["epoch"], state.values["at"]["step"]) if state is not None else (0, 0)
        starts = self.records.starts(trial).at(epoch, step)
        if starts.count > STRIKES:
            row = replace(row, note=f"its process died {STRIKES} times without getting any further (out of memory?)")
        else:
            self.records.write_starts(trial, starts)
            started = time.monotonic()
            try:
                row = self._train(row, place, parent)
            except Exception as error:
                if not is_trials_own(error):
                    raise
                row = replace(row, note=describe_failure(error), seconds=time.monotonic() - started)
            finally:
                release_memory()
        self.records.write_row(row)
        self.records.remove_starts(trial)
        return row

    def _state(self, row: TrialRow) -> tuple[TrialRow | None, TrainingState | None]:
        """Return the trial that a trial continues, and the state that it goes on from: its own, or else that one's."""
        parent = self.records.row(row.continues) if row.continues else None
        checkpoint = self.records.checkpoint(row.trial)
        state = checkpoint.load()
        if state is None and parent is not None:
            state = self.records.checkpoint(parent.trial).load()
            if state is None:
                parent = None  # lost: all epochs are this trial's own
            else:
                checkpoint.save(state)
        return parent, state

    def _train(self, row: TrialRow, place: Place, parent: TrialRow | None) -> TrialRow:
        built, history = self.fit(row, place.epochs)
        score = history.best_value
        if math.isnan(score):
            raise FailedTrial(
                f"{self.spec.search.objective} was nan in every epoch: a score needs validation images of all classes"
            )
        before = parent.total_epochs if parent is not None else 0
        return replace(
            row,
            status="completed",
            score=score,
            best_epoch=history.best_epoch,
            epochs=len(history.rows) - before,
            total_epochs=len(history.rows),
            seconds=history.seconds - (parent.total_seconds if parent is not None else 0.0),
            total_seconds=history.seconds,
            parameters=built.whole.count_params(),
            note="" if history.ended in UNREMARKABLE else history.message,
            metrics={name: value for name, value in history.best.items() if name.startswith("val_")},
        )

    def fit(self, row: TrialRow, epochs: int) -> tuple[Built, History]:
        """Train a trial's network up to an epoch, from its checkpoint where there is one.

        Args:
            row: Says the trial and its values.
            epochs: Up to this epoch; one that the checkpoint has reached trains nothing.

        Returns:
            The network with the best epoch's weights, and its history from the very beginning.
        """
        config = train_config(self.spec.search, row.values)
        seed = trial_seed(self.spec.seed, row.values)
        with strategy_for(config.batch_size).scope():
            # Nothing that an earlier trial of this process has drawn may show in this one.
            keras.utils.set_random_seed(seed)
            built = self.hypermodel.build(row.values, seed)
        history = fit(
            built.trainable,
            self.hypermodel.training(row.values, seed),
            self.hypermodel.validation(row.values),
            config,
            self.spec.runtime,
            phase=phase_of(row.trial),
            seed=seed,
            checkpoint=self.records.checkpoint(row.trial),
            on_epoch=lambda line: self._is_enough(line, epochs),
        )
        return built, history

    def _is_enough(self, line: Mapping[str, Any], epochs: int) -> bool:
        late = self.spec.deadline is not None and time.time() > self.spec.deadline
        return late or line["epoch"] >= epochs


def trial_seed(seed: int, values: Values) -> int:
    """Return the seed of a configuration: the same values train alike, in whichever trial and order they come."""
    return int(hash_json([seed, values])[:8], 16) >> 1


class FailedTrial(AssayError):
    """A trial that was trained and has no score."""


def is_trials_own(error: BaseException) -> bool:
    """Return whether a failure is the trial's own: with these values it would meet it again.

    Everything else is a fault of the machine or the storage: a full disk, a lost connection, a missing object.
    """
    if isinstance(error, AssayError):
        of_values = isinstance(error, FailedTrial | DivergedError | InputError)
        return of_values and not isinstance(error, ObjectNotFound | BucketNotFound)
    return not isinstance(error, (OSError, *MACHINE_ERRORS))


def describe_failure(error: BaseException) -> str:
    """Return why a trial failed, in one line."""
    if isinstance(error, tf.errors.ResourceExhaustedError | MemoryError):
        first = str(error).strip().splitlines()[:1]
        return " ".join(f"out of memory: {first[0] if first else ''}".split())[:300].rstrip(": ")
    line = " ".join(str(error).split())[:300]
    return line if isinstance(error, AssayError) else f"{type(error).__name__}: {line}".rstrip(": ")
