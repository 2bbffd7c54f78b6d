"""Leases: one training at a place at a time, whoever is killed, in a directory and in object storage."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from assay.errors import AssayError
from assay.storage.open import open_store
from assay.training import lease as leases
from assay.training.lease import LEASE_FILE, hold_lease

HOLDER = """
import sys, time
from assay.training import lease
lease.RENEW_SECONDS = 0.1
with lease.hold_lease(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture(params=["local", "gcs"])
def location(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place in a directory, and in a bucket of a real server."""
    monkeypatch.setattr(leases, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.1)
    return f"{tmp_path}/place" if request.param == "local" else f"{request.getfixturevalue('gcs_root')}/place"


@pytest.fixture
def holder(location: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lease."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, location], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_who_comes_second_waits_and_says_for_whom(
    location: str, holder: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with hold_lease(location, wait=False) as lease:
        assert lease is None
    got = threading.Event()

    def wait() -> None:
        with hold_lease(location):
            got.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert not got.wait(0.7), "the holder lives and renews"
    holder.kill()
    holder.wait()
    waiting.join(20)
    assert got.is_set(), "a killed holder of this machine is not waited for any longer"
    said = capsys.readouterr().out
    assert f"{location}: the same is being trained already (process {holder.pid} on " in said
    assert said.count("\n") == 1


def test_a_lease_that_has_ended_is_free(location: str) -> None:
    for _ in range(2):
        with hold_lease(location, wait=False) as lease:
            assert lease is not None
            lease.check()


def test_a_place_removed_under_a_waiting_run_is_made_anew(tmp_path: Path) -> None:
    place = tmp_path / "place"
    got: list[bool] = []

    def wait() -> None:
        with hold_lease(str(place)):
            got.append((place / LEASE_FILE).exists())

    with hold_lease(str(place)):
        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.3)
        shutil.rmtree(place)
    waiting.join(20)
    assert got == [True]


def test_an_object_that_nobody_renews_is_taken_over_and_its_holder_is_told(
    gcs_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(leases, "LEASE_SECONDS", 0.5)
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.1)
    store = open_store(gcs_root)
    elsewhere = {"host": "another-pod", "pid": 1, "begun": 0.0, "since": "10:00:00"}
    store.write_bytes(LEASE_FILE, json.dumps(elsewhere).encode())
    begun = time.monotonic()
    with hold_lease(gcs_root) as lease:
        assert lease is not None and time.monotonic() - begun >= 0.5
        lease.check()
        # Another one takes it over, as if this process had been paused for long.
        store.write_bytes(LEASE_FILE, json.dumps(elsewhere).encode())
        assert lease.lost.wait(20)
        with pytest.raises(AssayError, match="another process has taken over this training"):
            lease.check()
    assert json.loads(store.read_bytes(LEASE_FILE)) == elsewhere, "what is another's is left alone"
