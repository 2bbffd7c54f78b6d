"""Writing a dataset: rows into shards of bounded size, statistics on the way, dataset.json last, all or nothing."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from assay.data.dataset import DATASET_FILE, SCHEMA_VERSION, SPLITS, Array, Dataset, Labels, shard_files
from assay.data.missing import window_statistics
from assay.data.sources.meaning import default_positive
from assay.hashing import hash_json
from assay.storage.files import disk_errors, new_folder
from assay.storage.seals import sealed, seals_of

if TYPE_CHECKING:
    import pandas as pd

SHARD_BYTES = 256 * 2**20


class SplitWriter:
    """Writes the rows of one split into ``images-*.npy`` (or ``windows-*.npy``) in any order and from any thread.

    The files are made in full size at once, so that a full disk shows before the work, and are filled by
    position: a memory map would count as resident memory and would turn a full disk into a fatal signal.

    Args:
        root: The dataset's folder.
        name: train, valid or test.
        rows: Number of rows in all.
        row_shape: Shape of one row: H,W,C or T,C.
        dtype: uint8 for images, float32 for windows.
        shard_bytes: Largest size of a shard's rows in bytes.
    """

    def __init__(
        self,
        root: Path,
        name: str,
        rows: int,
        row_shape: Sequence[int],
        dtype: np.dtype[Any] | type,
        shard_bytes: int = SHARD_BYTES,
    ) -> None:
        self.root = root
        self.name = name
        self.rows = rows
        self.row_shape = tuple(row_shape)
        self.dtype = np.dtype(dtype)
        self._row_bytes = int(np.prod(self.row_shape)) * self.dtype.itemsize
        self.shard_rows = max(1, shard_bytes // self._row_bytes)
        self.sizes = [min(self.shard_rows, rows - start) for start in range(0, rows, self.shard_rows)]
        stem = "images" if len(self.row_shape) == 3 else "windows"
        self.files = [f"{name}/{stem}-{number:05d}.npy" for number in range(len(self.sizes))]
        (root / name).mkdir(parents=True, exist_ok=True)
        self._offsets = [self._create(root / file, size) for file, size in zip(self.files, self.sizes, strict=True)]

    def _create(self, path: Path, size: int) -> int:
        layout = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False}
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {**layout, "shape": (size, *self.row_shape)})
        with path.open("wb") as file:
            file.write(header.getvalue())
            file.flush()
            os.posix_fallocate(file.fileno(), 0, header.tell() + size * self._row_bytes)
        return header.tell()

    def write(self, start: int, rows: Array) -> None:
        """Put ``rows`` (B, ...) at row number ``start`` of the split."""
        rows = np.ascontiguousarray(rows, self.dtype)
        if rows.shape[1:] != self.row_shape or start < 0 or start + len(rows) > self.rows:
            raise ValueError(f"rows {start}.. of shape {rows.shape} do not fit {(self.rows, *self.row_shape)}")
        while len(rows):
            shard, position = divmod(start, self.shard_rows)
            part = rows[: self.sizes[shard] - position]
            offset = self._offsets[shard] + position * self._row_bytes
            with (self.root / self.files[shard]).open("r+b", buffering=0) as file:
                _write_at(file.fileno(), part.data.cast("B"), offset)
            start, rows = start + len(part), rows[len(part) :]

    def finish(self, labels: Labels, records: pd.DataFrame) -> dict[str, Any]:
        """Write labels and records beside the rows, and return this split's part of dataset.json."""
        labels = np.asarray(labels, np.int64)
        if not len(labels) == len(records) == self.rows:
            raise ValueError(f"{self.rows} rows, but {len(labels)} labels and {len(records)} records")
        shards = []
        for number, (file, size) in enumerate(zip(self.files, self.sizes, strict=True)):
            begin = number * self.shard_rows
            names = {part: f"{self.name}/{part}-{number:05d}" for part in ("labels", "records")}
            np.save(self.root / f"{names['labels']}.npy", labels[begin : begin + size])
            records.iloc[begin : begin + size].to_parquet(self.root / f"{names['records']}.parquet", index=False)
            shards.append(
                {
                    "inputs": file,
                    "labels": f"{names['labels']}.npy",
                    "records": f"{names['records']}.parquet",
                    "rows": size,
                }
            )
        return {"rows": self.rows, "shards": shards}


def _write_at(descriptor: int, data: memoryview, offset: int) -> None:
    while len(data):
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written


