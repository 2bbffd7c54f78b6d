"""A disk that fills up, turns read-only or takes its permission back at a random instant of a run.

The run is that of `bench.faults.transfers` with everything below a small file system of its own, in a process that has
given up root's rights over files. It has to end with one line; with the disk as before it is called again, and has to
leave what a run without faults leaves. Needs root, to mount.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from assay.errors import AssayError
from bench.faults.races import write_model
from bench.faults.transfers import Wrong, check, draw_source, run_once

Fault = Literal["full", "read-only", "no permission"]
FAULTS: tuple[Fault, ...] = get_args(Fault)
MEGABYTES = 8


@dataclass
class Outcome:
    """What came of runs on a failing disk.

    Attributes:
        faults: That hit a run, by kind.
        right: Runs that in the end left what a run without faults leaves.
        stops: Calls that ended with one line.
        through: Calls that ended well although the fault was there before their end.
        bugs: What else a call ended with.
    """

    faults: Counter[str] = field(default_factory=Counter)
    right: int = 0
    stops: int = 0
    through: int = 0
    bugs: list[str] = field(default_factory=list)


def can_mount(folder: Path) -> bool:
    """Return whether this process may mount a file system at a folder."""
    if os.geteuid() != 0:
        return False
    with contextlib.suppress(subprocess.CalledProcessError, OSError), _disk(folder):
        return True
    return False


@contextlib.contextmanager
def _disk(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={MEGABYTES}m,mode=0755"
    _run("mount", "-t", "tmpfs", "-o", options, "assay-faults", str(folder))
    try:
        yield
    finally:
        _run("umount", "--lazy", str(folder))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@contextlib.contextmanager
def broken(disk: Path, fault: Fault) -> Iterator[None]:
    """Have a disk fail so while the block runs."""
    ballast = disk / "ballast"
    if fault == "full":
        with contextlib.suppress(OSError), ballast.open("wb") as file:
            while True:
                file.write(bytes(4096))
                file.flush()
    elif fault == "read-only":
        # What is open for writing goes on being written to: until it is closed the disk cannot turn.
        for _ in range(200):
            time.sleep(0.002)
            with contextlib.suppress(subprocess.CalledProcessError):
                _run("mount", "-o", "remount,ro", str(disk))
                break
    else:
        (disk / "home").chmod(0)
    try:
        yield
    finally:
        if fault == "read-only":
            _run("mount", "-o", "remount,rw", str(disk))
        (disk / "home").chmod(0o755)
        ballast.unlink(missing_ok=True)


def runs_on_a_failing_disk(folder: Path, runs: int, seed: int = 0) -> Outcome:
    """Do runs that are hit by one fault each, and then called again with the disk as before.

    Args:
        folder: For what is made here.
        runs: How many; kinds of faults in turn.
        seed: Of the instants.
    """
    source, model = draw_source(folder / "images"), write_model(folder / "model", 30_000, seed)
    expected = run_once(str(source), str(folder / "store"), model, folder / "work")
    shutil.rmtree(folder / "work")
    again = time.monotonic()
    run_once(str(source), str(folder / "again"), model, folder / "work")
    seconds, outcome, random_ = time.monotonic() - again, Outcome(), random.Random(seed)
    for number in range(runs):
        fault = FAULTS[number % len(FAULTS)]
        disk = folder / f"disk{number}"
        with _disk(disk):
            home = disk / "home"
            home.mkdir()
            said = _call(source, home, model, expected, (disk, fault, random_.uniform(0, seconds)))
            outcome.faults[fault] += 1
            if said == "right":
                outcome.through += 1
            elif _one_line(said):
                outcome.stops += 1
            else:
                outcome.bugs.append(f"{fault}: {said}")
                continue
            said = _call(source, home, model, expected, None)
            if said == "right":
                try:
                    check(str(home / "store"))
                except (Wrong, AssayError) as wrong:
                    said = f"wrong: {wrong}"
            if said == "right":
                outcome.right += 1
            else:
                outcome.bugs.append(f"after {fault}: {said}")
    return outcome


def _one_line(said: str) -> bool:
    return said.startswith("stopped: ") and "\n" not in said


def _call(
    source: Path, home: Path, model: Path, expected: dict[str, str], fault: tuple[Path, Fault, float] | None
) -> str:
    """Return what a run in a process without rights says at its end: right, stopped and why, or else."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become(source, home, model, expected, writer)
    os.close(writer)
    with contextlib.ExitStack() as stack:
        if fault is not None:
            disk, kind, seconds = fault
            time.sleep(seconds)
            stack.enter_context(broken(disk, kind))
        with os.fdopen(reader, "rb") as file:
            said = file.read().decode()
        _, status = os.waitpid(pid, 0)
    return said or f"ended with {status}"


def _drop_privileges() -> None:
    """Give up what lets root read and write whatever the modes of files say; it stays their owner."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    none = (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(header, none):
        raise OSError(ctypes.get_errno(), "capset")


def _become(source: Path, home: Path, model: Path, expected: dict[str, str], writer: int) -> None:
    said = "nothing"
    try:
        _drop_privileges()
        work = home / "work"
        shutil.rmtree(work, ignore_errors=True)
        found = run_once(str(source), str(home / "store"), model, work)
        said = "right" if found == expected else f"wrong: {set(found.items()) ^ set(expected.items())}"
    except AssayError as error:
        said = f"stopped: {error}"
    except BaseException as error:
        said = f"bug: {type(error).__name__}: {error}"
    finally:
        os.write(writer, said.encode())
        os._exit(0)
