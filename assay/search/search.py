"""The search step: hyperparameters searched with KerasTuner, the table of trials, and the best trial's model.

A killed search goes on where it stood: its state lies at its location in the run's storage until its outputs are known
to be kept.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from assay.config import Policy, RuntimeConfig, SearchConfig
from assay.data.dataset import DATASET_FILE, Dataset
from assay.errors import AssayError
from assay.observability.progress import Progress, log
from assay.observability.resources import price_per_hour
from assay.search.group import GRACE_SECONDS, WorkerGroup
from assay.search.optimism import search_optimism
from assay.search.results import BEST_FILE, TRIALS_FILE, TrialRow, best_row, epochs_spent, write_csv
from assay.search.spec import SearchSpec
from assay.storage.files import ObjectNotFound, new_file
from assay.storage.objects import ObjectStore
from assay.storage.open import is_remote, open_store
from assay.training.result import TrainingResult

if TYPE_CHECKING:
    from assay.search.ledger import Ledger
    from assay.search.oracles import SteadyOracle
    from assay.search.trials import TrialRunner
    from assay.training.lease import Lease
    from assay.training.result import Trained

PAGE_FILE = "trials.html"
# What changes how a search is run and not what it finds.
NOT_OF_THE_RESULT = ("enabled", "workers", "placement", "worker_restarts", "deadline_minutes", "finish_best")


@dataclass(frozen=True)
class SearchOutcome:
    """What the trials of a search gave.

    Attributes:
        rows: The trials in the order in which they ended.
        remarks: What is to be said of the search.
        budget: Epochs that it might train in all.
        optimism: By how much the best score flatters; None where that is not known.
    """

    rows: Sequence[TrialRow]
    remarks: Sequence[str]
    budget: int
    optimism: float | None

    @property
    def metrics(self) -> dict[str, float]:
        """Counts of trials and epochs, the time of all trials together, and what worker pods have cost.

        Workers that are processes of this machine are measured with the step.
        """
        pods = [row for row in self.rows if row.node]
        price = price_per_hour(workers=True)
        return {
            **({"worker_gpu_seconds": sum(row.seconds * row.gpus for row in pods)} if pods else {}),
            **({"worker_cost": price * sum(row.seconds for row in pods) / 3600} if pods and price is not None else {}),
            "search_trials": len(self.rows),
            "search_failed_trials": sum(not row.completed for row in self.rows),
            "search_epochs": epochs_spent(self.rows),
            "search_budget_epochs": self.budget,
            "train_seconds": sum(row.seconds for row in self.rows),
            **({} if self.optimism is None else {"search_optimism": self.optimism}),
        }


def run_search(
    search: SearchConfig,
    runtime: RuntimeConfig,
    dataset_dir: Path,
    policy: Policy,
    out_dir: Path,
    seed: int,
    storage_root: str,
) -> TrainingResult:
    """Search hyperparameters and write the best trial's model with the table of all trials.

    Args:
        search: What is searched, how, and with how many workers.
        runtime: Precision, threads, XLA; workers share the cores.
        dataset_dir: What preprocess wrote; its training and validation splits are read.
        policy: The augmentation of training images.
        out_dir: Created where missing; gets what `write_result` writes, ``trials.csv``, ``trials.html`` and
            ``best_hyperparameters.json``.
        seed: Of the draws, initial weights, order, augmentation and dropout.
        storage_root: Where the search's state is kept; see `release_checkpoints`.

    Returns:
        The best model's folder, metrics and history.

    Raises:
        InputError: The search does not suit the data.
        AssayError: No trial has a score; the message has the last one's reason.
    """
    from assay.runtime import apply_runtime
    from assay.search.trials import TrialRunner
    from assay.training.checkpoint import place_of_training
    from assay.training.result import write_result

    dataset = Dataset.open(dataset_dir)
    precision = apply_runtime(runtime, seed)
    if _trained_elsewhere(search, storage_root):
        # Each worker finds out what its accelerator computes in; this machine has none.
        precision = runtime.precision
    spec = _spec(search, runtime, dataset, policy, seed, storage_root, precision)
    with place_of_training(spec.location, "search") as lease:
        runner = TrialRunner(spec, dataset)
        for sentence in runner.space.removed:
            log(sentence)
        runner.hypermodel.prepare()
        outcome = _run(spec, dataset, runner, lease)
        best = _best_of(outcome, spec)
        _tell(outcome, best, search.objective)
        result = write_result(_best_model(runner, best, outcome, dataset), dataset, out_dir)
        _write_trials(out_dir, outcome, best, runner)
        return result


def _trained_elsewhere(search: SearchConfig, storage_root: str) -> bool:
    """Return whether worker pods with accelerators train, and this process without one only looks after them."""
    from assay.observability.resources import visible_gpus
    from assay.search.cluster import in_cluster, worker_accelerators

    pods = search.chief_waits and in_cluster() and is_remote(storage_root)
    return pods and not visible_gpus() and worker_accelerators() > 0


def _spec(
    search: SearchConfig,
    runtime: RuntimeConfig,
    dataset: Dataset,
    policy: Policy,
    seed: int,
    storage_root: str,
    precision: str,
) -> SearchSpec:
    """Return what a worker must know of the search, with the place of its state."""
    from assay.training.checkpoint import checkpoint_location

    location = checkpoint_location(
        storage_root,
        "search",
        dataset=dataset.fingerprint,
        config=search.model_dump(mode="json", exclude=set(NOT_OF_THE_RESULT)),
        policy=policy.model_dump(mode="json"),
        seed=seed,
        precision=precision,
    )
    deadline = None if search.deadline_minutes is None else time.time() + 60 * search.deadline_minutes
    # All processes and pods compute as this one does.
    runtime = runtime.model_copy(update={"precision": precision})
    return SearchSpec(search, runtime, policy, str(dataset.root.resolve()), location, seed, deadline)


def _best_of(outcome: SearchOutcome, spec: SearchSpec) -> TrialRow:
    """Return the best trial.

    Raises:
        AssayError: No trial has a score.
    """
    from assay.training.checkpoint import remove_checkpoints

    best = best_row(outcome.rows, spec.search.objective)
    if best is None:
        # Left in place, the failures would end the next try before it begins.
        remove_checkpoints(spec.location)
        reason = outcome.rows[-1].note if outcome.rows else "no trial was begun"
        why = f" ({'; '.join(outcome.remarks)})" if outcome.remarks else ""
        raise AssayError(f"search: none of {len(outcome.rows)} trials has a score{why}. The last one: {reason}")
    return best


def _best_model(runner: TrialRunner, best: TrialRow, outcome: SearchOutcome, dataset: Dataset) -> Trained:
    """Return the best trial's network with its best epoch's weights, trained on where the config asks for that."""
    import keras

    from assay.search.hypermodels import architecture
    from assay.training.result import Trained

    spec = runner.spec
    # Of the trial, which may have been trained on another kind of machine.
    precision = best.precision or str(keras.config.dtype_policy().name)
    keras.config.set_dtype_policy(precision)
    built, history = runner.fit(best, final_epochs(spec.search, best))
    runner.hypermodel.finish(built)
    # The trials that it continues have given their names to its first epochs.
    history.phase = "search"
    for line in history.rows:
        line["phase"] = history.phase
    return Trained(
        model=built.whole,
        model_config=architecture(spec.search, best.values, dataset.input_shape),
        histories=[history],
        config=spec.search,
        policy=spec.policy,
        seed=spec.seed,
        precision=precision,
        weights_hash=runner.hypermodel.weights_hash,
        checkpoints=spec.location,
        extra=outcome.metrics,
    )


def _write_trials(out_dir: Path, outcome: SearchOutcome, best: TrialRow, runner: TrialRunner) -> None:
    """Write the table of trials, its page, and the best hyperparameters."""
    from assay.search.trials_page import write_page

    objective, fields = runner.spec.search.objective, runner.space.fields
    remarks = [*runner.space.removed, *outcome.remarks]
    with new_file(out_dir / TRIALS_FILE) as stage:
        write_csv(stage, outcome.rows, objective, fields)
    with new_file(out_dir / PAGE_FILE) as stage:
        write_page(stage, outcome.rows, objective, fields, outcome.budget, remarks, outcome.optimism)
    with new_file(out_dir / BEST_FILE) as stage:
        stage.write_text(json.dumps(best.values, indent=1) + "\n", encoding="utf-8")


def final_epochs(search: SearchConfig, best: TrialRow) -> int:
    """Return up to which epoch the best trial's model is trained: its own, or all where the config asks for that."""
    ended_by_itself = bool(best.note)  # such as by early stopping
    return best.total_epochs if ended_by_itself or not search.finish_best else search.epochs


