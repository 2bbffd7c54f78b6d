"""A lease on a place of checkpoints: of two trainings of the same thing the second waits, and takes up the result.

In a directory it is a lock of the file system, which ends with its process however that ends. In object storage it is
an object that its holder renews: one that has not changed for `LEASE_SECONDS` belongs to a holder that is gone. No
clocks are compared; who waits looks for so long by its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import psutil

from assay.errors import AssayError
from assay.observability.progress import log
from assay.storage.files import ObjectNotFound, disk_errors
from assay.storage.objects import GenerationMismatch, ObjectStore, Versioned
from assay.storage.open import is_remote, open_store

LEASE_FILE = "lease.json"
LEASE_SECONDS = 90.0
RENEW_SECONDS = 20.0
POLL_SECONDS = 2.0


class Lease:
    """The right to write checkpoints at a place, while it is held."""

    def __init__(self, location: str) -> None:
        self.location = location
        self.lost = threading.Event()

    def check(self) -> None:
        """Do nothing while the lease is held.

        Raises:
            AssayError: It was lost: this process could not renew it in time, and another one has taken it.
        """
        if self.lost.is_set():
            raise AssayError(
                f"{self.location}: another process has taken over this training, while this one could not reach "
                "the storage. Run the step again: it goes on from what that one has done."
            )


@contextlib.contextmanager
def hold_lease(location: str, *, wait: bool = True) -> Iterator[Lease | None]:
    """Hold the lease on a place, waiting for whoever has it.

    Args:
        location: A local directory or ``gs://bucket/prefix``.
        wait: Whether to wait; otherwise None is given where another process holds it.

    Raises:
        AssayError: The place cannot be written to.
    """
    holding = _hold_object(location, wait) if is_remote(location) else _hold_file(location, wait)
    with holding as lease:
        yield lease


@contextlib.contextmanager
def _hold_file(location: str, wait: bool) -> Iterator[Lease | None]:
    path = Path(location) / LEASE_FILE
    file = None
    try:
        while file is None:
            with disk_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                file = _locked(path, block=False)
                if file is None and wait:
                    with contextlib.suppress(FileNotFoundError):
                        _say_who_has_it(location, path.read_bytes())
                    file = _locked(path, block=True)
            if not wait:
                break
        if file is not None:
            file.truncate(0)
            file.write(_holder())
            file.flush()
        yield None if file is None else Lease(location)
    finally:
        if file is not None:
            file.close()


def _locked(path: Path, *, block: bool) -> IO[bytes] | None:
    """Return the file, open and locked; None where another process has it, or where it was removed meanwhile."""
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if block else fcntl.LOCK_NB))
        if os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return file
    except (BlockingIOError, FileNotFoundError):
        pass
    file.close()
    return None


@contextlib.contextmanager
def _hold_object(location: str, wait: bool) -> Iterator[Lease | None]:
    store, own = open_store(location), _holder()
    generation = _acquire(store, own, wait)
    if generation is None:
        yield None
        return
    lease, done = Lease(location), threading.Event()
    renewing = threading.Thread(target=_renew, args=(store, own, generation, lease, done), name="lease", daemon=True)
    renewing.start()
    try:
        yield lease
    finally:
        done.set()
        renewing.join()
        if not lease.lost.is_set():
            with contextlib.suppress(AssayError):  # it runs out by itself
                store.delete(LEASE_FILE)


def _acquire(store: ObjectStore, own: bytes, wait: bool) -> int | None:
    """Write the lease where there is none, or over one whose holder is gone; return its generation."""
    seen, since = 0, time.monotonic()
    while True:
        expected = 0
        held = _read(store)
        if held is not None:
            if held.data == own:  # our write arrived, its answer did not
                return held.generation
            if held.generation != seen:
                seen, since = held.generation, time.monotonic()
            expected = held.generation
            if time.monotonic() - since < LEASE_SECONDS and not _is_gone(held.data):
                if not wait:
                    return None
                _say_who_has_it(store.root, held.data)
                time.sleep(POLL_SECONDS)
                continue
        with contextlib.suppress(GenerationMismatch):
            return store.write_bytes(LEASE_FILE, own, if_generation=expected)


def _renew(store: ObjectStore, own: bytes, generation: int, lease: Lease, done: threading.Event) -> None:
    while not done.wait(RENEW_SECONDS):
        try:
            generation = store.write_bytes(LEASE_FILE, own, if_generation=generation)
        except GenerationMismatch:
            held = _read(store)
            if held is None or held.data != own:
                lease.lost.set()
                return
            generation = held.generation
        except AssayError:
            continue  # the storage is away; whether the lease is still ours shows when it is back


def _read(store: ObjectStore) -> Versioned | None:
    try:
        return store.read(LEASE_FILE)
    except ObjectNotFound:
        return None


def _holder() -> bytes:
    """Return who holds a lease, JSON; no two are alike."""
    process = psutil.Process()
    content = {
        "host": socket.gethostname(),
        "pid": process.pid,
        "begun": process.create_time(),
        "since": time.strftime("%H:%M:%S"),
        "token": uuid.uuid4().hex,
    }
    return json.dumps(content).encode()


def _is_gone(holder: bytes) -> bool:
    """Return whether the holder was a process of this machine that has ended."""
    content = _parsed(holder)
    if content.get("host") != socket.gethostname():
        return False
    try:
        return bool(psutil.Process(content["pid"]).create_time() != content["begun"])
    except (psutil.NoSuchProcess, KeyError):
        return True


_said: set[tuple[str, str]] = set()


def _say_who_has_it(location: str, holder: bytes) -> None:
    content = _parsed(holder)
    who = f"process {content.get('pid', '?')} on {content.get('host', '?')}, since {content.get('since', '?')}"
    if (location, who) not in _said:
        _said.add((location, who))
        log(f"{location}: the same is being trained already ({who}). This run waits and then takes up its result.")


def _parsed(holder: bytes) -> dict[str, Any]:
    try:
        content = json.loads(holder)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
