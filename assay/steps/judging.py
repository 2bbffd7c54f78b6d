"""The steps that judge: evaluate the candidates on the test split, and promote the best where it beats the champion."""

from __future__ import annotations

import itertools
import json
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from assay.config import EvaluateConfig, PromoteConfig, RuntimeConfig
from assay.observability.progress import emit
from assay.steps.frame import StepRecord, finite, parse, step, write_marker

if TYPE_CHECKING:
    from assay.evaluation.evaluate import EvaluationResult
    from assay.registry.versions import ModelRegistry


def evaluate(
    *,
    evaluate: str,
    runtime: str,
    seed: int,
    dataset_path: str,
    candidates: dict[str, str | None],
    name: str,
    storage_root: str,
    evaluation_path: str,
    report_path: str,
    leaderboard_path: str,
    classification_path: str,
    scores_path: str,
) -> StepRecord:
    """Judge the candidates on the test split.

    Where results go to object storage, the best model goes there now, below the model's name: promote makes a version
    of it without another copy.
    """
    from assay.data.dataset import Dataset
    from assay.evaluation.evaluate import evaluate as run
    from assay.registry.versions import ModelRegistry
    from assay.storage.open import open_store

    trained = {name: path for name, path in candidates.items() if path}
    models = {f"model of {name}": path for name, path in trained.items()}
    with step("evaluate", inputs={"dataset": dataset_path, **models}, storage_root=storage_root) as record:
        config = parse(EvaluateConfig, evaluate)
        record.metadata["evaluate"] = config.fingerprint()
        folders = {name: Path(path) for name, path in trained.items()}
        out = Path(evaluation_path)
        registry, machine = ModelRegistry(open_store(storage_root), name), parse(RuntimeConfig, runtime)
        result = run(config, Path(dataset_path), folders, out, seed, machine, registry.looks())
        _keep(registry, storage_root, out, folders.values())
        record.metadata.update(Dataset.open(Path(dataset_path)).identity)
        _show(record, result, out, (report_path, leaderboard_path, classification_path, scores_path))
    return record


def evaluate_folds(
    *,
    evaluate: str,
    runtime: str,
    seed: int,
    dataset_path: str,
    candidates: dict[str, list[str] | None],
    name: str,
    storage_root: str,
    evaluation_path: str,
    report_path: str,
    leaderboard_path: str,
    classification_path: str,
    scores_path: str,
) -> StepRecord:
    """Judge candidates that were trained fold by fold, whose models lie at these addresses; else as `evaluate`."""
    from assay.data.dataset import Dataset
    from assay.evaluation.folds import evaluate_folds as run
    from assay.registry.versions import ModelRegistry
    from assay.storage.open import open_store
    from assay.training.fold_models import fetch_fold_models

    with (
        step("evaluate", inputs={"dataset": dataset_path}, storage_root=storage_root) as record,
        tempfile.TemporaryDirectory() as scratch,
    ):
        config = parse(EvaluateConfig, evaluate)
        record.metadata["evaluate"] = config.fingerprint()
        dataset, out, folder = Dataset.open(Path(dataset_path)), Path(evaluation_path), Path(scratch)
        models = {
            candidate: fetch_fold_models(addresses, dataset.fingerprint, candidate, dataset.folds, folder / candidate)
            for candidate, addresses in candidates.items()
            if addresses
        }
        registry, machine = ModelRegistry(open_store(storage_root), name), parse(RuntimeConfig, runtime)
        result = run(config, dataset.root, models, out, seed, machine, registry.looks())
        _keep(registry, storage_root, out, itertools.chain.from_iterable(models.values()))
        record.metadata.update(dataset.identity)
        _show(record, result, out, (report_path, leaderboard_path, classification_path, scores_path))
    return record


def _keep(registry: ModelRegistry, storage_root: str, out: Path, model_dirs: Iterable[Path]) -> None:
    """Bring the best model into object storage where results go there, and let go of what training has left."""
    from assay.storage.open import is_remote
    from assay.training.checkpoint import release_checkpoints

    if is_remote(storage_root):
        registry.keep(out / "best")
    # That the models could be read here proves that they are kept: nothing needs their checkpoints any more.
    for model_dir in model_dirs:
        release_checkpoints(model_dir)


def _show(record: StepRecord, result: EvaluationResult, out: Path, paths: tuple[str, str, str, str]) -> None:
    """Put what an evaluation found where Kubeflow shows it: report, leaderboard, confusion matrix and ROC, scores."""
    report_path, leaderboard_path, classification_path, scores_path = paths
    shutil.copyfile(out / "report.html", report_path)
    shutil.copyfile(out / "leaderboard.md", leaderboard_path)
    record.scores.update(finite(result.metrics))
    record.metadata["best"] = result.best
    # Kubeflow keeps these in metadata and leaves their paths empty; the local cache takes a task without the files for
    # not done.
    write_marker(classification_path, {})
    write_marker(scores_path, record.scores)
    confusion = json.loads((out / "confusion.json").read_text(encoding="utf-8"))
    record.confusion = (confusion["labels"], confusion["matrix"])
    if (out / "roc.json").exists():
        roc = json.loads((out / "roc.json").read_text(encoding="utf-8"))
        record.roc = (roc["fpr"], roc["tpr"], roc["thresholds"])


def promote(
    *,
    promote: str,
    runtime: str,
    seed: int,
    name: str,
    storage_root: str,
    run_id: str,
    config_fingerprint: str,
    dataset_path: str,
    evaluation_path: str,
    decision_path: str,
) -> StepRecord:
    """Set the challenger against the champion, keep the better one, and write down what the run began from and gave."""
    from assay.data.dataset import Dataset
    from assay.registry.promote import promote as run
    from assay.registry.records import make_record, write_record
    from assay.registry.trained import record_training
    from assay.storage.open import open_store

    inputs = {"dataset": dataset_path, "evaluation": evaluation_path}
    with step("promote", inputs=inputs, storage_root=storage_root) as record:
        config, machine = parse(PromoteConfig, promote), parse(RuntimeConfig, runtime)
        record.metadata["promote"] = config.fingerprint()
        evaluated, dataset, out = Path(evaluation_path), Path(dataset_path), Path(decision_path).parent / "promotion"
        result = run(config, name, storage_root, evaluated, dataset, out, seed, machine)
        shutil.copyfile(out / "decision.md", decision_path)
        record.metrics.update(result.metrics)
        record.metadata.update(version=result.version, champion=result.champion, promoted=result.promoted)
        store = open_store(storage_root)
        if run_id:
            sections = {"promote": config, "runtime": machine}
            write_record(store, make_record(run_id, sections, seed, evaluated, dataset, out))
        snapshot = Dataset.open(dataset).description.get("snapshot", {}).get("fingerprint", "")
        record_training(store, name, snapshot, config_fingerprint, run_id)
        emit({"event": "result", "evaluation": evaluation_path, "promotion": str(out)})
    return record
