"""The directory store: locks, leftovers, and what the operating system refuses."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from assay.errors import AssayError, InputError
from assay.storage.files import ObjectNotFound
from assay.storage.local import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def test_reading_makes_nothing(store: LocalStore) -> None:
    assert store.list() == []
    assert not store.exists("x")
    with pytest.raises(ObjectNotFound):
        store.read("x")
    assert not store.directory.exists()


def test_its_own_folder_is_hidden_and_reserved(store: LocalStore) -> None:
    store.write_bytes("x", b"1")
    assert store.list() == ["x"]
    with pytest.raises(InputError, match="the store's own"):
        store.read(".assay/lock")


def test_a_write_under_a_coarse_or_backward_clock_is_still_a_new_generation(store: LocalStore) -> None:
    store.write_bytes("x", b"1")
    future = 2 * 10**18
    os.utime(store.path("x"), ns=(future, future))
    assert store.write_bytes("x", b"2", if_generation=future) > future


def test_a_killed_writer_leaves_the_old_object(store: LocalStore) -> None:
    generation = store.write_bytes("x", b"old")
    code = (
        "import os, signal, pathlib\n"
        "from assay.storage.local import LocalStore\n"
        f"store = LocalStore(pathlib.Path({str(store.directory)!r}))\n"
        "with store._stage('x') as stage, store._lock():\n"
        "    stage.write_bytes(b'new')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert store.read("x").data == b"old"
    assert store.list() == ["x"]
    # The lock died with its owner.
    assert store.write_bytes("x", b"next", if_generation=generation)
    assert [path.name for path in (store.directory / ".assay").iterdir()] == ["lock"], "what it left went as well"


WAITING = """
import pathlib, sys
from assay.storage.local import LocalStore
from assay.storage.objects import GenerationMismatch
store = LocalStore(pathlib.Path(sys.argv[1]))
generation = store.read("x").generation
print("ready", flush=True)
try:
    store.write_bytes("x", b"second", if_generation=generation)
    print("written")
except GenerationMismatch:
    print("mismatch")
"""


def test_the_generation_is_looked_at_under_the_lock(store: LocalStore) -> None:
    store.write_bytes("x", b"old")
    with store._lock():
        command = [sys.executable, "-c", WAITING, str(store.directory)]
        other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        # A writer that did not wait for the lock would be done by now.
        time.sleep(0.3)
        future = 2 * 10**18
        store.path("x").write_bytes(b"first")
        os.utime(store.path("x"), ns=(future, future))
    assert other.communicate()[0] == "mismatch\n"
    assert store.read_bytes("x") == b"first"


def test_a_file_where_a_folder_is_needed(store: LocalStore, tmp_path: Path) -> None:
    store.write_bytes("a", b"")
    with pytest.raises(AssayError, match="a/b"):
        store.write_bytes("a/b", b"")
    with pytest.raises(ObjectNotFound):
        store.read("a/b")
    store.write_bytes("c/d", b"")
    with pytest.raises(ObjectNotFound):
        store.read("c")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        LocalStore(tmp_path / "file")


FULL_DISK = """
import pathlib, resource, signal, sys
from assay.errors import AssayError
from assay.storage.local import LocalStore
store = LocalStore(pathlib.Path(sys.argv[1]))
store.write_bytes("x", b"old")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for action in (
    lambda: store.write_bytes("x", bytes(5000)),
    lambda: store.upload_file(pathlib.Path(sys.argv[2]), "y"),
    lambda: store.download_file("big", pathlib.Path(sys.argv[1]) / "out"),
):
    try:
        action()
    except AssayError as error:
        print(error)
"""


def test_a_disk_that_takes_no_more_is_one_line_and_the_old_object_stays(store: LocalStore, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(bytes(5000))
    store.upload_file(big, "big")
    command = [sys.executable, "-c", FULL_DISK, str(store.directory), str(big)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert len(lines) == 3
    assert all("File too large. Free space or name another place." in line for line in lines)
    assert store.list() == ["big", "x"]
    assert store.read("x").data == b"old"
    assert [path.name for path in (store.directory / ".assay").iterdir()] == ["lock"]


@pytest.mark.skipif(os.geteuid() != 0, reason="changes its user")
def test_a_place_without_permission_is_one_line(store: LocalStore, tmp_path: Path) -> None:
    store.write_bytes("x", b"")
    store.path("x").chmod(0o600)
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents:
        if folder == Path("/tmp"):
            break
        folder.chmod(0o755)
    code = (
        "import os, pathlib, sys\n"
        "from assay.errors import AssayError\n"
        "from assay.storage.local import LocalStore\n"
        "os.setuid(65534)\n"
        f"store = LocalStore(pathlib.Path({str(store.directory)!r}))\n"
        "for action in (lambda: store.read('x'), lambda: store.write_bytes('y', b'')):\n"
        "    try:\n"
        "        action()\n"
        "    except AssayError as error:\n"
        "        print(error)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert out.count("no permission") == 2