def _tell(outcome: SearchOutcome, best: TrialRow, objective: str) -> None:
    values = ", ".join(f"{name} {value}" for name, value in best.values.items())
    log(
        f"search: best {objective} {best.score:.4f} in trial {best.trial} ({values}); "
        f"{len(outcome.rows)} trials, {epochs_spent(outcome.rows)} of {outcome.budget} epochs"
    )
    for remark in outcome.remarks:
        log(f"search: {remark}")


def _run(spec: SearchSpec, dataset: Dataset, runner: TrialRunner, lease: Lease | None) -> SearchOutcome:
    """Run the trials that are left, in this process or by workers, and return all."""
    from assay.search.ledger import Ledger
    from assay.search.tuner import PROJECT, SearchTuner, causes_of_fatal_errors, make_oracle, planned_trials

    search = spec.search
    with tempfile.TemporaryDirectory(prefix="assay-search-") as name:
        scratch = Path(name)
        directory, mirror = _state_folder(spec.location, scratch)

        def take_up() -> tuple[SteadyOracle, SearchTuner]:
            oracle = make_oracle(spec, dataset, runner.space, mirror)
            return oracle, SearchTuner(oracle, runner, directory)

        try:
            oracle, tuner = take_up()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            # Whatever a damaged file of its led KerasTuner to. Trials that have a record are not run again.
            _set_aside(directory / PROJECT, mirror, error)
            oracle, tuner = take_up()
        with Progress("search", total=planned_trials(search), unit="trials") as progress:
            ledger = Ledger(oracle, runner, progress, lease)
            tuner.after_trial = ledger.update
            tuner.save()
            if oracle.end_order:
                log(f"search: continued after {len(oracle.end_order)} trials")
                ledger.update()
            if search.workers == 1 and search.placement != "pods":
                with causes_of_fatal_errors():
                    tuner.search()
            else:
                _search_with_workers(spec, oracle, scratch, ledger)
        remarks = [oracle.ended_because] if oracle.ended_because else []
        rows = ledger.rows()
        return SearchOutcome(rows, remarks, _budget(search), search_optimism(rows, search.objective, dataset))


