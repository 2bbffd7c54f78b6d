"""The pipeline's steps as plain calls: configs as JSON, paths in, paths out, and what to record about them.

Components call these and nothing else. Each call runs inside `_step`, which reports its start and end,
measures what it cost, writes the metrics beside the outputs and turns a user's error into one line.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.config import (
    AugmentConfig,
    BaselineConfig,
    DataConfig,
    EvaluateConfig,
    FinetuneConfig,
    PromoteConfig,
    RuntimeConfig,
    SearchConfig,
    Section,
    SectionType,
)
from assay.errors import AssayError
from assay.hashing import code_version
from assay.observability.progress import emit

if TYPE_CHECKING:
    from assay.storage.registry import ModelRegistry


@dataclass
class StepRecord:
    """What a step leaves behind beside its files.

    Attributes:
        metrics: Flat metric names with finite values, for the run comparison.
        metadata: What was read and written: fingerprints, config hash, code version, image.
        value: The step's one string output, where it has one.
        confusion: Class names and the square matrix of counts (true by predicted), from evaluate.
        roc: False-positive rates, true-positive rates and thresholds, from evaluate.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    value: str = ""
    confusion: tuple[list[str], list[list[int]]] | None = None
    roc: tuple[list[float], list[float], list[float]] | None = None


@contextlib.contextmanager
def _step(name: str, metrics_path: str, *, model_path: str | None = None, **read: Any) -> Iterator[StepRecord]:
    from assay.observability.quiet import silence_tensorflow
    from assay.observability.resources import ResourceMeter

    silence_tensorflow()
    record = StepRecord(metadata={"code_version": code_version(), "image": os.environ.get("ASSAY_IMAGE", "local")})
    for key, value in read.items():
        record.metadata[key] = value.fingerprint() if isinstance(value, Section) else value
    emit({"event": "started", "step": name})
    try:
        with ResourceMeter() as meter:
            yield record
        record.metrics = _finite({**meter.metrics(), **record.metrics})
        _write_marker(metrics_path, record.metrics)
        if model_path is not None:
            # What the step cost goes with its model to evaluate, and from there into the run's record.
            _write_marker(f"{model_path}/metrics.json", record.metrics)
    except (AssayError, OSError, MemoryError) as error:
        message = _one_line(error)
        code = error.exit_code if isinstance(error, AssayError) else 1
        emit({"event": "error", "step": name, "message": message, "exit_code": code})
        print(f"{name}: {message}", file=sys.stderr, flush=True)
        raise SystemExit(code) from error
    except Exception as error:
        emit({"event": "error", "step": name, "message": f"a bug, see the log: {_one_line(error)}", "exit_code": 1})
        raise
    emit({"event": "finished", "step": name, "metrics": record.metrics})


def _write_marker(path: str, content: dict[str, Any]) -> None:
    # Kubeflow keeps metrics in an artifact's metadata and leaves its path empty; the local cache takes a
    # task without that file for not done.
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(content, indent=1), encoding="utf-8")


