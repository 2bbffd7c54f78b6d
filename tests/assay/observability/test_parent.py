"""A process ends with the one that it works for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

# The parent starts a shell, the shell the process in question: as Kubeflow's local runner does.
PARENT = """
import os, subprocess, sys
os.environ["ASSAY_PARENT"] = str(os.getpid())
child = 'from assay.observability.parent import end_with_parent; end_with_parent(); print("up", flush=True); input()'
subprocess.Popen(["sh", "-c", f"{sys.executable} -c '{child}'; true"], stdin=subprocess.PIPE).wait()
"""


def test_a_killed_parent_leaves_nothing_behind() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None and parent.stdout.readline() == "up\n"
    family = psutil.Process(parent.pid).children(recursive=True)
    assert len(family) >= 2
    parent.kill()
    parent.wait()
    _, left = psutil.wait_procs(family, timeout=30)
    assert not left


def test_without_a_parent_to_work_for_nothing_is_watched() -> None:
    code = "import threading; from assay.observability.parent import end_with_parent; end_with_parent(); "
    code += "print(threading.active_count())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


LISTENER = """
import sys, threading
from pathlib import Path
from assay.observability import parent
parent.SILENCE_SECONDS = 1.0
parent.CLEAN_UP_SECONDS = 0.5
parent.end_with_parent()
print("up", flush=True)
sys.stdin.read()
"""
BEATER = """
import sys, time
from pathlib import Path
from assay.observability import parent
parent.BEAT_SECONDS = 0.1
with parent.heartbeat(Path(sys.argv[1])):
    print("beats", flush=True)
    sys.stdin.read()
"""


def start(code: str, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables},
    )
    assert process.stdout is not None and process.stdout.readline()
    return process


def test_what_sees_no_process_of_its_parent_ends_with_the_heartbeat(tmp_path: Path) -> None:
    file = tmp_path / "beat"
    beater = start(BEATER, str(file))
    listener = start(LISTENER, ASSAY_HEARTBEAT=str(file))
    with pytest.raises(subprocess.TimeoutExpired):
        listener.wait(timeout=2.5)
    beater.kill()
    beater.wait()
    assert listener.wait(timeout=60) != 0
