"""The processes of a local run's steps: how one died that could not say so itself."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

# What Kubeflow's runner prints between the lines of the steps, and the shell of a process that was ended.
RUNNER_LINE = re.compile(
    r'\d\d:\d\d:\d\d\.\d+ - |-{9}|\[KFP Executor |"[^"]*": |[{}\s\]]*,?$|'
    r"(.*: )?(Killed|Segmentation fault|Aborted|Bus error|Illegal instruction|Terminated)( \(core dumped\))?$"
)
# Before a step begins: what it was given, and what the step before it gave.
BEGUN_LINE = re.compile(r"\d\d:\d\d:\d\d\.\d+ - INFO - ")
LOG_BYTES = 64 * 1024
SAID = {
    signal.SIGKILL: (
        "was killed, most often since the machine ran out of memory",
        "Lower batch_size, data.image_size or runtime.workers, or end what else runs, and run again",
    ),
    signal.SIGSEGV: ("crashed with a segmentation fault", "Run again; if it does so again, report it with the log"),
    signal.SIGABRT: ("aborted itself", "Run again; if it does so again, report it with the log"),
    signal.SIGBUS: (
        "met a bus error: a file that it reads has shrunk, or shared memory is full",
        "Make room in /dev/shm and on the disk, and run again",
    ),
    signal.SIGILL: ("met an illegal instruction: TensorFlow was built for another processor", "Install another one"),
    signal.SIGTERM: ("was asked to end", "Run again: it goes on from where it was"),
}


@contextlib.contextmanager
def watched() -> Iterator[list[int]]:
    """Run Kubeflow's local steps as it does, and give a list that gets their exit codes, which it keeps to itself."""
    from kfp.local import subprocess_task_handler as runner

    codes: list[int] = []

    def run(full_command: list[str], env_vars: dict[str, str] | None = None) -> int:
        with subprocess.Popen(
            full_command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            bufsize=1,
            env={**os.environ, **(env_vars or {})},
        ) as process:
            for line in process.stdout or ():
                print(line, end="")
        codes.append(process.returncode)
        return process.returncode

    before, runner.run_local_subprocess = runner.run_local_subprocess, run
    try:
        yield codes
    finally:
        runner.run_local_subprocess = before


def how_it_died(code: int | None, log: Path) -> str:
    """Return how a step ended that said nothing itself, its last line, and the way out, in one line.

    Args:
        code: Of its process, as `subprocess` gives it; None: not known.
        log: The run's log.
    """
    number = 0 if code is None else -code if code < 0 else code - 128
    try:
        found = signal.Signals(number)
    except ValueError:
        said, way_out = f"died with exit code {code}" if code else "died", "Run again; if it does so again, see the log"
    else:
        said, way_out = SAID.get(found, ("died", "Run again; if it does so again, see the log"))
        said = f"{said} (signal {found.name})"
    last = last_line(log)
    return f"{said}{f', after saying: {last}' if last else ''}. {way_out}. The log is in {log}"


def last_line(log: Path) -> str:
    """Return the last line that a step itself printed, or an empty string."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LOG_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
        of_step = itertools.takewhile(lambda line: not BEGUN_LINE.match(line), reversed(lines))
        said = (line.strip() for line in of_step)
        return next((line[:200] for line in said if not RUNNER_LINE.match(line)), "")
    return ""
