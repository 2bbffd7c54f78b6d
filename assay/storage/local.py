"""Object storage in a local directory, safe between processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from assay.errors import AssayError, InputError
from assay.storage.files import ObjectNotFound, disk_errors, held_stage, new_file
from assay.storage.objects import GenerationMismatch, ObjectStore, Stored, Versioned, check_name

# The store's own things: the lock, and files that are not whole yet.
OWN_FOLDER, STAGE = ".assay", "tmp"


class LocalStore(ObjectStore):
    """Objects as files of a directory.

    An object's generation is its file's modification time in nanoseconds, which every write moves on: a write
    makes a new file and renames it over the old one, under a lock that all processes on the machine respect.

    Args:
        directory: Made at the first write.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory.expanduser().absolute()
        with disk_errors(self.directory):  # a folder above it may be closed to this user
            is_file = self.directory.exists() and not self.directory.is_dir()
        if is_file:
            raise InputError(f"storage root {directory}: is a file. Name a directory.")
        super().__init__(str(self.directory))

    def path(self, name: str) -> Path:
        """Return where an object or prefix lies."""
        if check_name(name).split("/")[0] == OWN_FOLDER:
            raise InputError(f"object name {name!r}: {OWN_FOLDER} is the store's own. Choose another name.")
        return self.directory / name

    def read(self, name: str) -> Versioned:
        """See `ObjectStore.read`."""
        path = self.path(name)
        with self._reading(name), path.open("rb") as file:
            # The open file stays the same one, even if the name is given to another meanwhile.
            return Versioned(file.read(), os.fstat(file.fileno()).st_mtime_ns)

    def write_bytes(self, name: str, data: bytes, *, if_generation: int | None = None) -> int:
        """See `ObjectStore.write_bytes`."""
        with self._stage(name) as stage:
            with stage.open("wb") as file:
                file.write(data)
                file.flush()
                # A pointer must be on disk before it is seen: a power cut leaves the old one or the new one.
                os.fsync(file.fileno())
            return self._install(stage, name, if_generation)

    def exists(self, name: str) -> bool:
        """See `ObjectStore.exists`."""
        with disk_errors(self.path(name)):
            return self.path(name).is_file()

    def entries(self, prefix: str = "") -> Iterator[Stored]:
        """See `ObjectStore.entries`."""
        top = self.path(prefix)
        with disk_errors(top):
            for folder, folders, files in os.walk(top, onerror=_raise_unless_missing):
                if Path(folder) == self.directory and OWN_FOLDER in folders:
                    folders.remove(OWN_FOLDER)
                for path in (Path(folder) / file for file in files):
                    with contextlib.suppress(FileNotFoundError):  # another process may be removing it
                        status = path.stat()
                        name = path.relative_to(self.directory).as_posix()
                        yield Stored(name, status.st_size, status.st_mtime)

    def delete(self, name: str) -> None:
        """See `ObjectStore.delete`."""
        path = self.path(name)
        with disk_errors(path), self._lock():
            path.unlink(missing_ok=True)
            for folder in path.parents:
                if folder == self.directory:
                    break
                try:
                    folder.rmdir()
                except OSError:
                    break

    def upload_file(self, path: Path, name: str) -> None:
        """See `ObjectStore.upload_file`."""
        with self._stage(name) as stage:
            _copy(path, stage)
            self._install(stage, name, None)

    def download_file(self, name: str, path: Path) -> None:
        """See `ObjectStore.download_file`."""
        source = self.path(name)
        with self._reading(name), source.open("rb"):
            pass
        with new_file(path) as stage, disk_errors(path):
            _copy(source, stage)

    @contextlib.contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        try:
            with disk_errors(self.uri(name)):
                yield
        except AssayError as error:
            if isinstance(error.__cause__, (IsADirectoryError, NotADirectoryError)):
                raise ObjectNotFound(f"{self.uri(name)}: no such object. Check the address.") from error
            raise

    @contextlib.contextmanager
    def _stage(self, name: str) -> Iterator[Path]:
        with disk_errors(self.path(name)):
            own = self.directory / OWN_FOLDER
            own.mkdir(parents=True, exist_ok=True)
            with held_stage(own, STAGE) as stage:
                yield stage

    def _install(self, stage: Path, name: str, if_generation: int | None) -> int:
        stage.chmod(0o644)
        path = self.path(name)
        with self._lock():
            present = _generation(path)
            if if_generation is not None and present != if_generation:
                raise GenerationMismatch(
                    f"{self.uri(name)}: changed by someone else (generation {present}, expected {if_generation}). "
                    "Read it again."
                )
            generation = _move_on(stage, present)
            # Another process may be removing the folder that it has just emptied.
            path.parent.mkdir(parents=True, exist_ok=True)
            stage.replace(path)
            return generation

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        own = self.directory / OWN_FOLDER
        own.mkdir(parents=True, exist_ok=True)
        with (own / "lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        raise error


def _generation(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except (FileNotFoundError, NotADirectoryError):
        return 0


def _move_on(path: Path, present: int) -> int:
    """Make a file's time later than ``present``, by no more than the file system's clock needs; return it."""
    generation = path.stat().st_mtime_ns
    step = 1
    while generation <= present:
        os.utime(path, ns=(present + step, present + step))
        generation = path.stat().st_mtime_ns
        step *= 1000
    return generation


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    expected, received = source.stat().st_size, target.stat().st_size
    if expected != received:
        raise AssayError(f"{source}: {received} of {expected} bytes arrived in the copy. Try again.")
