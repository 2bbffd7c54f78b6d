"""One run of a sweep: a row trained from one seed, on record under a key of all that its outcome depends on."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from assay.config import BaselineConfig, FinetuneConfig, Policy, RuntimeConfig, parse_section
from assay.errors import AssayError, InputError, one_line
from assay.hashing import hash_json, sources_version
from assay.observability.progress import log
from assay.storage.files import read_errors
from assay.storage.open import open_store
from assay.storage.seals import is_intact, sealed
from assay.sweep.spec import Row, Sweep, policy_of

if TYPE_CHECKING:
    from assay.data.dataset import Dataset

SECTIONS: dict[str, type[BaselineConfig] | type[FinetuneConfig]] = {
    "baseline": BaselineConfig,
    "finetune": FinetuneConfig,
}
# What decides the outcome of a run: a change elsewhere, such as in a report, leaves finished runs as they are.
TRAINING_SOURCES = ("training.baseline", "training.finetune")
RECORD_FILE, PREDICTIONS_FILE = "record.json", "validation.npz"
DONE, FAILED = "done", "failed"


@dataclass(frozen=True)
class Job:
    """One row to be trained from one seed.

    Attributes:
        candidate: baseline or finetune.
        section: Its section of the config, as JSON.
        policy: The augmentation policy, as JSON.
        seed: Of initial weights, order, augmentation and dropout.
        precision: The number format asked for.
        deterministic: Whether TensorFlow's deterministic operations are asked for.
    """

    candidate: str
    section: dict[str, Any]
    policy: dict[str, Any]
    seed: int
    precision: str = "auto"
    deterministic: bool = False

    def key(self, dataset_fingerprint: str, weights_hash: str = "") -> str:
        """Return the name of its record: 24 digits of a hash of everything that its outcome depends on.

        Args:
            dataset_fingerprint: Of the data that it trains on.
            weights_hash: Of the pretrained weights, whose path says nothing; empty: it begins with none.
        """
        section = {name: value for name, value in self.section.items() if name not in ("weights", "enabled")}
        content = {**dataclasses.asdict(self), "section": section, "weights": weights_hash}
        content |= {"dataset": dataset_fingerprint, "code": sources_version(*TRAINING_SOURCES)}
        return hash_json(content)[:24]


@dataclass(frozen=True)
class Record:
    """What came of a run.

    Attributes:
        key: See `Job.key`.
        seed: Of the run.
        status: done or failed.
        metrics: Flat names, finite values; empty where it failed.
        note: Why it failed or ended early, in one line.
        probabilities: Of the validation split, float32 (N, K); None where it failed.
    """

    key: str
    seed: int
    status: str
    metrics: dict[str, float] = field(default_factory=dict)
    note: str = ""
    probabilities: npt.NDArray[np.float32] | None = None

    @property
    def done(self) -> bool:
        """Whether there is a model to speak of."""
        return self.status == DONE and self.probabilities is not None


class Records:
    """Runs that have ended, each under its key.

    Args:
        root: A local directory or ``gs://bucket/prefix``.
    """

    def __init__(self, root: str) -> None:
        self._store = open_store(root)

    @classmethod
    def of_storage(cls, storage_root: str) -> Records:
        """Return the runs of all sweeps that share an object storage."""
        return cls(f"{storage_root.rstrip('/')}/sweeps")

    def find(self, key: str) -> Record | None:
        """Return the record of a run that has ended, or None; one that cannot be read is told, and run again."""
        if not self._store.exists(f"{key}/{RECORD_FILE}"):
            return None
        try:
            with read_errors(self._store.uri(key), "The run is done again."):
                values = json.loads(self._store.read_bytes(f"{key}/{RECORD_FILE}"))
                if not is_intact(values):
                    raise InputError(f"{self._store.uri(key)}: its record has changed. The run is done again.")
                fields = {name: values[name] for name in ("key", "seed", "status", "metrics", "note")}
                if values["status"] != DONE:
                    return Record(**fields)
                with np.load(io.BytesIO(self._store.read_bytes(f"{key}/{PREDICTIONS_FILE}"))) as file:
                    return Record(**fields, probabilities=file["probabilities"])
        except InputError as error:
            log(str(error))
            return None

    def keep(self, record: Record, job: Job, history: str = "") -> None:
        """Write a record; it is there when its last file is, so a killed process leaves none.

        Args:
            record: What came of the run.
            job: What was run; it stands beside the result.
            history: The table of epochs, CSV.
        """
        if history:
            self._store.write_bytes(f"{record.key}/history.csv", history.encode())
        if record.probabilities is not None:
            packed = io.BytesIO()
            np.savez_compressed(packed, probabilities=record.probabilities)
            self._store.write_bytes(f"{record.key}/{PREDICTIONS_FILE}", packed.getvalue())
        values = {name: value for name, value in dataclasses.asdict(record).items() if name != "probabilities"}
        text = json.dumps(sealed({**values, "job": dataclasses.asdict(job)}), indent=1, sort_keys=True)
        self._store.write_bytes(f"{record.key}/{RECORD_FILE}", text.encode())


def check_job(job: Job, dataset: Dataset) -> str:
    """Build a job's network for a dataset and take its weights, without training.

    Returns:
        The hash of the pretrained weights; empty for training from scratch.

    Raises:
        InputError: The model or the policy does not suit the data, there is no such layer to unfreeze from, or
            the weights are not the model's.
    """
    from assay.augmentation.warp import check_fits
    from assay.models.catalog import build_model
    from assay.models.transfer import base_index
    from assay.models.weights import load_weights
    from assay.runtime import release_memory

    section = parse_section(SECTIONS[job.candidate], job.section, job.candidate)
    policy = Policy.model_validate(job.policy)
    if dataset.kind == "image":
        height, width, channels = dataset.input_shape
        check_fits(policy, (height, width, channels))
    release_memory()
    model = build_model(
        section.model.name,
        dataset.input_shape,
        dataset.num_classes,
        output=section.model.output,
        options=section.model.options,
        channel_mean=dataset.mean,
        channel_std=dataset.std,
    )
    if not isinstance(section, FinetuneConfig):
        return ""
    if section.unfreeze_from is not None:
        base_index(model, section.unfreeze_from)
    return load_weights(model, section.weights)


def run_job(job: Job, key: str, dataset_dir: Path, work_dir: Path, storage_root: str, runtime: RuntimeConfig) -> Record:
    """Train one row from one seed and keep its record; an interrupted run goes on from its last checkpoint.

    Args:
        job: The run.
        key: Of its record; see `Job.key`.
        dataset_dir: What preprocess wrote; its training and validation splits are read.
        work_dir: For the model while it trains; removed.
        storage_root: Where records and checkpoints are.
        runtime: Threads, XLA; ``precision`` and ``deterministic`` are the job's.

    Returns:
        The record. A loss that is not finite is a result too: the record says so.

    Raises:
        AssayError: The run failed for a reason that the same run need not meet again, such as a full disk.
    """
    from assay.runtime import release_memory
    from assay.training.baseline import train_baseline
    from assay.training.checkpoint import release_checkpoints
    from assay.training.finetune import finetune
    from assay.training.fit import DivergedError

    shutil.rmtree(work_dir, ignore_errors=True)
    release_memory()
    records = Records.of_storage(storage_root)
    runtime = runtime.model_copy(update={"precision": job.precision, "deterministic": job.deterministic})
    section = parse_section(SECTIONS[job.candidate], job.section, job.candidate)
    policy = Policy.model_validate(job.policy)
    try:
        if isinstance(section, FinetuneConfig):
            result = finetune(section, runtime, dataset_dir, policy, work_dir, job.seed, storage_root)
        else:
            result = train_baseline(section, runtime, dataset_dir, policy, work_dir, job.seed, storage_root)
    except DivergedError as error:
        record = Record(key, job.seed, FAILED, note=f"diverged: {one_line(error)}")
        records.keep(record, job)
        return record
    with np.load(result.model_dir / "validation.npz") as file:
        probabilities = file["probabilities"]
    record = Record(key, job.seed, DONE, result.metrics, _ended(result.metrics, section), probabilities)
    records.keep(record, job, (result.model_dir / "history.csv").read_text(encoding="utf-8"))
    release_checkpoints(result.model_dir)
    shutil.rmtree(work_dir, ignore_errors=True)
    return record


def job_of(sweep: Sweep, row: Row, seed: int, resolved: Policy) -> Job:
    """Return the job of a row and a seed.

    Args:
        sweep: What is run.
        row: One of its rows.
        seed: One of its seeds.
        resolved: The policy that the augment step resolved; a row that changes the policy trains with its own.
    """
    runtime = row.config.runtime
    policy = policy_of(row, sweep, resolved).model_dump(mode="json")
    section = sweep.section(row.config).model_dump(mode="json")
    return Job(sweep.spec.candidate, section, policy, seed, runtime.precision, runtime.deterministic)


def failure(job: Job, key: str, error: BaseException) -> Record:
    """Return the record of a run that raised; it is not kept, so that the next sweep tries again."""
    text = one_line(error)
    return Record(key, job.seed, FAILED, note=text if isinstance(error, AssayError) else f"a bug, see the log: {text}")


def _ended(metrics: dict[str, float], section: BaselineConfig | FinetuneConfig) -> str:
    if metrics.get("not_learning"):
        return f"stopped after {metrics['epochs_run']:.0f} epochs: it does not learn"
    planned = section.epochs + (section.frozen.epochs if isinstance(section, FinetuneConfig) else 0)
    if metrics["epochs_run"] < planned:
        return f"ended after {metrics['epochs_run']:.0f} of {planned} epochs"
    return ""
