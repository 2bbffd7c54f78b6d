"""Many processes that change one champion at a time: what each saw and did, and whether it can have been so.

A history is linearizable where its operations can be put in an order, each somewhere between its call and its return,
in which every one of them is right (Herlihy and Wing, 1990). The search for that order is Wing's and Gong's (1993).
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from assay.hashing import hash_file
from assay.models.info import INFO_FILE, KERAS_FILE, SAVED_MODEL_DIR, ModelInfo
from assay.registry.versions import ChampionChanged, ModelRegistry
from assay.storage.open import open_store

NAME = "contested"


@dataclass(frozen=True)
class Operation:
    """One thing that a process did.

    Attributes:
        call: When it began, nanoseconds of the machine's monotonic clock.
        back: When it ended.
        kind: read, or a swap that was done or refused.
        expected: Of a swap, the change that it was to follow; None: there was no champion.
        value: What a read saw, and what a swap wrote.
    """

    call: int
    back: int
    kind: Literal["read", "swapped", "refused"]
    expected: str | None
    value: str | None

    def fits(self, state: str | None) -> bool:
        """Return whether a register that holds ``state`` can have answered so."""
        if self.kind == "read":
            return self.value == state
        return (self.expected == state) == (self.kind == "swapped")


def linearizable(history: Sequence[Operation], state: str | None = None) -> bool:
    """Return whether operations on a register that held ``state`` can have happened one after another.

    What changes nothing is put into the order as soon as it fits: it stands in nobody's way there. So only the order of
    swaps is searched.
    """
    seen: set[tuple[frozenset[int], str | None]] = set()
    stack = [(frozenset(range(len(history))), state)]
    while stack:
        left, state = stack.pop()
        while left:
            latest = min(history[number].back for number in left)
            ready = [number for number in left if history[number].call <= latest and history[number].fits(state)]
            idle = [number for number in ready if history[number].kind != "swapped"]
            if not idle:
                break
            left -= frozenset(idle)
        else:
            return True
        for number in ready:
            then = (left - {number}, history[number].value)
            if then not in seen:
                seen.add(then)
                stack.append(then)
    return False


def write_model(folder: Path, size: int, seed: int) -> Path:
    """Write the files of a model, of random bytes: the registry keeps them and does not run them."""
    folder.mkdir(parents=True)
    (folder / KERAS_FILE).write_bytes(random.Random(seed).randbytes(size))
    (folder / SAVED_MODEL_DIR).mkdir()
    (folder / SAVED_MODEL_DIR / "saved_model.pb").write_bytes(random.Random(seed + 1).randbytes(size))
    info = ModelInfo(name="cnn", classes=("a", "b"), input_shape=(8, 8, 3), sha256=hash_file(folder / KERAS_FILE))
    (folder / INFO_FILE).write_text(info.model_dump_json())
    return folder


def contend(root: str, versions: Sequence[str], swaps: int, seed: int) -> list[Operation]:
    """Read the champion and swap it, with pauses in between, until so many swaps were tried; return what happened."""
    random_, registry, history = random.Random(seed), ModelRegistry(open_store(root), NAME), []
    for _ in range(swaps):
        call = time.monotonic_ns()
        champion = registry.champion()
        seen = champion.change.id if champion else None
        history.append(Operation(call, time.monotonic_ns(), "read", None, seen))
        time.sleep(random_.choice((0, 0, 0.001, 0.05)))
        call = time.monotonic_ns()
        try:
            change = registry.set_champion(random_.choice(versions), champion, reason=f"process {os.getpid()}")
        except ChampionChanged:
            history.append(Operation(call, time.monotonic_ns(), "refused", seen, None))
        else:
            history.append(Operation(call, time.monotonic_ns(), "swapped", seen, change.id))
    return history


@dataclass(frozen=True)
class Race:
    """What came of a race.

    Attributes:
        processes: How many took part.
        paused: How often one of them was stopped in the middle of something and went on later.
        operations: Reads and swaps.
        swapped: Swaps that were done.
        refused: Swaps that were refused.
        linearizable: Whether it can have been so.
        recorded: Whether the registry's own record holds exactly the swaps that were done, in one chain.
    """

    processes: int
    paused: int
    operations: int
    swapped: int
    refused: int
    linearizable: bool
    recorded: bool


def race(root: str, folder: Path, processes: int, swaps: int, seed: int = 0) -> Race:
    """Let processes contend for the champion of a model in a store, and stop some of them for a while again and again.

    Args:
        root: Of an empty store.
        folder: For models and histories.
        processes: How many.
        swaps: That each tries.
        seed: Of their pauses.
    """
    registry = ModelRegistry(open_store(root), NAME)
    versions = [registry.publish(write_model(folder / f"model{n}", 2000, n), {}).version for n in range(3)]
    context = multiprocessing.get_context("fork")

    def child(number: int) -> None:
        history = contend(root, versions, swaps, seed * 1000 + number)
        (folder / f"{number}.json").write_text(json.dumps([asdict(operation) for operation in history]))

    children = [context.Process(target=child, args=(number,)) for number in range(processes)]
    for one in children:
        one.start()
    random_, paused = random.Random(seed), 0
    while any(one.is_alive() for one in children):
        one = random_.choice(children)
        if one.is_alive() and one.pid is not None:
            os.kill(one.pid, signal.SIGSTOP)
            time.sleep(random_.uniform(0.005, 0.1))
            os.kill(one.pid, signal.SIGCONT)
            paused += 1
        time.sleep(0.01)
    for one in children:
        one.join()
        if one.exitcode:
            raise RuntimeError(f"a process of the race ended with {one.exitcode}")
    history = [Operation(**each) for path in folder.glob("*.json") for each in json.loads(path.read_text())]
    done = {operation.value: operation.expected for operation in history if operation.kind == "swapped"}
    chain = registry.history()
    links = [None, *(change.id for change in chain)]
    return Race(
        processes=processes,
        paused=paused,
        operations=len(history),
        swapped=len(done),
        refused=sum(operation.kind == "refused" for operation in history),
        linearizable=linearizable(history),
        recorded={change.id: before for change, before in zip(chain, links[:-1], strict=True)} == done
        and [change.sequence for change in chain] == list(range(1, len(chain) + 1)),
    )
