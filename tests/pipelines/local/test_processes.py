"""Steps as processes: how one that died is told, and that none outlives the run."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.local.processes import how_it_died, last_line, watched


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGKILL, "was killed, most often since the machine ran out of memory (signal SIGKILL)"),
        (signal.SIGSEGV, "crashed (segmentation fault) (signal SIGSEGV)"),
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
    log.write_text("loss 0.3\n12:00:00.123 - ERROR - Task 'baseline' finished with status FAILURE\n}\n\n")
    assert last_line(log) == "loss 0.3"


@pytest.mark.skipif(sys.platform != "linux", reason="parent-death signals are Linux's")
def test_a_step_ends_with_a_run_that_is_killed(tmp_path: Path) -> None:
    at = str(tmp_path / "pid")
    step = (
        "import os, signal, time; from assay.observability.parents import end_with_parent; "
        f"end_with_parent(signal.SIGTERM); open({at!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    )
    run = (
        "from pipelines.local.processes import watched\n"
        "from kfp.local import subprocess_task_handler as runner\n"
        f"command = ['sh', '-c', {sys.executable!r} + ' -c \"$0\"; exit $?', {step!r}]\n"
        "with watched(): runner.run_local_subprocess(command)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", run], cwd=Path(__file__).parents[3], stdout=subprocess.DEVNULL)
    try:
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            assert process.poll() is None
            time.sleep(0.05)
        pid = int((tmp_path / "pid").read_text())
    finally:
        process.kill()
        process.wait()
    for _ in range(400):
        if not _alive(pid):
            return
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the step was left behind")


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
