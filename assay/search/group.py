"""What a chief needs of its workers, be they processes or pods: to start them, to look after them, to end them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

# Set in a worker's pod: the node's name.
NODE_VARIABLE = "ASSAY_NODE"
# A worker's exit code where its machine or the storage failed, and not a trial.
MACHINE_FAULT = 3
# After the deadline workers may finish the epoch that they are in.
GRACE_SECONDS = 120.0


@dataclass(frozen=True)
class Poll:
    """How the workers are.

    Args:
        finished: All of them have ended, as they do when the oracle has no more trials.
        lost: Workers that have newly been given up, by id, each with the reason.
    """

    finished: bool
    lost: dict[str, str] = field(default_factory=dict)


class WorkerGroup(Protocol):
    """Workers with stable ids: one that is started again asks under its old id and is given its old trial."""

    ids: tuple[str, ...]

    def start(self, host: str, port: int) -> None:
        """Start all workers; they find the chief at this address."""
        ...

    def poll(self) -> Poll:
        """Look after the workers once: start dead ones again, or give them up."""
        ...

    def stop(self) -> None:
        """End all workers that are left."""
        ...


def worker_id(index: int) -> str:
    """Return the stable id of worker ``index``, counted from 0. KerasTuner takes an id with 'chief' for the chief."""
    return f"worker{index}"
