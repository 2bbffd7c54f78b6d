"""Why a container ends, in the status of its pod: where people, and the workflow engine, read it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

# The mark of an attempt that no further one can mend: manifests/kubeflow tells the engine of it.
WRONG_INPUT = "wrong input"
# What last words begin with, where they say more than what went wrong.
WRONG, BUG, ENDED = f"{WRONG_INPUT}: ", "a bug, see the log: ", "ended from outside"
# Where Kubernetes takes a container's last words from.
TERMINATION_LOG = Path("/dev/termination-log")
MOST_BYTES = 2048  # half of what the status holds; the engine puts the reason before it


def last_words(message: str) -> None:
    """Write why this container ends, if it is a pod's.

    The first reason stays: what follows from an end, such as a pipe that is closed already, is none.
    """
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        with contextlib.suppress(OSError):
            if not TERMINATION_LOG.stat().st_size:
                TERMINATION_LOG.write_bytes(message.encode()[:MOST_BYTES])
