"""A worker's end with its chief, however that ends, and at once where it is asked to end."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time

from assay.observability.last_words import last_words
from assay.search.group import MACHINE_FAULT

LOOK_SECONDS = 5.0
# A chief that answers no connection for so long is gone: its pod may end before its Job is deleted.
PATIENCE_SECONDS = 40.0


def end_with_chief(host: str, port: int) -> None:
    """End this process within a minute of its chief.

    A call to a dead chief is tried again for minutes, with an accelerator in hand, and a worker that fails is started
    again by its Job. The exit code ends the Job.

    Args:
        host: The chief's address.
        port: Its port.
    """
    threading.Thread(target=_watch, args=(host, port), name="chief", daemon=True).start()


def _watch(host: str, port: int) -> None:
    heard = time.monotonic()
    while time.monotonic() - heard < PATIENCE_SECONDS:
        try:
            with socket.create_connection((host, port), timeout=LOOK_SECONDS):
                heard = time.monotonic()
        except OSError:
            pass
        time.sleep(LOOK_SECONDS)
    message = f"the chief at {host}:{port} has not answered for {PATIENCE_SECONDS:.0f} s: this worker ends"
    last_words(message)
    print(message, file=sys.stderr, flush=True)
    os._exit(MACHINE_FAULT)


def end_at_sigterm() -> None:
    """End this process at once at SIGTERM, whatever it computes.

    The first process of a container gets no signal that it has no handler for: it would hold its accelerator until it
    is killed half a minute later. Python runs handlers between instructions of its main thread, which may be a long way
    off within a library; so a thread waits for the signal. Call it before other threads are started.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def wait() -> None:
        signal.sigwait({signal.SIGTERM})
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=wait, name="sigterm", daemon=True).start()
