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


def test_importing_and_using_tensorflow_prints_nothing() -> None:
    done = _run("import assay, tensorflow as tf; tf.matmul(tf.ones((4, 4)), tf.ones((4, 4))); import keras")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_importing_assay_imports_no_tensorflow() -> None:
    assert _run("import assay, assay.config, sys; sys.exit('tensorflow' in sys.modules)").returncode == 0


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
