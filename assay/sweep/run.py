"""A sweep on this machine: data once, then every row from every seed, one after another in a worker process.

The worker is a process of its own, so that one that is killed for its memory costs a run and not the sweep. What has
ended is on record; a sweep that is started again goes on from there.
"""

from __future__ import annotations

import gc
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from assay.augmentation.policy import POLICY_FILE, load_policy
from assay.config import RunConfig, dump_config
from assay.errors import AssayError, InputError
from assay.hashing import hash_json, sources_version
from assay.observability.parent import PARENT_VARIABLE, end_with_parent
from assay.observability.progress import Progress, log
from assay.observability.quiet import silence_tensorflow
from assay.storage.files import new_file
from assay.sweep.runs import Job, Record, Records, check_job, failure, job_of, run_job
from assay.sweep.spec import Sweep

if TYPE_CHECKING:
    from assay.sweep.table import Table

Result = TypeVar("Result")
# What decides the dataset and the policy of a sweep.
DATA_SOURCES = ("data.ingest", "data.preprocess", "augmentation.augment", "ablation.run")


@dataclass(frozen=True)
class SweepOutcome:
    """What a sweep on this machine left.

    Attributes:
        folder: Holds table.md, table.csv, sweep.html and best.yaml.
        table: All results.
        ran: Runs trained now.
        reused: Runs that were on record.
        failed: Runs that ended without a model.
        left: Runs that were not begun.
    """

    folder: Path
    table: Table
    ran: int
    reused: int
    failed: int
    left: int


class Worker:
    """A process that does one thing after another; where it dies, the next thing gets a new one."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exc: object) -> None:
        self._close()

    def call(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Return what a function of a module gives for arguments that can be pickled; its exceptions are raised.

        Raises:
            AssayError: The process died.
        """
        if self._pool is None:
            # Not forked: TensorFlow does not survive it.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=_begin, initargs=(os.getpid(),))
        try:
            return self._pool.submit(function, *arguments).result()
        except BrokenProcessPool as error:
            self._close()
            raise AssayError("its process was killed, most likely for want of memory") from error

    def _close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


def run_sweep(
    sweep: Sweep, runs_dir: Path, worker: Worker | None = None, deadline: float = math.inf, seeds: int | None = None
) -> SweepOutcome:
    """Run a sweep, or what is left of it, and write its table.

    Args:
        sweep: What is run; paths in its configs are absolute.
        runs_dir: Datasets and tables are kept in ``sweeps/`` below it, records in the config's storage.
        worker: The process that trains; None: one of its own.
        deadline: By ``time.monotonic``: later no run is begun, and the table is of what there is.
        seeds: Train from the first so many seeds alone; None: from all.

    Returns:
        The table, where it is, and how many runs there were.

    Raises:
        InputError: The source, or a network that does not fit it; nothing has been trained then.
        AssayError: The data cannot be prepared.
    """
    if worker is None:
        with Worker() as own:
            return run_sweep(sweep, runs_dir, own, deadline, seeds)
    out = runs_dir / "sweeps" / sweep.spec.name
    out.mkdir(parents=True, exist_ok=True)
    dataset_dir = worker.call(prepare, sweep.base, runs_dir / "sweeps" / "data")
    resolved = load_policy(dataset_dir.parent / "policy")
    log(f"checking the networks of {len(sweep.rows)} rows against the data")
    keys = worker.call(check_rows, sweep, dataset_dir)
    records = Records.of_storage(sweep.base.storage.root)
    found = [[records.find(keys[row.number, seed]) for seed in sweep.spec.seeds] for row in sweep.rows]
    reused = sum(record is not None for of_row in found for record in of_row)
    ran = 0
    with Progress(f"sweep {sweep.spec.name}", total=len(keys), unit="runs") as progress:
        progress.advance(reused)
        # All rows from one seed, then from the next: a sweep that is stopped has compared what it could.
        for place, seed in list(enumerate(sweep.spec.seeds))[:seeds]:
            for row, of_row in zip(sweep.rows, found, strict=True):
                if of_row[place] is not None or time.monotonic() > deadline:
                    continue
                job = job_of(sweep, row, seed, resolved)
                record = _run(worker, job, keys[row.number, seed], dataset_dir, out, sweep.base)
                of_row[place] = record
                ran += 1
                log(f"row {row.number}, seed {seed}: {_said(record)}")
                progress.advance()
            write_tables(sweep, found, dataset_dir, out)
    table = write_tables(sweep, found, dataset_dir, out)
    ended = [record for of_row in found for record in of_row if record is not None]
    return SweepOutcome(out, table, ran, reused, sum(not record.done for record in ended), len(keys) - len(ended))


