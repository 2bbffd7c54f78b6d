"""TensorFlow's start-up noise does not reach the user."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from assay.observability import quiet


def _run(code: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key not in quiet.SETTINGS}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)


USE = "import tensorflow as tf; tf.matmul(tf.ones((4, 4)), tf.ones((4, 4))); import keras"


def test_importing_and_using_tensorflow_prints_nothing_once_it_is_silenced() -> None:
    done = _run(f"from assay.observability.quiet import silence_tensorflow; silence_tensorflow(); {USE}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("module", ["pipelines.cli", "assay.search.workers", "bench"])
def test_a_program_of_assay_is_silent_whenever_it_comes_to_tensorflow(module: str) -> None:
    # Wrong input ends each before it has loaded anything; what it has set up for its process is there by then.
    program = f"""
import contextlib, io, runpy, sys
sys.argv = [{module!r}, "absent"]
with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(SystemExit):
    if {module!r} == "assay.search.workers":  # as a program it would take this process with it
        import assay.search.workers
        assay.search.workers.main(["absent"])
    else:
        runpy.run_module({module!r}, run_name="__main__")
{USE}
"""
    done = _run(program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_importing_assay_changes_nothing_of_the_process_that_does_it() -> None:
    # What numpy and OpenCV do to warnings and to the linker's path is theirs.
    program = """
import logging, os, signal, sys
def state():
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    logged = list(logging.getLogger().handlers)
    return dict(os.environ), list(sys.meta_path), sys.excepthook, os.getcwd(), handlers, logged
before = state()
import assay, assay.config, assay.steps, assay.registry.versions, assay.search.workers, assay.observability.quiet
assert state() == before
assert not {"tensorflow", "keras"} & set(sys.modules)
"""
    done = _run(program)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_the_user_has_set_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    quiet.silence_tensorflow()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"


def test_swallowed_lines_are_shown_where_the_block_fails(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ImportError), quiet.silent_stderr():
        os.write(2, b"libcuda is of another version\n")
        raise ImportError("no tensorflow")
    with quiet.silent_stderr():
        os.write(2, b"oneDNN custom operations are on\n")
    assert capfd.readouterr().err == "libcuda is of another version\n"