def _one_line(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "out of memory. Lower batch_size or image_size, or give the step more memory."
    if isinstance(error, OSError) and error.errno == 28:
        return f"no space left on the disk for {error.filename or 'the outputs'}. Free some space and run again."
    return " ".join(str(error).split()) or type(error).__name__


def _finite(metrics: dict[str, float]) -> dict[str, float]:
    # Kubeflow's metrics are JSON numbers: NaN and infinity cannot be stored.
    return {name: float(value) for name, value in metrics.items() if value == value and abs(value) != float("inf")}


def _parse(section: type[SectionType], text: str) -> SectionType:
    from assay.config import parse_section

    return parse_section(section, json.loads(text), section.__name__)


def ingest(
    data: str,
    storage_root: str,
    name: str,
    skip_unchanged: bool,
    quality_path: str,
    metrics_path: str,
) -> StepRecord:
    """Read the source; give the snapshot's URI, or an empty value where a model has been trained on just these data."""
    from assay.data.ingest import ingest as run
    from assay.observability.progress import log
    from assay.storage.objects import open_store
    from assay.storage.registry import ModelRegistry

    config = _parse(DataConfig, data)
    with _step("ingest", metrics_path, data=config) as record:
        work = Path(quality_path).parent / "snapshot"
        result = run(config, storage_root, work)
        shutil.copyfile(result.snapshot_dir / "quality.html", quality_path)
        record.metrics.update(result.metrics)
        record.metadata.update(snapshot=result.snapshot_uri, snapshot_fingerprint=result.fingerprint)
        record.value = result.snapshot_uri
        if skip_unchanged and _trained_before(ModelRegistry(open_store(storage_root), name), result.fingerprint):
            log(f"the source has not changed since {name} was trained on it: nothing to do (FORCE=1 trains anyway)")
            record.value = ""
    return record


def _trained_before(registry: ModelRegistry, fingerprint: str) -> bool:
    # Any version counts, not the champion alone: a challenger that lost on these data would lose again.
    known = (registry.version(version).metadata for version in registry.versions())
    return any(metadata.get("snapshot_fingerprint") == fingerprint for metadata in known)


def preprocess(data: str, snapshot: str, seed: int, runtime: str, dataset_path: str, metrics_path: str) -> StepRecord:
    """Split, decode, resize and shard a snapshot."""
    from assay.data.preprocess import preprocess as run

    config = _parse(DataConfig, data)
    with _step("preprocess", metrics_path, data=config, snapshot=snapshot) as record:
        result = run(config, snapshot, Path(dataset_path), seed, _parse(RuntimeConfig, runtime).workers)
        record.metrics.update(result.metrics)
        record.metadata["dataset_fingerprint"] = result.dataset.fingerprint
    return record


def preprocess_shard(
    data: str, snapshot: str, seed: int, runtime: str, index: int, count: int, shard_path: str, metrics_path: str
) -> StepRecord:
    """Do one of ``count`` parts of what preprocess does."""
    from assay.data.preprocess import preprocess_shard as run

    config = _parse(DataConfig, data)
    with _step("preprocess", metrics_path, data=config, snapshot=snapshot, part=int(index)) as record:
        workers = _parse(RuntimeConfig, runtime).workers
        # Kubeflow hands numbers of a loop over as floats.
        part = {"index": int(index), "count": int(count)}
        record.metrics.update(run(config, snapshot, Path(shard_path), seed, workers, **part))
    return record


def merge_shards(shard_paths: list[str], dataset_path: str, metrics_path: str) -> StepRecord:
    """Join the parts to one dataset."""
    from assay.data.preprocess import merge_shards as run

    with _step("preprocess", metrics_path) as record:
        result = run([Path(path) for path in shard_paths], Path(dataset_path))
        record.metrics.update(result.metrics)
        record.metadata["dataset_fingerprint"] = result.dataset.fingerprint
    return record


def augment(
    augment: str, runtime: str, dataset_path: str, seed: int, policy_path: str, preview_path: str, metrics_path: str
) -> StepRecord:
    """Resolve the augmentation policy and show it."""
    from assay.augmentation.augment import augment as run

    config = _parse(AugmentConfig, augment)
    with _step("augment", metrics_path, augment=config) as record:
        result = run(config, Path(dataset_path), Path(policy_path), seed, _parse(RuntimeConfig, runtime))
        shutil.copyfile(Path(policy_path) / "preview.html", preview_path)
        record.metrics.update(result.metrics)
        record.metadata["policy"] = result.policy.model_dump(mode="json", exclude_defaults=True)
    return record


def baseline(
    baseline: str,
    runtime: str,
    dataset_path: str,
    policy_path: str,
    seed: int,
    storage_root: str,
    model_path: str,
    curves_path: str,
    metrics_path: str,
) -> StepRecord:
    """Train the small network from scratch that anything else must beat."""
    from assay.augmentation.policy import load_policy
    from assay.training.baseline import train_baseline
    from assay.training.page import write_page

    config = _parse(BaselineConfig, baseline)
    with _step("baseline", metrics_path, model_path=model_path, baseline=config) as record:
        policy = load_policy(Path(policy_path))
        result = train_baseline(
            config, _parse(RuntimeConfig, runtime), Path(dataset_path), policy, Path(model_path), seed, storage_root
        )
        write_page("baseline", result, Path(curves_path))
        record.metrics.update(result.metrics)
    return record


def search(
    search: str,
    runtime: str,
    dataset_path: str,
    policy_path: str,
    seed: int,
    storage_root: str,
    model_path: str,
    trials_path: str,
    metrics_path: str,
) -> StepRecord:
    """Search hyperparameters with KerasTuner."""
    from assay.augmentation.policy import load_policy
    from assay.search.search import run_search

    config = _parse(SearchConfig, search)
    with _step("search", metrics_path, model_path=model_path, search=config) as record:
        policy = load_policy(Path(policy_path))
        result = run_search(
            config, _parse(RuntimeConfig, runtime), Path(dataset_path), policy, Path(model_path), seed, storage_root
        )
        shutil.copyfile(Path(model_path) / "trials.html", trials_path)
        record.metrics.update(result.metrics)
    return record


def finetune(
    finetune: str,
    runtime: str,
    dataset_path: str,
    policy_path: str,
    seed: int,
    storage_root: str,
    model_path: str,
    curves_path: str,
    metrics_path: str,
) -> StepRecord:
    """Fine-tune a pretrained model: its head on the frozen base, then an unfrozen tail."""
    from assay.augmentation.policy import load_policy
    from assay.training.finetune import finetune as run
    from assay.training.page import write_page

    config = _parse(FinetuneConfig, finetune)
    with _step("finetune", metrics_path, model_path=model_path, finetune=config) as record:
        policy = load_policy(Path(policy_path))
        result = run(
            config, _parse(RuntimeConfig, runtime), Path(dataset_path), policy, Path(model_path), seed, storage_root
        )
        write_page("finetune", result, Path(curves_path))
        record.metrics.update(result.metrics)
    return record


def sweep_row(
    sweep: str,
    item: str,
    dataset_path: str,
    policy_path: str,
    storage_root: str,
    record_path: str,
    metrics_path: str,
) -> StepRecord:
    """Train one row of a sweep from one seed."""
    from assay.sweep.parts import run_item
    from assay.sweep.spec import Sweep

    with _step("sweep_row", metrics_path, item=item) as record:
        result = run_item(
            Sweep.from_json(sweep), item, Path(dataset_path), Path(policy_path), storage_root, Path(record_path)
        )
        record.metrics.update(result.metrics)
        record.metadata.update(key=result.key, status=result.status, note=result.note)
    return record


def sweep_table(
    sweep: str, record_paths: list[str], dataset_path: str, page_path: str, table_path: str, metrics_path: str
) -> StepRecord:
    """Make the table of a sweep's runs."""
    from assay.sweep.page import to_page
    from assay.sweep.parts import join_items
    from assay.sweep.spec import Sweep
    from assay.sweep.table import to_markdown

    with _step("sweep_table", metrics_path) as record:
        table = join_items(Sweep.from_json(sweep), [Path(path) for path in record_paths], Path(dataset_path))
        Path(page_path).write_text(to_page(table), encoding="utf-8")
        Path(table_path).write_text(to_markdown(table), encoding="utf-8")
        if table.best is not None:
            record.metrics["best_row"] = float(table.best.row.number)
            record.metrics["val_auc"] = table.best.auc.value
    return record


def evaluate(
    evaluate: str,
    runtime: str,
    dataset_path: str,
    candidates: dict[str, str | None],
    seed: int,
    evaluation_path: str,
    report_path: str,
    leaderboard_path: str,
    classification_path: str,
    metrics_path: str,
) -> StepRecord:
    """Judge the candidates on the test split."""
    from assay.evaluation.evaluate import evaluate as run

    config = _parse(EvaluateConfig, evaluate)
    trained = {name: Path(path) for name, path in candidates.items() if path}
    with _step("evaluate", metrics_path, evaluate=config) as record:
        out = Path(evaluation_path)
        result = run(config, Path(dataset_path), trained, out, seed, _parse(RuntimeConfig, runtime))
        shutil.copyfile(out / "report.html", report_path)
        shutil.copyfile(out / "leaderboard.md", leaderboard_path)
        record.metrics.update(result.metrics)
        record.metadata["best"] = result.best
        _write_marker(classification_path, {})
        confusion = json.loads((out / "confusion.json").read_text(encoding="utf-8"))
        record.confusion = (confusion["labels"], confusion["matrix"])
        if (out / "roc.json").exists():
            roc = json.loads((out / "roc.json").read_text(encoding="utf-8"))
            record.roc = (roc["fpr"], roc["tpr"], roc["thresholds"])
    return record


def promote(
    promote: str,
    runtime: str,
    name: str,
    storage_root: str,
    dataset_path: str,
    evaluation_path: str,
    seed: int,
    run_id: str,
    data: str,
    augment: str,
    evaluate: str,
    decision_path: str,
    metrics_path: str,
) -> StepRecord:
    """Set the challenger against the champion, keep the better one, and write the run's record where it has an id."""
    from assay.storage.objects import open_store
    from assay.storage.promote import promote as run
    from assay.storage.records import make_record, write_record

    config = _parse(PromoteConfig, promote)
    with _step("promote", metrics_path, promote=config) as record:
        out = Path(decision_path).parent / "promotion"
        result = run(
            config,
            name,
            storage_root,
            Path(evaluation_path),
            Path(dataset_path),
            out,
            seed,
            _parse(RuntimeConfig, runtime),
        )
        shutil.copyfile(out / "decision.md", decision_path)
        record.metrics.update(result.metrics)
        record.metadata.update(version=result.version, champion=result.champion, promoted=result.promoted)
        if run_id:
            texts = {"data": data, "augment": augment, "evaluate": evaluate, "promote": promote, "runtime": runtime}
            sections = {section: json.loads(text) for section, text in texts.items()}
            decision = json.loads((out / "decision.json").read_text(encoding="utf-8"))
            evaluated, dataset = Path(evaluation_path), Path(dataset_path)
            write_record(open_store(storage_root), make_record(run_id, sections, seed, evaluated, dataset, decision))
        emit({"event": "result", "evaluation": evaluation_path, "promotion": str(out)})
    return record
