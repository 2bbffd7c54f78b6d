"""Files and folders that appear whole or not at all, and one line for what the operating system says."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from assay.errors import AssayError, InputError


class ObjectNotFound(InputError):
    """No object has this name."""


class BucketNotFound(InputError):
    """There is no bucket of this name: it was never there, or storage has lost it."""


@contextlib.contextmanager
def new_folder(directory: Path) -> Iterator[Path]:
    """Yield a temporary sibling that becomes ``directory`` at the end, and vanishes on an error.

    Raises:
        InputError: The folder holds something already.
    """
    if directory.exists() and any(directory.iterdir()):
        raise InputError(f"{directory}: is not empty. Name a new folder.")
    with disk_errors(directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        yield stage
        with disk_errors(directory):
            stage.chmod(0o755)
            stage.replace(directory)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling that replaces ``path`` at the end, and vanishes on an error."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:100]}-", dir=path.parent)
        os.close(handle)
    stage = Path(name)
    try:
        yield stage
        with disk_errors(path):
            stage.chmod(0o644)
            stage.replace(path)
    finally:
        stage.unlink(missing_ok=True)


@contextlib.contextmanager
def held_stage(folder: Path, prefix: str, *, directory: bool = False) -> Iterator[Path]:
    """Yield a new file or folder, gone at the end; what killed processes have left of theirs goes at the beginning.

    Whoever works on one holds a lock on it, which ends with its process: what nobody holds is nobody's. On a file
    system without such locks nothing is taken for that.

    Args:
        folder: Where it is made.
        prefix: Of the names of what is made here for the same purpose, and of nothing else.
        directory: Whether it is a folder.

    Raises:
        OSError: It cannot be made.
    """
    with held(folder):
        for rest in [entry.path for entry in os.scandir(folder) if entry.name.startswith(prefix)]:
            with held(Path(rest), wait=False) as idle:
                if idle:
                    _remove(Path(rest))
        if directory:
            stage = Path(tempfile.mkdtemp(prefix=prefix, dir=folder))
        else:
            handle, name = tempfile.mkstemp(prefix=prefix, dir=folder)
            os.close(handle)
            stage = Path(name)
        holding = contextlib.ExitStack()
        holding.enter_context(held(stage, wait=False))
    with holding:
        try:
            yield stage
        finally:
            _remove(stage)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def held(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock on a file or folder; yield whether it is held, which it never is where there are no such locks.

    Args:
        path: What is locked; it is not changed, and who does not ask for the lock is not kept out.
        wait: Whether to wait for whoever has it.
    """
    handle = None
    try:
        try:
            handle = os.open(path, os.O_RDONLY)
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            held = True
        except OSError:
            held = False
        yield held
    finally:
        if handle is not None:
            os.close(handle)


@contextlib.contextmanager
def read_errors(thing: Path | str, way_out: str, error: type[InputError] = InputError) -> Iterator[None]:
    """Turn whatever a reader raises on bytes that nobody wrote so into one line about ``thing``.

    Readers of arrays, tables and archives raise nearly anything on damaged headers, so no types are listed here; the
    block holds the reading alone.

    Args:
        thing: The file or object, for the line.
        way_out: What to do, as a sentence.
        error: What is raised; of what a step has written, that it is damaged.

    Raises:
        InputError: In place of what the block raises.
    """
    try:
        yield
    except AssayError:
        raise
    except Exception as cause:
        reason = " ".join(str(cause).split())[:200] or type(cause).__name__
        raise error(f"{thing}: cannot be read ({reason}). {way_out}") from cause


@contextlib.contextmanager
def disk_errors(thing: Path | str) -> Iterator[None]:
    """Turn what the operating system says into one line about ``thing``."""
    try:
        yield
    except FileNotFoundError as error:
        raise ObjectNotFound(f"{error.filename or thing}: no such object or file. Check the address.") from error
    except PermissionError as error:
        raise AssayError(
            f"{error.filename or thing}: no permission. Change its owner or mode, or name another place."
        ) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise AssayError(f"{thing}: {reason}. Free space or name another place.") from error
