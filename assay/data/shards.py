"""Writing a dataset: rows into shards of bounded size, statistics on the way, dataset.json last, all or nothing."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.data.dataset import DATASET_FILE, SCHEMA_VERSION, SPLITS, Array, Dataset, Labels
from assay.errors import AssayError, InputError
from assay.hashing import hash_json

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
    """Mean and standard deviation of each channel, streamed; exact for uint8 in whatever order blocks arrive."""

    def __init__(self, channels: int) -> None:
        self._count = 0
        self._histogram = np.zeros((channels, 256), np.int64)

    def add(self, images: Array) -> None:
        """Count the pixels of a block of images uint8 (B,H,W,C)."""
        channels = len(self._histogram)
        pixels = images.reshape(-1, channels)
        self._count += len(pixels)
        for channel in range(channels):
            self._histogram[channel] += np.bincount(pixels[:, channel], minlength=256)

    def result(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and standard deviation of each channel, in grey levels 0..255."""
        levels = np.arange(256, dtype=np.int64)
        total = self._histogram @ levels
        squares = self._histogram @ levels**2
        means, deviations = [], []
        for channel_total, channel_squares in zip(total.tolist(), squares.tolist(), strict=True):
            means.append(channel_total / self._count)
            # Python's integers are exact however many pixels there are.
            deviations.append(((self._count * channel_squares - channel_total**2) / self._count**2) ** 0.5)
        return tuple(means), tuple(deviations)


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give a temporary sibling of ``folder`` that takes its name when the block ends well, and vanishes otherwise.

    Args:
        folder: Must not exist, or be empty, or hold an earlier dataset (which is then replaced).

    Raises:
        InputError: ``folder`` holds something else, or cannot be written.
        AssayError: The disk is full.
    """
    _check_target(folder)
    temporary: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = folder.parent / f".{folder.name}.{secrets.token_hex(4)}"
        temporary.mkdir()
        yield temporary
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(folder.parent).free / 2**20
            raise AssayError(
                f"{folder}: the disk is full ({free:,.0f} MiB free). Free some space or choose another folder; "
                "nothing was left behind."
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and temporary is None:
            raise InputError(f"{folder}: cannot be written ({error.strerror}). Choose a folder of your own.") from error
        raise
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _check_target(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file, but the dataset needs a folder. Choose another name.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / DATASET_FILE).is_file():
        raise InputError(f"{folder}: is not empty and holds no dataset. Choose an empty or new folder.")


def write_description(root: Path, description: Mapping[str, Any]) -> None:
    """Write dataset.json."""
    text = json.dumps({"schema": SCHEMA_VERSION, **description}, indent=2, ensure_ascii=False)
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
    shard_bytes: int = SHARD_BYTES,
) -> Dataset:
    """Write arrays that fit in memory as a dataset; preprocess does the same for files of any number.

    Args:
        out_dir: The folder to write; see `new_folder`.
        splits: For train, valid and test: inputs uint8 (N,H,W,C) or float32 (N,T,C), labels int (N,), and records
            with one row each (None: ids are made up).
        classes: Class names in the order of the labels.
        positive_class: The class to detect; None: the last.
        group_column: Column of the records that names patient or slide.
        shard_bytes: Largest size of a shard in bytes.

    Returns:
        The dataset, opened.
    """
    import pandas as pd

    if set(splits) != set(SPLITS):
        raise ValueError(f"a dataset has the splits {', '.join(SPLITS)}. Received: {', '.join(splits)}")
    train = splits["train"][0]
    kind = "image" if train.ndim == 4 else "sensor"
    with new_folder(out_dir) as root:
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
            statistics.add(train)
            mean, std = statistics.result()
        else:
            values = train.reshape(-1, train.shape[-1]).astype(np.float64)
            mean, std = tuple(values.mean(0).tolist()), tuple(values.std(0).tolist())
        content = [[_digest(splits[name][0]), _digest(np.asarray(splits[name][1], np.int64))] for name in SPLITS]
        write_description(
            root,
            {
                "kind": kind,
                "classes": list(classes),
                "positive_index": len(classes) - 1 if positive_class is None else list(classes).index(positive_class),
                "input_shape": list(train.shape[1:]),
                "dtype": str(train.dtype),
                "color_mode": ("grayscale" if train.shape[-1] == 1 else "rgb") if kind == "image" else "none",
                "fingerprint": hash_json([content, list(classes)])[:32],
                "counts": {name: count_classes(np.asarray(splits[name][1]), classes) for name in SPLITS},
                "mean": list(mean),
                "std": list(std),
                "group_column": group_column,
                "splits": parts,
            },
        )
    return Dataset.open(out_dir)


def _digest(values: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()
