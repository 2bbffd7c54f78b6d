"""A process ends with the one that it works for."""

from __future__ import annotations

import subprocess
import sys

import psutil

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
