"""Preprocess: from a snapshot to a dataset, decoded in parallel with bounded memory, all or nothing.

On a cluster, `preprocess_shard` runs as a parallel loop and `merge_shards` joins the parts to the very bytes that
one task would have written.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from assay.config import DataConfig
from assay.data.dataset import SPLITS, Dataset, ShardedArray, shard_files
from assay.data.missing import count_gaps, fill_missing, window_statistics
from assay.data.plan import Plan, make_plan
from assay.data.rows import BLOCK_BYTES, fill
from assay.data.shards import SHARD_BYTES, ChannelStatistics, SplitWriter, write_description
from assay.data.unusable import UnusableWindow
from assay.errors import DamagedError, InputError
from assay.observability.progress import Progress, log
from assay.storage.files import disk_errors, new_folder, read_errors
from assay.storage.seals import damaged, is_intact, sealed, seals_of

PART_FILE = "part.json"
COPY_ROWS = 4096


@dataclass(frozen=True)
class PreprocessResult:
    """What preprocess made.

    Attributes:
        dataset: The dataset, opened.
        metrics: Rows of each split, megabytes on disk, and how fast it went.
    """

    dataset: Dataset
    metrics: dict[str, float]


def preprocess(
    data: DataConfig,
    snapshot_dir: Path | str,
    out_dir: Path,
    seed: int,
    workers: int | None = None,
    *,
    folds: int = 0,
    shard_bytes: int = SHARD_BYTES,
) -> PreprocessResult:
    """Split, decode, resize and shard a snapshot.

    Args:
        data: What is made of it.
        snapshot_dir: The snapshot's folder, or its ``gs://`` URI.
        out_dir: The dataset's folder; absent or empty. It appears whole, or not at all.
        seed: Of the splits and of the order of the rows.
        workers: Threads; None: as many as source and processor are worth. The bytes written do not depend on it.
        folds: Number of folds for cross-validation, which the records then name; 0: none.
        shard_bytes: Largest size of a shard in bytes.

    Raises:
        InputError: The snapshot is absent or damaged, or cannot be split.
        AssayError: A file has changed since ingest, or the disk is full.
    """
    started = time.monotonic()
    plan = make_plan(data, snapshot_dir, seed, folds)
    with disk_errors(out_dir), new_folder(out_dir) as root:
        bounds = {name: (0, len(plan.labels[name])) for name in SPLITS}
        writers = _writers(plan, root, bounds, shard_bytes)
        statistics = fill(plan, writers, bounds, workers)
        shards = {name: writers[name].finish(plan.labels[name], plan.records[name]) for name in SPLITS}
        _describe(root, plan.description, shards, statistics)
    return _result(out_dir, started)


def preprocess_shard(
    data: DataConfig,
    snapshot_dir: Path | str,
    out_dir: Path,
    seed: int,
    workers: int | None = None,
    *,
    index: int,
    count: int,
    folds: int = 0,
) -> dict[str, float]:
    """Do part ``index`` of ``count`` of what `preprocess` does: an equal range of rows of each split.

    Args:
        data: As for `preprocess`.
        snapshot_dir: As for `preprocess`.
        out_dir: The part's folder, for `merge_shards`; absent or empty.
        seed: As for `preprocess`.
        workers: As for `preprocess`.
        index: Number of the part, from 0.
        count: Parts in all.
        folds: As for `preprocess`.

    Returns:
        Metrics: rows, and how fast it went.
    """
    if not 0 <= index < count:
        raise InputError(f"parts are numbered from 0 to {count - 1}. Received: {index}")
    started = time.monotonic()
    plan = make_plan(data, snapshot_dir, seed, folds)
    bounds = {
        name: (len(labels) * index // count, len(labels) * (index + 1) // count) for name, labels in plan.labels.items()
    }
    with disk_errors(out_dir), new_folder(out_dir) as root:
        writers = _writers(plan, root, bounds, SHARD_BYTES)
        statistics = fill(plan, writers, bounds, workers)
        shards = {
            name: writers[name].finish(plan.labels[name][low:high], plan.records[name].iloc[low:high])
            for name, (low, high) in bounds.items()
        }
        part = {"index": index, "count": count, "sums": statistics.sums, "splits": shards}
        seals = seals_of(root, shard_files(shards))
        text = json.dumps(sealed({**part, "description": plan.description, "seals": seals}), ensure_ascii=False)
        (root / PART_FILE).write_text(text, encoding="utf-8")
    rows = sum(high - low for low, high in bounds.values())
    return {"images": float(rows), "images_per_second": rows / (time.monotonic() - started)}


def merge_shards(parts: Sequence[Path], out_dir: Path, *, shard_bytes: int = SHARD_BYTES) -> PreprocessResult:
    """Join the parts of `preprocess_shard` to one dataset.

    Args:
        parts: The folders of all parts, in any order.
        out_dir: The dataset's folder; absent or empty.
        shard_bytes: Largest size of a shard in bytes.

    Raises:
        InputError: A part is missing, given twice, damaged, or of another run.
    """
    started = time.monotonic()
    described = _read_parts(parts)
    description = described[0][1]["description"]
    with disk_errors(out_dir), new_folder(out_dir) as root, Progress("merge", unit="rows") as progress:
        shards = {}
        for name in SPLITS:
            listed = [(folder, shard) for folder, part in described for shard in part["splits"][name]["shards"]]
            rows = sum(shard["rows"] for _, shard in listed)
            shape, dtype = description["input_shape"], np.dtype(description["dtype"])
            writer = SplitWriter(root, name, rows, shape, dtype, shard_bytes)
            inputs = ShardedArray([folder / shard["inputs"] for folder, shard in listed])
            size = max(1, min(COPY_ROWS, BLOCK_BYTES // (inputs[0].nbytes)))
            for number, block in enumerate(inputs.batches(size)):
                writer.write(number * size, block)
                progress.advance(len(block))
            labels = np.concatenate([np.load(folder / shard["labels"]) for folder, shard in listed])
            frames = []
            for folder, shard in listed:
                with read_errors(folder / shard["records"], "Run that part of preprocess again.", DamagedError):
                    frames.append(pd.read_parquet(folder / shard["records"]))
            shards[name] = writer.finish(labels, pd.concat(frames, ignore_index=True))
        statistics = ChannelStatistics(description["input_shape"][-1])
        for _, part in described:
            statistics.merge(ChannelStatistics(len(part["sums"]), part["sums"]))
        _describe(root, description, shards, statistics)
    return _result(out_dir, started)


def _read_parts(folders: Sequence[Path]) -> list[tuple[Path, dict[str, Any]]]:
    parts = []
    for folder in folders:
        try:
            parts.append((folder, json.loads((folder / PART_FILE).read_text(encoding="utf-8"))))
        except (OSError, ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise DamagedError(
                f"{folder}: no part of a dataset ({reason}). Run that part of preprocess again."
            ) from error
    for folder, part in parts:
        harm = (PART_FILE, "its content has changed") if not is_intact(part) else damaged(folder, part["seals"])
        if harm is not None:
            raise DamagedError(f"{folder / harm[0]}: damaged since it was written ({harm[1]}). Run preprocess again.")
    if not parts:
        raise InputError("no parts to merge. Give the folders that preprocess_shard wrote.")
    parts.sort(key=lambda part: int(part[1]["index"]))
    found, count = [part["index"] for _, part in parts], parts[0][1]["count"]
    if found != list(range(count)) or any(part["count"] != count for _, part in parts):
        raise InputError(f"the parts must be 0 to {count - 1}, each once. Received: {', '.join(map(str, found))}")
    if any(part["description"] != parts[0][1]["description"] for _, part in parts):
        raise InputError("the parts are of different snapshots, configs or seeds. Run all parts of preprocess again.")
    return parts


def _writers(plan: Plan, root: Path, bounds: Mapping[str, tuple[int, int]], shard_bytes: int) -> dict[str, SplitWriter]:
    return {
        name: SplitWriter(root, name, high - low, plan.row_shape, plan.dtype, shard_bytes)
        for name, (low, high) in bounds.items()
    }


def _describe(root: Path, description: dict[str, Any], shards: dict[str, Any], statistics: ChannelStatistics) -> None:
    """Write dataset.json, after the statistics and what they are needed for."""
    missing = None
    if description["kind"] == "image":
        mean, std = statistics.result()
    else:
        files = {name: [root / shard["inputs"] for shard in part["shards"]] for name, part in shards.items()}
        channels = description["input_shape"][-1]
        policy, simulate = description["config"]["missing"], description["config"]["simulate_missing"]
        mask = description["config"]["missing_mask"]
        mean, std = window_statistics(ShardedArray(files["train"]).batches(COPY_ROWS), channels, mask=mask)
        filled = {name: _fill_windows(files[name], policy, mean, mask=mask) for name in SPLITS}
        fractions = {name: fraction for name, (fraction, _) in filled.items()}
        missing = {
            "policy": policy,
            "simulate": simulate,
            "fractions": fractions,
            "gap": filled["train"][1],
            "values": description["config"]["missing_values"],
            "flat_steps": description["config"]["missing_flat_steps"],
            "mask": mask,
        }
        description = {**description, "notes": [*description["notes"], *_missing_notes(fractions, simulate)]}
    write_description(root, {**description, "mean": list(mean), "std": list(std), "missing": missing, "splits": shards})


def _fill_windows(files: Sequence[Path], policy: str, means: Sequence[float], *, mask: bool) -> tuple[float, float]:
    """Fill missing values in place; return their fraction, and the mean length of a gap in steps (none: 1).

    Of a window with a mask, its second half, nothing is missing, and it does not count.
    """
    missing = gaps = total = 0
    for file in files:
        windows = np.load(file, mmap_mode="r+")
        for start in range(0, len(windows), COPY_ROWS):
            block = np.array(windows[start : start + COPY_ROWS])
            values, runs = count_gaps(block)
            missing, gaps, total = missing + values, gaps + runs, total + block.size // (2 if mask else 1)
            if values:
                try:
                    windows[start : start + COPY_ROWS] = fill_missing(block, policy, means)
                except UnusableWindow as error:
                    raise InputError(f"{error}. Set data.missing to mean or interpolate.") from error
    return missing / max(total, 1), missing / gaps if gaps else 1.0


def _missing_notes(fractions: dict[str, float], simulate: float) -> list[str]:
    later = max(fractions["valid"], fractions["test"])
    if simulate or later <= 2 * fractions["train"] + 0.001:
        return []
    note = (
        f"{later:.1%} of the values are missing outside of the training split and {fractions['train']:.1%} in it: "
        f"set data.simulate_missing to {later:.2g}, so that the network learns what filled values look like"
    )
    log(note)
    return [note]


def _result(out_dir: Path, started: float) -> PreprocessResult:
    seconds = time.monotonic() - started
    dataset = Dataset.open(out_dir)
    rows = {name: sum(counts.values()) for name, counts in dataset.counts.items()}
    total = sum(rows.values())
    size = sum(file.stat().st_size for file in out_dir.rglob("*") if file.is_file())
    summary = ", ".join(f"{name} {count:,}" for name, count in rows.items())
    log(f"dataset {dataset.fingerprint[:12]}: {summary}; {size / 1e6:,.0f} MB, {total / seconds:,.0f} a second")
    metrics = {f"{name}_images": float(count) for name, count in rows.items()}
    return PreprocessResult(dataset, {**metrics, "images_per_second": total / seconds, "dataset_megabytes": size / 1e6})
