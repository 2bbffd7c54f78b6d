"""A process that ends with the one that it works for, however that ends: killed, too, it would else train on alone."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

PARENT_VARIABLE, HEARTBEAT_VARIABLE = "ASSAY_PARENT", "ASSAY_HEARTBEAT"
POLL_SECONDS, CLEAN_UP_SECONDS = 1.0, 10.0
BEAT_SECONDS, SILENCE_SECONDS = 5.0, 120.0


def end_with_parent() -> None:
    """End this process within a second or two of the one whose id ``ASSAY_PARENT`` holds; without it do nothing.

    The shell that Kubeflow's local runner puts between the two stays when its own parent is killed, so the kernel's
    signal at the parent's death would not arrive.

    In a container, which sees no process of outside: end it two minutes after the last beat of the file that
    ``ASSAY_HEARTBEAT`` names; see `heartbeat`.
    """
    beating = os.environ.get(HEARTBEAT_VARIABLE, "")
    if beating:
        threading.Thread(target=_listen, args=(Path(beating),), name="heartbeat", daemon=True).start()
    text = os.environ.get(PARENT_VARIABLE, "")
    if not text.isdigit() or int(text) == os.getpid():
        return
    try:
        parent = psutil.Process(int(text))
    except psutil.NoSuchProcess:
        _end(text)
        return
    threading.Thread(target=_watch, args=(parent,), name="parent", daemon=True).start()


@contextlib.contextmanager
def heartbeat(file: Path) -> Iterator[None]:
    """Give a file another time every few seconds until the block ends, for processes that work for this one."""
    file.touch()
    done = threading.Event()

    def beat() -> None:
        while not done.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(file)  # which needs no space on a full disk

    beating = threading.Thread(target=beat, name="heartbeat", daemon=True)
    beating.start()
    try:
        yield
    finally:
        done.set()
        beating.join()
        file.unlink(missing_ok=True)


def _listen(file: Path) -> None:
    # Whose clocks differ does not matter: only that the file's time is another one than before.
    seen, since = 0, time.monotonic()
    while time.monotonic() - since < SILENCE_SECONDS:
        with contextlib.suppress(OSError):
            now = file.stat().st_mtime_ns
            if now != seen:
                seen, since = now, time.monotonic()
        time.sleep(min(BEAT_SECONDS, SILENCE_SECONDS / 10))
    _end(f"behind {file}")


def _watch(parent: psutil.Process) -> None:
    # It knows a process by its id and the time of its start: an id that is given anew does not deceive it.
    while parent.is_running() and parent.status() != psutil.STATUS_ZOMBIE:
        time.sleep(POLL_SECONDS)
    _end(str(parent.pid))


def _end(parent: str) -> None:
    print(f"the process {parent}, which this one works for, is gone: ended", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)  # what is to be cleaned up, is
    time.sleep(CLEAN_UP_SECONDS)
    os._exit(128 + signal.SIGTERM)
