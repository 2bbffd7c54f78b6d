"""The steps that make a dataset of a source: ingest, preprocess whole or in parts, augment."""

from __future__ import annotations

import shutil
import tempfile
from functools import partial
from pathlib import Path

from assay.config import AugmentConfig, DataConfig, RuntimeConfig
from assay.errors import DamagedError
from assay.hashing import code_version, hash_json
from assay.observability.progress import log
from assay.steps.frame import StepRecord, parse, step
from assay.storage.files import ObjectNotFound


def ingest(
    *,
    data: str,
    storage_root: str,
    name: str,
    seed: int,
    config_fingerprint: str,
    skip_unchanged: bool,
    quality_path: str,
    folds: int = 0,
    code_version: str = "",
) -> StepRecord:
    """Read the source; give the snapshot's URI, or an empty value where a model was trained from just this before.

    Beside it, in the metadata as ``reused_from``: what the later steps' outputs are reused by, beside their inputs.

    Args:
        data: Its section of the config, as `assay.config.write_brief` gives it.
        storage_root: Where snapshots are kept.
        name: The model's: its earlier snapshots decide the splits of what they held.
        seed: Of the splits.
        config_fingerprint: Of `assay.registry.trained.config_fingerprint`.
        skip_unchanged: Give an empty value where neither data nor config nor code have changed.
        quality_path: Gets the report on the data.
        folds: For a cross-validation: each group keeps its fold, too; 0: none.
        code_version: Of the code that submitted the run.
    """
    from assay.data.ingest import ingest as run
    from assay.registry.trained import what_changed
    from assay.steps.cache import read_epoch
    from assay.storage.open import open_store

    with step("ingest") as record:
        config = parse(DataConfig, data)
        record.metadata["data"] = config.fingerprint()
        place = Path(quality_path).parent / "snapshot"
        store = open_store(storage_root)
        result = run(config, storage_root, place, name=name, seed=int(seed), folds=int(folds))
        shutil.copyfile(result.snapshot_dir / "quality.html", quality_path)
        record.metrics.update(result.metrics)
        record.metadata.update(snapshot=result.snapshot_uri, snapshot_fingerprint=result.fingerprint)
        record.value = result.snapshot_uri
        record.metadata["reused_from"] = f"{code_version} {read_epoch(store)}".rstrip()
        if skip_unchanged:
            changed, why = what_changed(store, name, result.fingerprint, config_fingerprint)
            log(f"{name}: {why}" if changed else f"{name}: {why}: nothing to do (FORCE=1 trains anyway)")
            if not changed:
                record.value = ""
    return record


def preprocess(*, data: str, snapshot: str, seed: int, runtime: str, dataset_path: str, folds: int = 0) -> StepRecord:
    """Split, decode, resize and shard a snapshot; with folds for a cross-validation where they are asked for."""
    from assay.data.preprocess import preprocess as run

    with step("preprocess", snapshot=snapshot) as record:
        config = parse(DataConfig, data)
        record.metadata["data"] = config.fingerprint()
        workers = parse(RuntimeConfig, runtime).workers
        result = run(config, snapshot, Path(dataset_path), int(seed), workers, folds=int(folds))
        record.metrics.update(result.metrics)
        record.metadata.update(result.dataset.identity)
    return record


def preprocess_shard(
    *,
    data: str,
    snapshot: str,
    seed: int,
    runtime: str,
    storage_root: str,
    index: int,
    count: int,
    folds: int = 0,
) -> StepRecord:
    """Do one of ``count`` parts of what preprocess does, put it into storage and give its URI."""
    from assay.data.preprocess import PART_FILE
    from assay.data.preprocess import preprocess_shard as run
    from assay.storage.open import open_store

    # Kubeflow hands numbers of a loop over as floats.
    part, parts, seed = int(index), int(count), int(seed)
    with step("preprocess", snapshot=snapshot, part=part) as record, tempfile.TemporaryDirectory() as scratch:
        config = parse(DataConfig, data)
        workers = parse(RuntimeConfig, runtime).workers
        made = Path(scratch) / "part"
        record.metrics.update(run(config, snapshot, made, seed, workers, index=part, count=parts, folds=int(folds)))
        store = open_store(storage_root)
        # The same part of the same data, made again, lies where it lay.
        key = hash_json([config.fingerprint(), snapshot, seed, int(folds), code_version()])[:24]
        at = f"parts/{key}/{part:05d}-of-{parts:05d}"
        store.upload_dir(made, at, marker=PART_FILE)
        record.value = store.uri(at)
    return record


def merge_shards(*, shards: list[str], dataset_path: str, storage_root: str = "") -> StepRecord:
    """Join the parts at these URIs to one dataset."""
    from assay.data.preprocess import merge_shards as run
    from assay.storage.open import open_store

    with step("preprocess", storage_root=storage_root) as record, tempfile.TemporaryDirectory() as scratch:
        folders = []
        for number, uri in enumerate(shards):
            root, _, last = uri.rpartition("/")
            folders.append(Path(scratch) / f"{number:05d}")
            try:
                open_store(root).download_dir(last, folders[-1])
            except ObjectNotFound as error:
                raise DamagedError(f"part {number} of the dataset is gone from storage ({uri}).") from error
        result = run(folders, Path(dataset_path))
        record.metrics.update(result.metrics)
        record.metadata.update(result.dataset.identity)
    return record


def augment(
    *,
    augment: str,
    runtime: str,
    seed: int,
    dataset_path: str,
    policy_path: str,
    preview_path: str,
    storage_root: str = "",
) -> StepRecord:
    """Resolve the augmentation policy, show it, and put it to the test where that is asked for."""
    from assay.ablation.run import run_ablation
    from assay.augmentation.augment import augment as run

    with step("augment", inputs={"dataset": dataset_path}, storage_root=storage_root) as record:
        config = parse(AugmentConfig, augment)
        record.metadata["augment"] = config.fingerprint()
        ablate = partial(run_ablation, config=config.ablation, seed=seed, runtime=parse(RuntimeConfig, runtime))
        result = run(config, Path(dataset_path), Path(policy_path), seed, ablate=ablate)
        shutil.copyfile(Path(policy_path) / "preview.html", preview_path)
        record.metrics.update(result.metrics)
        record.metadata["policy"] = result.policy.model_dump(mode="json", exclude_defaults=True)
    return record
