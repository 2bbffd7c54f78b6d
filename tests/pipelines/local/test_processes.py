"""Steps as processes: how one that died is told."""

from __future__ import annotations

import contextlib
import signal
import sys
from pathlib import Path

import pytest

from pipelines.local.processes import how_it_died, last_line, watched


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGKILL, "was killed, most often since the machine ran out of memory (signal SIGKILL)"),
        (signal.SIGSEGV, "crashed with a segmentation fault (signal SIGSEGV)"),
    ],
)
def test_a_step_that_died_is_told_with_its_signal_and_last_line(
    tmp_path: Path, number: signal.Signals, said: str
) -> None:
    from kfp.local import subprocess_task_handler as runner

    log = tmp_path / "run.log"
    code = f"import os; print('epoch 3 of 9', flush=True); os.kill(os.getpid(), {int(number)})"
    with watched() as codes, log.open("w") as file, contextlib.redirect_stdout(file):
        print("12:00:00.123 - INFO - Executing task 'baseline'", flush=True)
        # As Kubeflow's commands are: a shell around Python.
        runner.run_local_subprocess(["sh", "-c", f'{sys.executable} -c "$0"; exit $?', code])
    told = how_it_died(codes[-1], log)
    assert told.startswith(f"{said}, after saying: epoch 3 of 9. ")
    assert str(log) in told


def test_a_step_that_ended_with_a_code_is_told_with_it(tmp_path: Path) -> None:
    assert how_it_died(3, tmp_path / "absent").startswith("died with exit code 3. Run again")


def test_what_the_runner_prints_is_no_last_line(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    around = ["Segmentation fault (core dumped)", "12:00:00.123 - ERROR - Task 'baseline' FAILURE", "}", "-" * 80]
    log.write_text("\n".join(["    loss 0.3", '    "outputFile": "/tmp/x"', *around]), encoding="utf-8")
    assert last_line(log) == "loss 0.3"
    log.write_text("of the step before\n12:00:00.123 - INFO - Executing task 'baseline'\n}\n", encoding="utf-8")
    assert last_line(log) == ""
