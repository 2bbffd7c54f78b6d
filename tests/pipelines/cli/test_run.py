"""``assay run``: names of every kind, a full disk and an interrupt end in one line, never in a trace."""

from __future__ import annotations

import functools
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[3]
TINY = (
    "version: 1\nname: tiny\n"
    'data: {source: "demo://tissue?images=120&size=16&slides=24&difficulty=0.2", image_size: [16, 16]}\n'
    "baseline: {model: {name: compact}, epochs: 1}\nsearch: {enabled: false}\nfinetune: {enabled: false}\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(TINY, encoding="utf-8")
    return tmp_path


def start(folder: Path, *arguments: str | bytes, before: Callable[[], object] | None = None) -> subprocess.Popen[str]:
    def prepare() -> None:
        # Tests that a shell runs in the background ignore interrupts, and so would this process.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if before is not None:
            before()

    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", "run", "tiny.yaml", *arguments],
        cwd=folder,
        # Coverage would write its own file at the end, which a full disk does not take.
        env={name: value for name, value in os.environ.items() if not name.startswith("COV")}
        | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "COLUMNS": "200"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=prepare,
    )


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Return what a run said; it leaves nothing running behind."""
    try:
        return process.communicate(timeout=300)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def test_a_source_with_brackets_and_emoji_in_its_name_is_read_by_the_step_and_shown_as_it_is(folder: Path) -> None:
    source = folder / "a [bold]b[/b] :smile: 😀" / "one class"
    source.mkdir(parents=True)
    for number in range(4):
        Image.fromarray(np.full((16, 16, 3), 40 * number, np.uint8)).save(source / f"{number}.png")
    process = start(folder, "--data", str(source.parent))
    said, complaint = ended(process)
    assert process.returncode == 2
    (line,) = complaint.splitlines()
    assert line.startswith("error: ")
    assert str(source.parent) in said
    assert str(source.parent) in line


def test_a_source_whose_name_is_no_text_is_refused_in_one_line(folder: Path) -> None:
    process = start(folder, "--data", os.fsencode(folder) + b"/\xff")
    _, complaint = ended(process)
    assert process.returncode == 2
    (line,) = complaint.splitlines()
    assert "not UTF-8" in line


def test_a_disk_that_is_full_ends_a_run_in_one_line(folder: Path) -> None:
    # A limit on the size of files is met as a full disk is: in the middle of a write.
    process = start(folder, before=functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (1000, 1000)))
    _, complaint = ended(process)
    assert process.returncode == 1
    (line,) = complaint.splitlines()
    assert line.startswith("error: ")
    assert "Free some space" in line


def test_an_interrupt_says_that_the_same_command_goes_on(folder: Path) -> None:
    process = start(folder)
    assert process.stdout is not None
    while "ingest" not in process.stdout.readline():
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    _, complaint = ended(process)
    assert process.returncode == 1
    assert complaint.splitlines()[-1] == "stopped. The same command goes on from where it was."
    assert "Traceback" not in complaint
