"""Checkpoints for exact resume: all that a run's future depends on, in one file that is whole, checked or absent.

Who removes them: the step that comes after. A finished run's checkpoints stay, so that a step whose outputs were lost
on their way to storage has its result again without training. The model's folder says where they are
(``checkpoints.json``); once the evaluation has read the model, or a sweep has its record, `release_checkpoints` removes
them.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.errors import AssayError
from assay.hashing import code_version, hash_json
from assay.observability.progress import log
from assay.storage.arrays import DamagedFile, load_arrays, save_arrays
from assay.storage.cache import is_forced
from assay.storage.files import ObjectNotFound, new_file
from assay.storage.open import is_remote, open_store
from assay.training.lease import LEASE_FILE, Lease, hold_lease

Array = npt.NDArray[Any]
STATE = "state"
PLACE_FILE = "checkpoints.json"
SET_ASIDE = ".damaged"


def checkpoint_location(storage_root: str, step: str, **depends: Any) -> str:
    """Return where a step keeps its checkpoints: a place of its own for everything that changes the training.

    Args:
        storage_root: A local directory or ``gs://bucket/prefix``.
        step: Name of the step.
        depends: What the outcome depends on, JSON: fingerprints of dataset and config, policy, seed.
    """
    key = hash_json({"step": step, "code": code_version(), **depends})[:24]
    root = storage_root.rstrip("/") if is_remote(storage_root) else str(Path(storage_root).expanduser().absolute())
    return f"{root}/checkpoints/{key}"


@dataclass
class TrainingState:
    """A run between two steps.

    Attributes:
        arrays: Values of variables by name.
        values: Everything else, JSON.
    """

    arrays: dict[str, Array] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """The checkpoint of one phase of a run.

    Args:
        location: A local directory or ``gs://bucket/prefix``; see `checkpoint_location`.
        phase: Name of the phase, which names the file.
        lease: The right to write there, where others might.
    """

    location: str
    phase: str
    lease: Lease | None = None

    @property
    def name(self) -> str:
        """Name of the object at the location."""
        return f"{self.phase}.npz"

    @property
    def uri(self) -> str:
        """Where the checkpoint is kept."""
        return f"{self.location}/{self.name}"

    def save(self, state: TrainingState) -> None:
        """Replace the checkpoint. A process killed meanwhile leaves the old one.

        Raises:
            AssayError: It cannot be written, or another process has taken over.
        """
        if self.lease is not None:
            self.lease.check()
        if not is_remote(self.location):
            with new_file(Path(self.uri)) as path:
                _write(path, state)
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / self.name
            _write(path, state)
            open_store(self.location).upload_file(path, self.name)

    def load(self) -> TrainingState | None:
        """Return the saved state; None where there is none, or where it is damaged, which is said.

        A damaged one is set aside under another name, for whoever wants to know what happened to it.

        Raises:
            AssayError: It cannot be read for a reason that is not its own, such as storage that is away.
        """
        with self._local_file() as path:
            if path is None:
                return None
            try:
                return _read(path)
            except DamagedFile as error:
                log(
                    f"{self.uri}: the checkpoint is damaged ({str(error).split(': ', 1)[-1].split('. ')[0]}). It is "
                    f"set aside as {self.name}{SET_ASIDE}; training starts over."
                )
                self._set_aside(path)
                return None

    @contextlib.contextmanager
    def _local_file(self) -> Iterator[Path | None]:
        """Yield a file of this machine that holds the checkpoint, or None where there is none."""
        if not is_remote(self.location):
            path = Path(self.uri)
            yield path if path.exists() else None
            return
        with tempfile.TemporaryDirectory() as folder:
            copy: Path | None = Path(folder) / self.name
            try:
                open_store(self.location).download_file(self.name, Path(folder) / self.name)
            except ObjectNotFound:
                copy = None
            yield copy

    def _set_aside(self, path: Path) -> None:
        if not is_remote(self.location):
            path.replace(path.with_name(self.name + SET_ASIDE))
            return
        store = open_store(self.location)
        store.upload_file(path, self.name + SET_ASIDE)
        store.delete(self.name)


@contextlib.contextmanager
def place_of_training(location: str, step: str) -> Iterator[Lease | None]:
    """Hold the lease on a place of checkpoints; a step that is to begin anew finds nothing else there.

    Args:
        location: See `checkpoint_location`.
        step: Name of the step, as in ``ASSAY_FORCE``.
    """
    with hold_lease(location) as lease:
        if is_forced(step):
            store = open_store(location)
            for name in store.list():
                if name != LEASE_FILE:
                    store.delete(name)
        yield lease


def remove_checkpoints(location: str) -> None:
    """Remove everything at a place of checkpoints, with what killed processes left half-written."""
    if not is_remote(location):
        shutil.rmtree(location, ignore_errors=True)
        return
    store = open_store(location)
    for name in store.list():
        store.delete(name)


def note_place(model_dir: Path, location: str) -> None:
    """Write into a model's folder where the checkpoints of its training are; see `release_checkpoints`."""
    with new_file(model_dir / PLACE_FILE) as stage:
        stage.write_text(json.dumps({"location": location}) + "\n", encoding="utf-8")


def release_checkpoints(model_dir: Path) -> None:
    """Remove the checkpoints of a model whose outputs are known to be kept. Failing to is said and is no error.

    Those that another process is training on stay: it removes them in its turn.

    Args:
        model_dir: What a training step wrote.
    """
    try:
        location = str(json.loads((model_dir / PLACE_FILE).read_text(encoding="utf-8"))["location"])
    except (OSError, ValueError, KeyError, TypeError):
        return  # a model from elsewhere
    try:
        if not is_remote(location) and not Path(location).is_dir():
            return
        with hold_lease(location, wait=False) as lease:
            if lease is not None:
                remove_checkpoints(location)
    except AssayError as error:
        log(f"{location}: the checkpoints of a finished training could not be removed ({error}).")


def _write(path: Path, state: TrainingState) -> None:
    encoded = np.frombuffer(json.dumps(state.values).encode(), dtype=np.uint8)
    save_arrays(path, {STATE: encoded, **state.arrays})


def _read(path: Path) -> TrainingState:
    arrays = load_arrays(path)
    return TrainingState(values=json.loads(arrays.pop(STATE).tobytes()), arrays=arrays)
