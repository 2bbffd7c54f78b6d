"""Ingest: read a source once, set aside what cannot be used, and store what remains under its fingerprint."""

from __future__ import annotations

import csv
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from assay.config import DataConfig
from assay.data.checks import refusals, summarise_reasons
from assay.data.kept import Held, hold_folds, hold_splits
from assay.data.quality import write_quality
from assay.data.snapshot import Snapshot, fingerprint
from assay.data.summary import summarise
from assay.data.survey import Survey, survey
from assay.errors import InputError
from assay.observability.progress import log
from assay.storage.files import disk_errors, held, held_stage
from assay.storage.open import is_remote, open_store

_MARKER, OLD = "snapshot.json", ".old"


@dataclass(frozen=True)
class IngestResult:
    """Where the snapshot is.

    Attributes:
        snapshot_uri: ``<storage root>/snapshots/<fingerprint>``: the cache key of all that follows.
        snapshot_dir: The same as a local folder (a copy, where the storage is remote).
        fingerprint: SHA-256 (hex) of the examples.
        metrics: Counts, and the rate.
    """

    snapshot_uri: str
    snapshot_dir: Path
    fingerprint: str
    metrics: dict[str, float]


def ingest(
    data: DataConfig, storage_root: str, work_dir: Path, *, name: str = "", seed: int = 0, folds: int = 0
) -> IngestResult:
    """Read the source and write its snapshot, whole or not at all.

    Args:
        data: The source, and how to read it.
        storage_root: A local directory or ``gs://bucket/prefix``.
        work_dir: For a remote storage: the folder where the snapshot is written before it is uploaded.
        name: The model's: groups stay in the splits that earlier snapshots of this name gave them. Empty: there are
            none, and splits follow from data, config and seed alone.
        seed: Of the splits, as for `assay.data.preprocess.preprocess`.
        folds: Number of folds for cross-validation, which are kept as the splits are; 0: none.

    Raises:
        InputError: The source is missing, empty, contradicts itself, has too many unusable files, fewer than
            two classes, or a class too small to split.
        AssayError: The storage cannot be written.
    """
    started = time.monotonic()
    open_store(storage_root)  # what is no storage is no folder to write to either
    found = survey(data.source, data, names_first=True)
    reading_seconds = time.monotonic() - started
    refused = refusals(found)
    if refused:
        raise InputError(refused[0])
    figures = summarise(found)
    held = Held(found.table, (), {})
    if name:
        held = hold_splits(open_store(storage_root), name, found.table, data, seed)
        if folds:
            crossed = hold_folds(open_store(storage_root), name, held.table, folds, data, seed)
            held = Held(crossed.table, (*held.notes, *crossed.notes), held.metrics)
    key = fingerprint(held.table, data.kind)
    remote = is_remote(storage_root)
    target = (work_dir if remote else Path(storage_root).resolve() / "snapshots") / key
    snapshot = Snapshot(
        root=target, source=found.source.uri, kind=data.kind, classes=found.classes, fingerprint=key, report=figures
    )
    _write(snapshot, held.table, found, figures)
    uri = str(target)
    if remote:
        open_store(storage_root).upload_dir(target, f"snapshots/{key}", marker=_MARKER)
        uri = f"{storage_root.rstrip('/')}/snapshots/{key}"
    _tell(found, figures)
    for note in held.notes:
        log(note)
    duplicates = figures["duplicates"]
    return IngestResult(
        snapshot_uri=uri,
        snapshot_dir=target,
        fingerprint=key,
        metrics={
            "images": len(found.table),
            "images_set_aside": len(found.set_aside),
            "bad_fraction": len(found.set_aside) / found.total,
            "classes": len(found.classes),
            "groups": figures["groups"]["after_joining_duplicates"],
            "duplicate_sets": duplicates["sets"],
            "duplicate_images": duplicates["images"],
            **held.metrics,
            "ingest_seconds": time.monotonic() - started,
            "images_per_second": found.total / max(reading_seconds, 1e-9),
        },
    )


def _write(snapshot: Snapshot, table: pd.DataFrame, found: Survey, figures: dict[str, Any]) -> None:
    """Write the snapshot beside its place, then put it there; an older one of the same content goes."""
    target, prefix = snapshot.root, f".{snapshot.root.name[:16]}-"
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _put_back(target, prefix)
        with held_stage(target.parent, prefix, directory=True) as stage:
            stage.chmod(0o755)
            staged = Snapshot(stage, snapshot.source, snapshot.kind, snapshot.classes, snapshot.fingerprint, figures)
            _write_quarantine(stage / "quarantine.csv", found)
            write_quality(stage / "quality.html", found, figures, snapshot.fingerprint)
            staged.write(table)
            _replace(stage, target)


def _put_back(target: Path, prefix: str) -> None:
    """Put back the snapshot that stepped aside for one whose writer was killed before it was there."""
    with held(target.parent) as alone:
        for old in target.parent.glob(f"{prefix}*{OLD}") if alone else ():
            if not target.exists():
                old.replace(target)


def _replace(stage: Path, target: Path) -> None:
    # A folder cannot be renamed over another one that holds files: the old one steps aside first. Its content
    # is the same; what may differ is where the source lies.
    old = stage.with_name(f"{stage.name}{OLD}")
    with held(target.parent):
        if target.exists():
            target.replace(old)
        try:
            stage.replace(target)
        finally:
            if not target.exists() and old.exists():
                old.replace(target)
    shutil.rmtree(old, ignore_errors=True)


def _write_quarantine(path: Path, found: Survey) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("uri", "reason"))
        writer.writerows((aside.uri, aside.reason) for aside in found.set_aside)


def _tell(found: Survey, figures: dict[str, Any]) -> None:
    groups = figures["groups"]
    of_groups = f", {groups['given']:,} groups" if groups["given"] else ""
    log(f"{figures['used']:,} examples of {len(found.classes)} classes{of_groups}, from {figures['layout']}")
    if found.set_aside:
        log(f"{len(found.set_aside):,} files set aside: {summarise_reasons(found)} (quality.html shows them)")
    for line in (*figures["notes"], *figures["warnings"]):
        log(line)
