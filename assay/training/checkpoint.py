"""Checkpoints for exact resume: all that a run's future depends on, in one file that is whole or absent."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.hashing import code_version, hash_json
from assay.observability.progress import log
from assay.storage.cache import is_forced
from assay.storage.files import disk_errors, new_file
from assay.storage.open import is_remote, open_store

Array = npt.NDArray[Any]
STATE = "state"


def checkpoint_location(storage_root: str, step: str, **depends: Any) -> str:
    """Return where a step keeps its checkpoints: a place of its own for everything that changes the training.

    Args:
        storage_root: A local directory or ``gs://bucket/prefix``.
        step: Name of the step.
        depends: What the outcome depends on, JSON: fingerprints of dataset and config, policy, seed.
    """
    key = hash_json({"step": step, "code": code_version(), **depends})[:24]
    location = f"{storage_root.rstrip('/')}/checkpoints/{key}"
    if is_forced(step):
        remove_checkpoints(location)
    return location


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
    """

    location: str
    phase: str

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
            AssayError: It cannot be written.
        """
        if not is_remote(self.location):
            with new_file(Path(self.uri)) as path:
                _write(path, state)
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / self.name
            _write(path, state)
            open_store(self.location).upload_file(path, self.name)

    def load(self) -> TrainingState | None:
        """Return the saved state; None where there is none, or where it is damaged, which is said."""
        remote = is_remote(self.location)
        store = open_store(self.location)
        if not (store.exists(self.name) if remote else Path(self.uri).exists()):
            return None
        try:
            if not remote:
                return _read(Path(self.uri))
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / self.name
                store.download_file(self.name, path)
                return _read(path)
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            log(f"{self.uri}: the checkpoint is damaged ({reason}); training starts over.")
            return None


def remove_checkpoints(location: str) -> None:
    """Remove the checkpoints of a run that has come to its end, with what killed processes left half-written."""
    if not is_remote(location):
        shutil.rmtree(location, ignore_errors=True)
        return
    store = open_store(location)
    for name in store.list():
        store.delete(name)


def _write(path: Path, state: TrainingState) -> None:
    encoded = np.frombuffer(json.dumps(state.values).encode(), dtype=np.uint8)
    with disk_errors(path), path.open("wb") as file:
        np.savez(file, allow_pickle=False, **{STATE: encoded, **state.arrays})


def _read(path: Path) -> TrainingState:
    with np.load(path, allow_pickle=False) as file:
        # Reading a member checks its CRC: a flipped bit is noticed here.
        arrays = {name: file[name] for name in file.files}
    return TrainingState(values=json.loads(arrays.pop(STATE).tobytes()), arrays=arrays)
