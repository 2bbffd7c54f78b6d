"""A worker ends with its chief, and at once where it is asked to."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys

CODE = """
import sys, threading
from assay.search import chief
chief.LOOK_SECONDS, chief.PATIENCE_SECONDS = 0.05, 0.5
chief.end_at_sigterm()
chief.end_with_chief("127.0.0.1", int(sys.argv[1]))
print("ready", flush=True)
threading.Event().wait()
"""


def worker(port: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, str(port)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_worker_lives_while_its_chief_answers_and_ends_when_it_does_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        process = worker(server.getsockname()[1])
        for _ in range(20):  # twice its patience
            server.accept()[0].close()
        assert process.poll() is None
    _, said = process.communicate(timeout=60)
    assert process.returncode == 3, "what ends the whole Job: its pods are not started again"
    assert "has not answered" in said


def test_a_worker_ends_at_sigterm_whatever_it_waits_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        process = worker(server.getsockname()[1])
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 128 + signal.SIGTERM
    process.communicate()