def _budget(search: SearchConfig) -> int:
    from assay.search.plan import budget_epochs

    if search.tuner == "hyperband":
        return budget_epochs(search.trials, search.epochs, search.budget)
    return search.trials * search.epochs


def _state_folder(location: str, scratch: Path) -> tuple[Path, ObjectStore | None]:
    """Return the local folder of KerasTuner's state, and for remote storage where it is mirrored to."""
    from assay.search.tuner import PROJECT

    if not is_remote(location):
        folder = Path(location)
        folder.mkdir(parents=True, exist_ok=True)
        return folder, None
    with contextlib.suppress(ObjectNotFound):
        open_store(location).download_dir(PROJECT, scratch / PROJECT)
    # KerasTuner takes up a state only where this file of the tuner's is, which has nothing in it.
    if (scratch / PROJECT / "oracle.json").exists():
        (scratch / PROJECT / "tuner0.json").write_text("{}", encoding="utf-8")
    return scratch, open_store(f"{location}/{PROJECT}")


def _set_aside(state: Path, mirror: ObjectStore | None, error: Exception) -> None:
    """Put a state that cannot be read out of the way, so that the search begins anew."""
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    log(f"search: its state at {state if mirror is None else mirror.root} is damaged ({reason}); it draws anew.")
    aside = state.with_name(f"{state.name}.damaged")
    shutil.rmtree(aside, ignore_errors=True)
    state.rename(aside)
    if mirror is not None:
        for name in mirror.list():
            mirror.delete(name)


def _search_with_workers(spec: SearchSpec, oracle: SteadyOracle, scratch: Path, ledger: Ledger) -> None:
    """Own the oracle, and have workers run the trials: pods where they are to be had, else processes."""
    from assay.observability.resources import available_cores
    from assay.search.cluster import ClusterWorkers, in_cluster
    from assay.search.workers import LOOPBACK, LocalWorkers, serve

    search = spec.search
    group: WorkerGroup
    pods = search.placement == "auto" and in_cluster() and is_remote(spec.location)
    if pods or search.placement == "pods":
        spec = replace(spec, dataset=_share_dataset(spec))
        spec.write()
        left = None if spec.deadline is None else max(60, round(spec.deadline - time.time() + GRACE_SECONDS))
        key = spec.location.rpartition("/")[2]
        group = cluster = ClusterWorkers(
            key, search.workers, spec.uri, restarts=search.worker_restarts, deadline_seconds=left
        )
        host = cluster.host
    else:
        # Each process has its share of the cores: its threads would only fight those of the others.
        threads = max(1, (spec.runtime.workers or available_cores()) // search.workers)
        spec = replace(spec, runtime=spec.runtime.model_copy(update={"workers": threads}))
        spec.write()
        group = LocalWorkers(spec.uri, search.workers, restarts=search.worker_restarts, folder=scratch)
        host = LOOPBACK
    serve(oracle, group, host, ledger.update)


def _share_dataset(spec: SearchSpec) -> str:
    """Return an address of the dataset that every pod can read, putting it there where it is not yet.

    A local location is on a volume that the pods mount as this one does, and so is the dataset.
    """
    if not is_remote(spec.location):
        return spec.dataset
    store = open_store(spec.location)
    if not store.exists(f"dataset/{DATASET_FILE}"):
        log("search: the dataset is copied to where worker pods can read it")
        store.upload_dir(Path(spec.dataset), "dataset", marker=DATASET_FILE)
    return store.uri("dataset")
