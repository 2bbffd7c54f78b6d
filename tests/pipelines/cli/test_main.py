"""The command line: what it says, and its exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from pipelines.cli.main import app

ROOT = Path(__file__).parents[3]


def assay(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *arguments], cwd=cwd, text=True, capture_output=True, timeout=120
    )


def test_help_imports_nothing_heavy() -> None:
    heavy = ("tensorflow", "keras", "kfp", "cv2", "pandas", "numpy")
    code = f"import sys, pipelines.cli.main; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, check=True)
    assert done.stdout.strip() == "[]"


def paths(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from paths(inner, (*path, name))


@pytest.mark.parametrize("path", list(paths(typer.main.get_command(app))), ids=" ".join)
def test_every_command_says_what_it_does_and_what_each_of_its_options_means(path: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, [*path, "--help"])
    assert done.exit_code == 0, done.output
    command: Any = typer.main.get_command(app)
    for name in path:
        command = command.commands[name]
    assert command.help
    for parameter in command.params:
        assert parameter.help, f"{parameter.name} is not explained"


@pytest.mark.parametrize(
    "arguments",
    [
        ("config", "show", "absent.yaml"),
        ("run", "absent.yaml"),
        ("run", "pipelines/configs/demo.yaml", "--set", "finetune.epoch=3"),
        ("config", "explain", "finetun"),
        ("models", "show", "cnn33"),
        ("models", "show", "cnn3", "--shape", "96 x"),
        ("predict", "x.png", "--format", "xml"),
        ("nonsense",),
    ],
)
def test_wrong_input_ends_with_2_and_no_trace(arguments: tuple[str, ...]) -> None:
    done = assay(*arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("code", [0, 1, 2])
def test_make_ends_with_the_code_of_the_command(tmp_path: Path, code: int) -> None:
    command = tmp_path / "bin" / "assay"
    command.parent.mkdir()
    command.write_text(f"#!/bin/sh\nexit {code}\n", encoding="utf-8")
    command.chmod(0o755)
    asked = ["make", "--silent", f"--old-file={tmp_path}/.run", f"VENV={tmp_path}", "submit", "WAIT=1"]
    (tmp_path / ".run").touch()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}

    def heed_signals() -> None:
        # Tests that a shell runs in the background ignore them, and so would make.
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)

    done = subprocess.run(asked, cwd=ROOT, env=environment, capture_output=True, check=False, preexec_fn=heed_signals)
    assert done.returncode == code


@pytest.mark.parametrize(
    ("given", "asked"),
    [((), 'submit "pipelines/configs/demo.yaml"'), (("SPEC=my.yaml", "WAIT=1"), 'submit "my.yaml" --sweep --wait')],
)
def test_make_submit_takes_a_sweep_where_one_is_given(given: tuple[str, ...], asked: str) -> None:
    command = ["make", "--dry-run", "--silent", "--assume-old=.venv/.run", "submit", *given]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    said = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, check=True).stdout
    assert " ".join(said.splitlines()[-1].partition(" || ")[0].split()) == f".venv/bin/assay {asked}"


def test_errors_are_one_line() -> None:
    done = assay("run", "pipelines/configs/demo.yaml", "--set", "finetune.epoch=3")
    (line,) = done.stderr.strip().splitlines()
    assert "finetune.epoch" in line
    assert "'epochs'" in line
