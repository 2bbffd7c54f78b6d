"""One trial: build, train, judge, record. It may be killed at any moment and goes on from its last checkpoint.

A trial that another one continues (a promotion of hyperband) hands on its checkpoint: weights, the optimizer's
moments, the order of the images and the best epoch so far. So the second goes on as the first would have.
"""

from __future__ import annotations

import gc
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras
import tensorflow as tf

from assay.data.dataset import Dataset
from assay.errors import AssayError
from assay.hashing import hash_json
from assay.runtime import strategy_for
from assay.search.hypermodels import Built, open_hypermodel, train_config
from assay.search.results import TrialRow
from assay.search.space import Values, resolve_space
from assay.search.spec import SearchSpec
from assay.storage.open import open_store
from assay.training.checkpoint import Checkpoint
from assay.training.fit import fit
from assay.training.history import UNREMARKABLE, History

# A trial whose process dies so many times before it finishes an epoch will kill the next one too.
STRIKES = 3


@dataclass(frozen=True)
class Place:
    """A trial's place in the schedule.

    Attributes:
        epochs: Train up to this epoch, counted from the very beginning.
        continues: Id of the trial to continue; empty: begin with fresh weights.
    """

    epochs: int
    continues: str = ""


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
        return TrialRow.from_json(json.loads(self._store.read_bytes(name)))

    def write_row(self, row: TrialRow) -> None:
        """Record that a trial has ended."""
        self._store.write_bytes(f"rows/{row.trial}.json", json.dumps(row.to_json()).encode())

    def starts(self, trial: str) -> int:
        """Return how often a trial was begun since it last finished an epoch."""
        name = f"starts/{trial}"
        return int(self._store.read_bytes(name)) if self._store.exists(name) else 0

    def write_starts(self, trial: str, count: int) -> None:
        """Record how often a trial was begun; 0: it finishes epochs."""
        if count:
            self._store.write_bytes(f"starts/{trial}", str(count).encode())
        else:
            self._store.delete(f"starts/{trial}")

    def checkpoint(self, trial: str) -> Checkpoint:
        """Return the checkpoint of a trial."""
        return Checkpoint(self.location, phase_of(trial))

    def remove_checkpoint(self, trial: str) -> None:
        """Remove a checkpoint that nothing asks for any more."""
        self._store.delete(f"{phase_of(trial)}.npz")


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
        """
        known = self.records.row(trial)
        if known is not None:
            return known
        values = self.space.values(dict(drawn))
        row = TrialRow(trial=trial, values=values, status="failed", continues=place.continues)
        starts = self.records.starts(trial)
        if starts >= STRIKES:
            row = replace(row, note=f"its process died {starts} times before an epoch was done (out of memory?)")
        else:
            self.records.write_starts(trial, starts + 1)
            started = time.monotonic()
            try:
                row = self._train(row, place)
            except Exception as error:  # whatever it is, it is this trial's, and the search goes on
                row = replace(row, note=describe_failure(error), seconds=time.monotonic() - started)
            finally:
                release_memory()
            self.records.write_starts(trial, 0)
        self.records.write_row(row)
        return row

    def _train(self, row: TrialRow, place: Place) -> TrialRow:
        parent = self.records.row(place.continues) if place.continues else None
        checkpoint = self.records.checkpoint(row.trial)
        if parent is not None and checkpoint.load() is None:
            state = self.records.checkpoint(parent.trial).load()
            if state is None:
                parent = None  # lost: all epochs are this trial's own
            else:
                checkpoint.save(state)
        built, history = self.fit(row, place.epochs)
        score = history.best_value
        if math.isnan(score):
            raise AssayError(
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
            on_epoch=lambda line: self._after_epoch(row.trial, line, epochs),
        )
        return built, history

    def _after_epoch(self, trial: str, line: Mapping[str, Any], epochs: int) -> bool:
        self.records.write_starts(trial, 0)
        late = self.spec.deadline is not None and time.time() > self.spec.deadline
        return late or line["epoch"] >= epochs


def trial_seed(seed: int, values: Values) -> int:
    """Return the seed of a configuration: the same values train alike, in whichever trial and order they come."""
    return int(hash_json([seed, values])[:8], 16) >> 1


def describe_failure(error: BaseException) -> str:
    """Return why a trial failed, in one line."""
    if isinstance(error, tf.errors.ResourceExhaustedError | MemoryError):
        first = str(error).strip().splitlines()[:1]
        return " ".join(f"out of memory: {first[0] if first else ''}".split())[:300].rstrip(": ")
    line = " ".join(str(error).split())[:300]
    return line if isinstance(error, AssayError) else f"{type(error).__name__}: {line}".rstrip(": ")


def release_memory() -> None:
    """Give back what a trial's model and graph hold."""
    keras.backend.clear_session()
    gc.collect()
