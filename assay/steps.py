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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

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
    from assay.registry.versions import ModelRegistry


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
    *, data: str, storage_root: str, name: str, skip_unchanged: bool, quality_path: str, metrics_path: str
) -> StepRecord:
    """Read the source; give the snapshot's URI, or an empty value where a model has been trained on just these data."""
    from assay.data.ingest import ingest as run
    from assay.observability.progress import log
    from assay.registry.versions import ModelRegistry
    from assay.storage.open import open_store

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


def preprocess(
    *, data: str, snapshot: str, seed: int, runtime: str, dataset_path: str, metrics_path: str
) -> StepRecord:
    """Split, decode, resize and shard a snapshot."""
    from assay.data.preprocess import preprocess as run

    config = _parse(DataConfig, data)
    with _step("preprocess", metrics_path, data=config, snapshot=snapshot) as record:
        result = run(config, snapshot, Path(dataset_path), seed, _parse(RuntimeConfig, runtime).workers)
        record.metrics.update(result.metrics)
        record.metadata["dataset_fingerprint"] = result.dataset.fingerprint
    return record


def preprocess_shard(
    *, data: str, snapshot: str, seed: int, runtime: str, index: int, count: int, shard_path: str, metrics_path: str
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


def merge_shards(*, shard_paths: list[str], dataset_path: str, metrics_path: str) -> StepRecord:
    """Join the parts to one dataset."""
    from assay.data.preprocess import merge_shards as run

    with _step("preprocess", metrics_path) as record:
        result = run([Path(path) for path in shard_paths], Path(dataset_path))
        record.metrics.update(result.metrics)
        record.metadata["dataset_fingerprint"] = result.dataset.fingerprint
    return record


def augment(
    *, augment: str, runtime: str, seed: int, dataset_path: str, policy_path: str, preview_path: str, metrics_path: str
) -> StepRecord:
    """Resolve the augmentation policy, show it, and put it to the test where that is asked for."""
    from assay.ablation.run import run_ablation
    from assay.augmentation.augment import augment as run

    config = _parse(AugmentConfig, augment)
    with _step("augment", metrics_path, augment=config) as record:
        ablate = partial(run_ablation, config=config.ablation, seed=seed, runtime=_parse(RuntimeConfig, runtime))
        result = run(config, Path(dataset_path), Path(policy_path), seed, ablate=ablate)
        shutil.copyfile(Path(policy_path) / "preview.html", preview_path)
        record.metrics.update(result.metrics)
        record.metadata["policy"] = result.policy.model_dump(mode="json", exclude_defaults=True)
    return record


def train(
    step: Literal["baseline", "search", "finetune"],
    *,
    config: str,
    runtime: str,
    seed: int,
    storage_root: str,
    dataset_path: str,
    policy_path: str,
    model_path: str,
    page_path: str,
    metrics_path: str,
) -> StepRecord:
    """Train one candidate: the baseline from scratch, the best of a search, or a fine-tuned pretrained model.

    Args:
        step: Which one.
        config: Its section of the config, JSON.
        runtime: The section of that name, JSON.
        seed: Of the run.
        storage_root: Where checkpoints are kept.
        dataset_path: What preprocess wrote.
        policy_path: What augment wrote.
        model_path: Gets the model's artifact.
        page_path: Gets the learning curves, or the trials of a search.
        metrics_path: Gets the metrics.
    """
    from assay.augmentation.policy import load_policy

    section, run = _trainer(step)
    resolved = _parse(section, config)
    with _step(step, metrics_path, model_path=model_path, **{step: resolved}) as record:
        record.metrics.update(
            run(
                resolved,
                _parse(RuntimeConfig, runtime),
                Path(dataset_path),
                load_policy(Path(policy_path)),
                Path(model_path),
                seed,
                storage_root,
                Path(page_path),
            )
        )
    return record


def _trainer(step: str) -> tuple[type[Section], Callable[..., dict[str, float]]]:
    """Return a candidate's section of the config, and what trains it, writes its page and returns its metrics."""
    if step == "search":
        from assay.search.search import run_search

        def search(*given: Any) -> dict[str, float]:
            *what, page = given
            result = run_search(*what)
            shutil.copyfile(result.model_dir / "trials.html", page)
            return result.metrics

        return SearchConfig, search

    from assay.training.baseline import train_baseline
    from assay.training.curves_page import write_page
    from assay.training.finetune import finetune

    def trained(*given: Any) -> dict[str, float]:
        *what, page = given
        result = (train_baseline if step == "baseline" else finetune)(*what)
        write_page(step, result, page)
        return result.metrics

    return (BaselineConfig if step == "baseline" else FinetuneConfig), trained


def sweep_row(
    *,
    sweep: str,
    item: str,
    storage_root: str,
    dataset_path: str,
    policy_path: str,
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
    *, sweep: str, record_paths: list[str], dataset_path: str, page_path: str, table_path: str, metrics_path: str
) -> StepRecord:
    """Make the table of a sweep's runs."""
    from assay.sweep.parts import join_items
    from assay.sweep.spec import Sweep
    from assay.sweep.table import to_markdown
    from assay.sweep.table_page import to_page

    with _step("sweep_table", metrics_path) as record:
        table = join_items(Sweep.from_json(sweep), [Path(path) for path in record_paths], Path(dataset_path))
        Path(page_path).write_text(to_page(table), encoding="utf-8")
        Path(table_path).write_text(to_markdown(table), encoding="utf-8")
        if table.best is not None:
            record.metrics["best_row"] = float(table.best.row.number)
            record.metrics["val_auc"] = table.best.auc.value
    return record


def evaluate(
    *,
    evaluate: str,
    runtime: str,
    seed: int,
    dataset_path: str,
    candidates: dict[str, str | None],
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
    *,
    promote: str,
    runtime: str,
    seed: int,
    name: str,
    storage_root: str,
    run_id: str,
    dataset_path: str,
    evaluation_path: str,
    decision_path: str,
    metrics_path: str,
) -> StepRecord:
    """Set the challenger against the champion, keep the better one, and write the run's record where it has an id."""
    from assay.registry.promote import promote as run
    from assay.registry.records import make_record, write_record
    from assay.storage.open import open_store

    config, machine = _parse(PromoteConfig, promote), _parse(RuntimeConfig, runtime)
    with _step("promote", metrics_path, promote=config) as record:
        evaluated, dataset, out = Path(evaluation_path), Path(dataset_path), Path(decision_path).parent / "promotion"
        result = run(config, name, storage_root, evaluated, dataset, out, seed, machine)
        shutil.copyfile(out / "decision.md", decision_path)
        record.metrics.update(result.metrics)
        record.metadata.update(version=result.version, champion=result.champion, promoted=result.promoted)
        if run_id:
            sections = {"promote": config, "runtime": machine}
            write_record(open_store(storage_root), make_record(run_id, sections, seed, evaluated, dataset, out))
        emit({"event": "result", "evaluation": evaluation_path, "promotion": str(out)})
    return record
