"""Features on disk: whole or absent, bounded, computed once however many processes ask."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from assay.config import RuntimeConfig
from assay.training.feature_store import FeatureStore, cache_folder


def _blocks(rows: int, value: float = 1.0) -> Iterator[np.ndarray]:
    for start in range(0, rows, 3):
        yield np.full((min(3, rows - start), 4), value, np.float32)


def _put(store: FeatureStore, key: str, rows: int = 10, keep: tuple[str, ...] = ()) -> np.ndarray:
    return store.get(key, (rows, 4), np.float32, lambda: _blocks(rows), keep)


def test_an_array_is_computed_once_and_then_read(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "features", 10**6)
    random = np.random.default_rng(0).normal(size=(7, 2, 3)).astype(np.float16)
    first = store.get("a", (7, 2, 3), np.float16, lambda: [random[:5], random[5:]])
    np.testing.assert_array_equal(first, random)
    again = store.get("a", (7, 2, 3), np.float16, lambda: pytest.fail("computed twice"))
    assert isinstance(again, np.memmap)
    np.testing.assert_array_equal(again, random)
    with pytest.raises(ValueError, match="read-only"):
        again[0] = 0


def test_the_least_recently_used_make_way(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, 1000)  # an array of 10 rows has 160 bytes and a header of 128
    for age, key in enumerate(["a", "b", "c"]):
        _put(store, key)
        os.utime(tmp_path / f"{key}.npy", (1000 + age, 1000 + age))
    held = _put(store, "a")  # used: now the youngest
    _put(store, "d")
    assert (store.has("a"), store.has("b"), store.has("c"), store.has("d")) == (True, False, True, True)
    assert store.used() <= 1000
    _put(store, "e", keep=("c",))
    assert store.has("c")
    assert held.sum() == 40, "what is held stays readable"


def test_a_failure_leaves_nothing_half_written(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, 10**6)

    def fail() -> Iterator[np.ndarray]:
        yield np.ones((3, 4), np.float32)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        store.get("a", (10, 4), np.float32, fail)
    with pytest.raises(ValueError, match="10 rows of features were promised"):
        store.get("a", (10, 4), np.float32, lambda: _blocks(6))
    assert list(tmp_path.iterdir()) == []
    assert _put(store, "a").shape == (10, 4)


@pytest.mark.parametrize("content", [b"", b"not an array", None])
def test_damaged_features_are_computed_anew_and_it_is_said(
    tmp_path: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    store = FeatureStore(tmp_path, 10**6)
    _put(store, "a", rows=5)
    if content is not None:
        (tmp_path / "a.npy").write_bytes(content)
    assert _put(store, "a", rows=10).shape == (10, 4)
    assert "damaged features" in capsys.readouterr().out


@pytest.mark.parametrize("place", [130, 200, -1, -10, -25])
def test_a_flipped_bit_is_found_and_the_features_computed_anew(
    tmp_path: Path, place: int, capsys: pytest.CaptureFixture[str]
) -> None:
    store = FeatureStore(tmp_path, 10**6)
    _put(store, "a")
    content = bytearray((tmp_path / "a.npy").read_bytes())
    content[place] ^= 1
    (tmp_path / "a.npy").write_bytes(content)
    assert _put(store, "a").sum() == 40
    assert "damaged features (its checksum is wrong) are computed anew" in capsys.readouterr().out
    store.get("a", (10, 4), np.float32, lambda: pytest.fail("computed twice"))


def _ask(folder: Path, marks: Path) -> None:
    store = FeatureStore(folder, 10**6)

    def compute() -> Iterator[np.ndarray]:
        (marks / str(os.getpid())).touch()
        for block in _blocks(30):
            time.sleep(0.02)
            yield block

    assert float(store.get("a", (30, 4), np.float32, compute).sum()) == 120


def test_processes_that_ask_together_compute_once(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_ask, args=(tmp_path / "features", marks)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert len(list(marks.iterdir())) == 1
    assert [path.name for path in (tmp_path / "features").iterdir()] == ["a.npy"]


def test_what_a_killed_process_left_is_taken_over(tmp_path: Path) -> None:
    program = f"""
        import os, signal
        from pathlib import Path
        import numpy as np
        from assay.training.feature_store import FeatureStore

        def compute():
            yield np.zeros((3, 4), np.float32)
            os.kill(os.getpid(), signal.SIGKILL)

        FeatureStore(Path({str(tmp_path)!r}), 10**6).get("a", (10, 4), np.float32, compute)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == ["a.partial"]
    store = FeatureStore(tmp_path, 10**6)
    assert _put(store, "a").sum() == 40
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_what_a_killed_process_left_makes_way(tmp_path: Path) -> None:
    (tmp_path / "old.partial").write_bytes(b"0" * 900)
    os.utime(tmp_path / "old.partial", (1000, 1000))
    store = FeatureStore(tmp_path, 1000)
    _put(store, "a")
    assert not (tmp_path / "old.partial").exists()


def test_the_folder_follows_config_then_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "environment"))
    assert cache_folder(RuntimeConfig(cache_dir=str(tmp_path / "own"))) == tmp_path / "own" / "features"
    assert cache_folder(RuntimeConfig()) == tmp_path / "environment" / "features"
    monkeypatch.delenv("ASSAY_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder(RuntimeConfig()) == tmp_path / ".cache" / "assay" / "features"


def test_room_is_what_the_limit_and_the_disk_leave(tmp_path: Path) -> None:
    assert FeatureStore(tmp_path / "absent", 5000).room() == 5000
    assert 0 <= FeatureStore(tmp_path, 10**30).room() < 10**30
