"""What preprocessing will do, decided before the first pixel: which row goes where, and of what shape.

The plan depends on snapshot, config and seed alone, so that parallel tasks arrive at the same one by themselves.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.config import DataConfig
from assay.data.classes import positive_index
from assay.data.dataset import SPLITS, Labels
from assay.data.folds import assign_folds, check_folds
from assay.data.shards import count_classes
from assay.data.sizes import target_size
from assay.data.snapshot import Snapshot, fingerprint
from assay.data.splitting import FOLD, assign_splits
from assay.errors import InputError
from assay.hashing import hash_json
from assay.observability.progress import log
from assay.storage.open import is_remote, open_store

if TYPE_CHECKING:
    import pandas as pd

# Raised whenever the same snapshot and config give other bytes than before.
ALGORITHM = 1
# Raised whenever files of other formats than these are decoded to other pixels than before: datasets of ordinary
# files keep their fingerprints.
DECODER = 2
_STABLE_FORMATS = frozenset({"JPEG", "PNG", "BMP", "GIF", "WEBP", "NPY", "CSV"})
# Fields of the config that were added later: they count where they are set, so that they change no fingerprint by
# being there.
ADDED = {"window", "window_percentiles", "bands", "missing_values", "missing_flat_steps", "missing_mask"}
REPORTED = ("used", "set_aside", "reasons", "duplicates")
RECORD_COLUMNS = ["id", "uri", "label", "group", "sha256", "size", "width", "height", "mode"]


@dataclass(frozen=True)
class Plan:
    """Everything about a dataset but its pixels.

    Attributes:
        data: The config.
        source: URI of the source that is read.
        classes: Class names in the order of the labels.
        row_shape: H,W,C in pixels, or T,C.
        records: For each split its rows in order, with `RECORD_COLUMNS`.
        labels: For each split int64 (N,).
        description: dataset.json without what only the pixels tell (statistics and shards).
    """

    data: DataConfig
    source: str
    classes: tuple[str, ...]
    row_shape: tuple[int, ...]
    records: dict[str, pd.DataFrame]
    labels: dict[str, Labels]
    description: dict[str, Any]

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8 for images, float32 for windows."""
        return np.dtype(np.uint8 if self.data.kind == "image" else np.float32)

    @property
    def row_bytes(self) -> int:
        """Size of one row in bytes."""
        return int(np.prod(self.row_shape)) * self.dtype.itemsize

    @property
    def unit(self) -> str:
        """What a row is called."""
        return "images" if self.data.kind == "image" else "windows"


