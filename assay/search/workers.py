"""Several trials at the same time: a chief that owns the oracle, and workers that ask it over gRPC.

The chief is the step's own process. KerasTuner's own chief waits forever for a worker that does not come back, and
looks only every 20 seconds; here it looks after its workers and ends with them. Workers are processes on this machine
or, in ``cluster``, pods; both run ``python -m assay.search.workers SPEC``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from assay.errors import AssayError, InputError
from assay.observability.last_words import last_words
from assay.observability.parent import PARENT_VARIABLE, end_with_parent
from assay.observability.progress import log
from assay.observability.quiet import silence_tensorflow
from assay.observability.resources import visible_gpus
from assay.search.chief import end_at_sigterm, end_with_chief
from assay.search.group import GRACE_SECONDS, MACHINE_FAULT, Poll, WorkerGroup, worker_id

if TYPE_CHECKING:
    from assay.search.oracles import SteadyOracle

LOOPBACK = "127.0.0.1"
POLL_SECONDS = 0.2
ANSWER_SECONDS = 300  # a worker waits so long for the chief; KerasTuner's hour outlives most chiefs
STOP_SECONDS = 5.0
INDEX_VARIABLE = "JOB_COMPLETION_INDEX"  # set by Kubernetes in each pod of an Indexed Job


def serve(oracle: SteadyOracle, group: WorkerGroup, host: str, after_trial: Callable[[], None]) -> None:
    """Answer workers until they have all ended.

    Args:
        oracle: The search's; each of its answers is on disk before it is given.
        group: The workers; they are started and, at the latest at the end, ended.
        host: Address to listen at, which workers can reach.
        after_trial: Called when trials have ended.

    Raises:
        AssayError: No port can be had, or the workers cannot be looked after.
    """
    import grpc
    from keras_tuner.src import protos
    from keras_tuner.src.distribute.oracle_chief import OracleServicer

    # One thread: answers come one after another, and a dead request holds no lock that others wait for.
    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    protos.get_service_grpc().add_OracleServicer_to_server(OracleServicer(oracle), server)
    try:
        port = server.add_insecure_port(f"{host}:0")
    except RuntimeError as error:
        raise AssayError(f"search: no port can be opened at {host} for the workers ({error}).") from error
    server.start()
    seen = -1
    try:
        group.start(host, port)
        while True:
            poll = group.poll()
            for worker, reason in poll.lost.items():
                log(f"search: {worker} is given up: {reason}")
                oracle.give_up(worker, reason)
            if len(oracle.end_order) != seen:
                seen = len(oracle.end_order)
                after_trial()
            if poll.finished:
                return
            if oracle.deadline is not None and time.time() > oracle.deadline + GRACE_SECONDS:
                log("search: the deadline has passed; workers still in an epoch are ended.")
                return
            time.sleep(POLL_SECONDS)
    finally:
        group.stop()
        server.stop(grace=None)


@dataclass
class _Worker:
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    log: Path = field(default_factory=Path)


class LocalWorkers:
    """Workers as processes on this machine, each with its share of the cores and, where there are any, a GPU.

    Args:
        spec_uri: Where the spec of the search is.
        count: Number of workers.
        restarts: Times that each is started again after it died.
        folder: Where their output goes.
    """

    def __init__(self, spec_uri: str, count: int, *, restarts: int, folder: Path) -> None:
        self.ids = tuple(worker_id(index) for index in range(count))
        self.spec_uri = spec_uri
        self.restarts = restarts
        self._address = (LOOPBACK, 0)
        self._workers = {name: _Worker(log=folder / f"{name}.log") for name in self.ids}
        self._lost: set[str] = set()

    def start(self, host: str, port: int) -> None:
        """Start all workers."""
        self._address = (host, port)
        for name in self.ids:
            self._start(name)

    def poll(self) -> Poll:
        """Start dead workers again, or give them up where they die too often or cannot read their input.

        Raises:
            AssayError: The machine has failed a worker: the step ends and is tried again, and no trial is lost for it.
        """
        running, lost = 0, {}
        for name in self.ids:
            worker = self._workers[name]
            code = None if worker.process is None else worker.process.poll()
            if name in self._lost or code == 0:
                continue
            if code is None:
                running += 1
            elif code == MACHINE_FAULT:
                raise AssayError(
                    f"search: {name}: {last_line(worker.log)} Mend it and run the step again: it goes on from here."
                )
            elif code == InputError.exit_code or worker.restarts >= self.restarts:
                self._lost.add(name)
                lost[name] = _reason(code, worker.log)
            else:
                worker.restarts += 1
                log(f"search: {name} died ({_reason(code, worker.log)}); started again")
                self._start(name)
                running += 1
        return Poll(finished=running == 0, lost=lost)

    def stop(self) -> None:
        """End the workers that are left: asked first, then killed."""
        processes = [worker.process for worker in self._workers.values() if worker.process is not None]
        alive = [process for process in processes if process.poll() is None]
        for process in alive:
            process.terminate()
        until = time.monotonic() + STOP_SECONDS
        for process in alive:
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, name: str) -> None:
        host, port = self._address
        worker = self._workers[name]
        environment = {
            **os.environ,
            "KERASTUNER_TUNER_ID": name,
            "KERASTUNER_ORACLE_IP": host,
            "KERASTUNER_ORACLE_PORT": str(port),
            PARENT_VARIABLE: str(os.getpid()),
        }
        gpus = visible_gpus()
        if gpus:
            allowed = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")[:gpus]
            environment["CUDA_VISIBLE_DEVICES"] = allowed[self.ids.index(name) % gpus].strip()
        with worker.log.open("ab") as output:
            worker.process = subprocess.Popen(
                [sys.executable, "-m", "assay.search.workers", self.spec_uri],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
            )


def _reason(code: int, output: Path) -> str:
    """Return how a worker ended, with the last line that it wrote."""
    how = f"killed by signal {-code}" + (", out of memory?" if code == -9 else "") if code < 0 else f"exit code {code}"
    said = last_line(output)[:200]
    return f"{how}: {said}" if said else how


def last_line(output: Path) -> str:
    """Return the last line of a worker's output that says anything."""
    lines = [line for line in output.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def work(spec_uri: str) -> None:
    """Live a worker's life: ask the chief for trials and run them until there are no more.

    ``KERASTUNER_ORACLE_IP`` and ``KERASTUNER_ORACLE_PORT`` say where the chief is, ``KERASTUNER_TUNER_ID`` or, in a
    pod of an Indexed Job, ``JOB_COMPLETION_INDEX`` which worker this is.

    Args:
        spec_uri: Where the spec of the search is.

    Raises:
        InputError: The spec or the dataset cannot be read.
    """
    if INDEX_VARIABLE in os.environ:
        os.environ.setdefault("KERASTUNER_TUNER_ID", worker_id(int(os.environ[INDEX_VARIABLE])))

    from assay.search.spec import SearchSpec

    spec = SearchSpec.read(spec_uri)  # what is wrong with it shows before TensorFlow is loaded

    from keras_tuner.src.distribute import oracle_client

    from assay.data.dataset import Dataset
    from assay.runtime import apply_runtime
    from assay.search.trials import TrialRunner
    from assay.search.tuner import SearchTuner, causes_of_fatal_errors, make_oracle
    from assay.storage.open import is_remote, open_store

    oracle_client.TIMEOUT = ANSWER_SECONDS
    apply_runtime(spec.runtime, spec.seed)
    with tempfile.TemporaryDirectory(prefix="assay-search-") as name:
        scratch = Path(name)
        folder = Path(spec.dataset)
        if is_remote(spec.dataset):
            folder = scratch / "dataset"
            parent, _, last = spec.dataset.rpartition("/")
            open_store(parent).download_dir(last, folder)
        dataset = Dataset.open(folder)
        runner = TrialRunner(spec, dataset)
        # The oracle made here only says what is searched: the tuner asks the chief's in its place.
        with causes_of_fatal_errors():
            SearchTuner(make_oracle(spec, dataset, runner.space), runner, scratch).search()


def main(arguments: list[str]) -> int:
    """Run a worker; return its exit code: 0 no trials are left, 1 it failed, 2 wrong input, 3 the machine failed."""
    if INDEX_VARIABLE in os.environ:
        end_at_sigterm()
        end_with_chief(os.environ["KERASTUNER_ORACLE_IP"], int(os.environ["KERASTUNER_ORACLE_PORT"]))
    silence_tensorflow()
    end_with_parent()
    try:
        work(arguments[0])
    except (AssayError, OSError) as error:
        message = " ".join(str(error).split())
        last_words(message)
        print(message, file=sys.stderr, flush=True)
        return error.exit_code if isinstance(error, InputError) else MACHINE_FAULT
    return 0


if __name__ == "__main__":
    # Threads of TensorFlow and gRPC may outlive the work; nothing of theirs is worth waiting for.
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)