class ChannelStatistics:
    """Mean and standard deviation of each channel of images, exact in whatever order and parts they are counted.

    Args:
        channels: Their number, 1 or 3.
        sums: To start from: for each channel pixels, their sum, and the sum of their squares.
    """

    def __init__(self, channels: int, sums: Sequence[Sequence[int]] | None = None) -> None:
        self.sums = [list(channel) for channel in sums] if sums is not None else [[0, 0, 0] for _ in range(channels)]

    def add(self, images: Array) -> None:
        """Count the pixels, at most 100 million, of one image uint8 (H,W,C) or of several (N,H,W,C)."""
        plane = images.reshape(-1, *images.shape[-2:])
        # OpenCV adds 8-bit pixels as integers and divides at the end: multiplied back, the sums are off by far less
        # than one half.
        means, deviations = cv2.meanStdDev(plane)
        pixels = plane.shape[0] * plane.shape[1]
        for sums, mean, deviation in zip(self.sums, means.ravel().tolist(), deviations.ravel().tolist(), strict=True):
            sums[0] += pixels
            sums[1] += round(mean * pixels)
            sums[2] += round((deviation**2 + mean**2) * pixels)

    def merge(self, other: ChannelStatistics) -> None:
        """Add what another has counted."""
        for sums, more in zip(self.sums, other.sums, strict=True):
            sums[:] = [one + two for one, two in zip(sums, more, strict=True)]

    def result(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and standard deviation of each channel, in grey levels 0..255."""
        # Python's integers are exact however many pixels there are.
        means = tuple(total / count for count, total, _ in self.sums)
        deviations = tuple(float((count * squares - total**2) / count**2) ** 0.5 for count, total, squares in self.sums)
        return means, deviations


def write_description(root: Path, description: Mapping[str, Any]) -> None:
    """Write dataset.json, the last of a dataset's files: with the checksums of all others and of itself."""
    names = shard_files(description["splits"])
    whole = sealed({"schema": SCHEMA_VERSION, **description, "seals": seals_of(root, names)})
    text = json.dumps(whole, indent=2, ensure_ascii=False)
    (root / DATASET_FILE).write_text(text + "\n", encoding="utf-8")


def count_classes(labels: Labels, classes: Sequence[str]) -> dict[str, int]:
    """Return the number of rows of each class, by name."""
    return dict(zip(classes, np.bincount(labels, minlength=len(classes)).tolist(), strict=True))


def write_dataset(
    out_dir: Path,
    splits: Mapping[str, tuple[Array, Labels, pd.DataFrame | None]],
    classes: Sequence[str],
    *,
    positive_class: str | None = None,
    group_column: str | None = None,
    folds: int = 0,
    shard_bytes: int = SHARD_BYTES,
) -> Dataset:
    """Write arrays that fit in memory as a dataset; preprocess does the same for files of any number.

    Args:
        out_dir: The folder to write; absent or empty.
        splits: For train, valid and test: inputs uint8 (N,H,W,C) or float32 (N,T,C), labels int (N,), and records
            with one row each (None: ids are made up).
        classes: Class names in the order of the labels.
        positive_class: The class to detect; None: see `default_positive`.
        group_column: Column of the records that names patient or slide.
        folds: Number of folds, which the column ``fold`` of the records counts from 0; 0: a single split.
        shard_bytes: Largest size of a shard in bytes.

    Returns:
        The dataset, opened.
    """
    import pandas as pd

    if set(splits) != set(SPLITS):
        raise ValueError(f"a dataset has the splits {', '.join(SPLITS)}. Received: {', '.join(splits)}")
    train = splits["train"][0]
    kind = "image" if train.ndim == 4 else "sensor"
    with disk_errors(out_dir), new_folder(out_dir) as root:
        parts = {}
        for name in SPLITS:
            inputs, labels, records = splits[name]
            if records is None:
                ids = [f"{name}/{row:06d}" for row in range(len(labels))]
                records = pd.DataFrame({"id": ids, "label": [classes[label] for label in labels]})
            writer = SplitWriter(root, name, len(inputs), inputs.shape[1:], inputs.dtype, shard_bytes)
            writer.write(0, inputs)
            parts[name] = writer.finish(labels, records)
        if kind == "image":
            statistics = ChannelStatistics(train.shape[-1])
            for image in train:
                statistics.add(image)
            mean, std = statistics.result()
        else:
            mean, std = window_statistics([train], train.shape[-1])
        content = [[_digest(splits[name][0]), _digest(np.asarray(splits[name][1], np.int64))] for name in SPLITS]
        write_description(
            root,
            {
                "kind": kind,
                "classes": list(classes),
                "positive_index": (
                    default_positive(classes) if positive_class is None else list(classes).index(positive_class)
                ),
                "input_shape": list(train.shape[1:]),
                "dtype": str(train.dtype),
                "color_mode": ("grayscale" if train.shape[-1] == 1 else "rgb") if kind == "image" else "none",
                "fingerprint": hash_json([content, list(classes)])[:32],
                "counts": {name: count_classes(np.asarray(splits[name][1]), classes) for name in SPLITS},
                "mean": list(mean),
                "std": list(std),
                "group_column": group_column,
                **({"folds": folds} if folds else {}),
                "splits": parts,
            },
        )
    return Dataset.open(out_dir)


def _digest(values: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()