def make_plan(data: DataConfig, snapshot_dir: Path | str, seed: int, folds: int = 0) -> Plan:
    """Decide splits, folds, order and shape.

    Args:
        data: The config.
        snapshot_dir: The snapshot's folder, or its ``gs://`` URI.
        seed: Of the splits and the order of the rows.
        folds: Number of folds for cross-validation; 0: none.

    Raises:
        InputError: The snapshot is absent or damaged, of another kind than the config says, or cannot be split.
    """
    snapshot, table = _read_snapshot(snapshot_dir)
    if snapshot.kind != data.kind:
        raise InputError(
            f"{snapshot_dir}: holds {snapshot.kind} data, data.kind is {data.kind}. Set data.kind: {snapshot.kind}"
        )
    positive = positive_index(data, snapshot.classes)
    row_shape = _row_shape(data, table)
    assigned = assign_splits(table, data, seed)
    rows_of_all, notes, columns = assigned.table, [*assigned.notes], RECORD_COLUMNS
    if folds:
        if FOLD in rows_of_all and rows_of_all[FOLD].max() < folds:
            check_folds(rows_of_all, rows_of_all[FOLD].to_numpy(np.int64), folds)
        else:
            rows_of_all = rows_of_all.assign(**{FOLD: assign_folds(rows_of_all, folds, seed)})
        columns = [*RECORD_COLUMNS, FOLD]
        if (table["split"] != "").any():
            notes.append(
                f"{folds} folds are made of all {'images' if data.kind == 'image' else 'windows'}: the splits that the "
                "source gives decide nothing of what trains and what tests"
            )
    for note in notes:
        log(note)
    index = {name: number for number, name in enumerate(snapshot.classes)}
    records: dict[str, pd.DataFrame] = {}
    labels: dict[str, Labels] = {}
    for name in SPLITS:
        rows = rows_of_all[rows_of_all["split"] == name]
        records[name] = rows[columns].reset_index(drop=True)
        labels[name] = np.array([index[label] for label in rows["label"].tolist()], np.int64)
    # What the bytes depend on: not the source's place, and not how many tasks share the work.
    matters = data.model_dump(
        mode="json",
        include={
            "kind", "color_mode", "valid_fraction", "test_fraction", "limit_per_class", "missing", "simulate_missing",
        },
    )  # fmt: skip
    added = data.model_dump(mode="json", include=ADDED, exclude_defaults=True)
    identity = [
        ALGORITHM,
        snapshot.fingerprint,
        {**matters, **added},
        row_shape,
        list(snapshot.classes),
        positive,
        seed,
    ]
    if _decoded_otherwise(snapshot):
        identity.append({"decoder": DECODER})
    if folds:
        identity.append({"folds": folds})
    grouped = any(frame["group"].duplicated().any() for frame in records.values())
    description = {
        "kind": data.kind,
        "classes": list(snapshot.classes),
        "positive_index": positive,
        "input_shape": list(row_shape),
        "dtype": "uint8" if data.kind == "image" else "float32",
        "color_mode": data.color_mode if data.kind == "image" else "none",
        "fingerprint": hash_json(identity)[:32],
        "counts": {name: count_classes(labels[name], snapshot.classes) for name in SPLITS},
        "groups": {name: int(records[name]["group"].nunique()) for name in SPLITS},
        "group_column": "group" if grouped else None,
        **({"folds": folds} if folds else {}),
        "notes": notes,
        "snapshot": {
            "fingerprint": snapshot.fingerprint,
            "source": snapshot.source,
            # What the evaluation's report says of the data.
            "report": {key: snapshot.report[key] for key in REPORTED if key in snapshot.report},
        },
        "seed": seed,
        "config": data.model_dump(mode="json"),
    }
    return Plan(data, snapshot.source, snapshot.classes, row_shape, records, labels, description)


def _read_snapshot(snapshot_dir: Path | str) -> tuple[Snapshot, pd.DataFrame]:
    if is_remote(snapshot_dir):
        with tempfile.TemporaryDirectory(prefix="assay-snapshot-") as folder:
            store = open_store(str(snapshot_dir))
            for name in ("snapshot.json", "records.parquet"):
                store.download_file(name, Path(folder) / name)
            return _read_local(Path(folder), str(snapshot_dir))
    return _read_local(Path(snapshot_dir), str(snapshot_dir))


def _read_local(folder: Path, name: str) -> tuple[Snapshot, pd.DataFrame]:
    snapshot = Snapshot.open(folder)
    try:
        table = snapshot.table
        actual = fingerprint(table, snapshot.kind)
    except InputError:
        raise
    except Exception as error:
        # pyarrow raises errors of many kinds over a damaged file.
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{name}: records.parquet cannot be read ({reason}). Run ingest again.") from error
    if actual != snapshot.fingerprint:
        raise InputError(
            f"{name}: records.parquet does not belong to snapshot.json (fingerprint {actual[:12]}, expected "
            f"{snapshot.fingerprint[:12]}). Run ingest again."
        )
    return snapshot, table


def _decoded_otherwise(snapshot: Snapshot) -> bool:
    return not {str(name) for name, _ in snapshot.report.get("formats", [])} <= _STABLE_FORMATS


def _row_shape(data: DataConfig, table: pd.DataFrame) -> tuple[int, ...]:
    if data.kind == "sensor":
        return int(table["height"].iloc[0]), int(table["width"].iloc[0]) * (2 if data.missing_mask else 1)
    size = target_size(table, data)
    height, width = size.height, size.width
    others = int(((table["height"] != height) | (table["width"] != width)).sum())
    if others:
        stretched = int((abs(table["width"] * height / (table["height"] * width) - 1) > 0.02).sum())
        shapes = f", {stretched:,} of them to another aspect ratio" if stretched else ""
        log(f"{others:,} of {len(table):,} images are resized to {height} x {width} pixels{shapes}{size.reason}")
    return height, width, 3 if data.color_mode == "rgb" else 1
