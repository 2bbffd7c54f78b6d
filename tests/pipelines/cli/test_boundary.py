"""The outer edge of the command line: one line and an exit code, whatever a command raises."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest

from assay.errors import AssayError, InputError
from pipelines.cli.boundary import bounded


def ended(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Raise an error inside the boundary and return the exit code and the line."""

    def program() -> None:
        raise error

    with pytest.raises(SystemExit) as stopped:
        bounded(program)
    (line,) = capsys.readouterr().err.splitlines()
    assert isinstance(stopped.value.code, int)
    return stopped.value.code, line


def test_a_users_error_is_its_own_line_and_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(InputError("a.yaml: wrong."), capsys) == (2, "error: a.yaml: wrong.")
    assert ended(AssayError("it failed."), capsys) == (1, "error: it failed.")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "runs/x/run.log"),
            "no space left on the disk for runs/x/run.log",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "Free some space and run again"),
        (PermissionError(errno.EACCES, "Permission denied", "/root/x"), "/root/x: no permission. Change"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "out"), "out: Is a directory"),
        (MemoryError(), "out of memory"),
    ],
)
def test_what_the_machine_lacks_is_named_with_the_way_out(
    error: Exception, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, line = ended(error, capsys)
    assert code == 1
    assert said in line
    assert "bug" not in line


def test_anything_else_is_a_bug_whose_trace_is_kept_and_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code, line = ended(KeyError("shards\nof nothing \udcff"), capsys)
    assert code == 1
    assert line.startswith("error: a bug: KeyError: ")
    (log,) = tmp_path.iterdir()
    assert str(log) in line
    kept = log.read_text(encoding="utf-8")
    assert "Traceback" in kept
    assert "raise error" in kept


def test_a_bug_on_a_full_disk_still_says_where_it_came_from(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    _, line = ended(ZeroDivisionError("division by zero"), capsys)
    assert re.search(rf"It came from {re.escape(__file__)}:\d+", line)
