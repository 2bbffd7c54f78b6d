"""A process that ends with the one that it works for, however that ends: killed, too, it would else train on alone."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import psutil

PARENT_VARIABLE = "ASSAY_PARENT"
POLL_SECONDS, CLEAN_UP_SECONDS = 1.0, 10.0


def end_with_parent() -> None:
    """End this process within a second or two of the one whose id ``ASSAY_PARENT`` holds; without it do nothing.

    The shell that Kubeflow's local runner puts between the two stays when its own parent is killed, so the kernel's
    signal at the parent's death would not arrive.
    """
    text = os.environ.get(PARENT_VARIABLE, "")
    if not text.isdigit() or int(text) == os.getpid():
        return
    try:
        parent = psutil.Process(int(text))
    except psutil.NoSuchProcess:
        _end(text)
        return
    threading.Thread(target=_watch, args=(parent,), name="parent", daemon=True).start()


def _watch(parent: psutil.Process) -> None:
    # It knows a process by its id and the time of its start: an id that is given anew does not deceive it.
    while parent.is_running() and parent.status() != psutil.STATUS_ZOMBIE:
        time.sleep(POLL_SECONDS)
    _end(str(parent.pid))


def _end(parent: str) -> None:
    print(f"process {parent}, which this one works for, is gone: ended", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)  # what is to be cleaned up, is
    time.sleep(CLEAN_UP_SECONDS)
    os._exit(128 + signal.SIGTERM)