def prepare(config: RunConfig, folder: Path) -> Path:
    """Ingest, preprocess and augment as a run would, once for all rows and all sweeps on the same data.

    Args:
        config: What every row starts from.
        folder: Where datasets are kept.

    Returns:
        The dataset's folder; the policy lies in ``policy`` beside it.
    """
    from assay.ablation.run import run_ablation
    from assay.augmentation.augment import augment
    from assay.data.ingest import ingest
    from assay.data.preprocess import preprocess

    given = config.data, config.storage.root, folder / "snapshots"
    snapshot = ingest(*given, name=config.name, seed=config.seed)
    content = {"data": config.data.model_dump(mode="json"), "augment": config.augment.model_dump(mode="json")}
    depends = {**content, "seed": config.seed, "snapshot": snapshot.fingerprint}
    place = folder / hash_json({**depends, "code": sources_version(*DATA_SOURCES)})[:16]
    dataset = place / "dataset"
    if not dataset.exists():
        preprocess(config.data, snapshot.snapshot_uri, dataset, config.seed, config.runtime.workers)
    if not (place / "policy" / POLICY_FILE).exists():
        ablate = partial(run_ablation, config=config.augment.ablation, seed=config.seed, runtime=config.runtime)
        augment(config.augment, dataset, place / "policy", config.seed, ablate=ablate)
    return dataset


def check_rows(sweep: Sweep, dataset_dir: Path) -> dict[tuple[int, int], str]:
    """Build every row's network for the data, and return the key of each run by row and seed.

    Raises:
        InputError: Naming the row whose network, policy or weights do not fit.
    """
    from assay.data.dataset import Dataset

    dataset = Dataset.open(dataset_dir)
    resolved = load_policy(dataset_dir.parent / "policy")
    keys: dict[tuple[int, int], str] = {}
    checked: dict[str, str] = {}
    for row in sweep.rows:
        jobs = {seed: job_of(sweep, row, seed, resolved) for seed in sweep.spec.seeds}
        section = sweep.section(row.config)
        parts = [section.model.model_dump(mode="json"), getattr(section, "unfreeze_from", None)]
        parts += [getattr(section, "weights", None), row.config.augment.policy.model_dump(mode="json")]
        same = hash_json(parts)
        if same not in checked:
            try:
                checked[same] = check_job(next(iter(jobs.values())), dataset)
            except InputError as error:
                raise InputError(f"row {row.number}: {error}") from error
            # A network holds itself in a cycle, and the largest would stay beside all that are trained.
            gc.collect()
        for seed, job in jobs.items():
            keys[row.number, seed] = job.key(dataset.fingerprint, checked[same])
    return keys


def write_tables(sweep: Sweep, found: Sequence[Sequence[Record | None]], dataset_dir: Path, out: Path) -> Table:
    """Write table.md, table.csv, sweep.html and, where there is a best row, best.yaml.

    Args:
        sweep: What is run.
        found: For each row the record of each seed; None: not run yet.
        dataset_dir: What all train on.
        out: Where to.
    """
    from assay.data.dataset import Dataset
    from assay.sweep.table import tabulate, to_csv, to_markdown
    from assay.sweep.table_page import to_page

    ended = [[record for record in of_row if record is not None] for of_row in found]
    table = tabulate(sweep, ended, Dataset.open(dataset_dir))
    texts = {"table.md": to_markdown(table), "table.csv": to_csv(table), "sweep.html": to_page(table)}
    if table.best is not None:
        texts["best.yaml"] = dump_config(table.best.row.config)
    for name, text in texts.items():
        with new_file(out / name) as stage:
            stage.write_text(text, encoding="utf-8")
    return table


def _run(worker: Worker, job: Job, key: str, dataset_dir: Path, out: Path, config: RunConfig) -> Record:
    try:
        return worker.call(run_job, job, key, dataset_dir, out / "model", config.storage.root, config.runtime)
    except Exception as error:  # whatever one row dies of, the others are run
        return failure(job, key, error)


def _said(record: Record) -> str:
    if not record.done:
        return f"failed: {record.note}"
    seconds = record.metrics["train_seconds"]
    aside = f"; {record.note}" if record.note else ""
    return f"validation AUC {record.metrics.get('val_auc', float('nan')):.4f} in {seconds:.0f} s{aside}"


def _begin(parent: int) -> None:
    """Prepare a worker: quiet, and gone when its parent is."""
    silence_tensorflow()
    os.environ[PARENT_VARIABLE] = str(parent)
    end_with_parent()
