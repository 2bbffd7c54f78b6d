"""The dataset that training reads: memory-mapped shards per split and the dataset.json that describes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from assay.errors import DamagedError, InputError
from assay.storage.files import read_errors
from assay.storage.seals import damaged, is_intact

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1
DATASET_FILE = "dataset.json"
SPLITS = ("train", "valid", "test")

Array = npt.NDArray[Any]
Labels = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int64]


# Nothing of a damaged dataset is trained on.
AGAIN = "Run preprocess again: give the same command once more, with `--force preprocess` if it is reused."


def shard_files(splits: Mapping[str, Any]) -> list[str]:
    """Return the names of all files that the splits of a dataset.json name, below the dataset's folder."""
    return [
        shard[part]
        for split in splits.values()
        for shard in split["shards"]
        for part in ("inputs", "labels", "records")
    ]


class ShardedArray:
    """Rows of several ``.npy`` files behind one object, read from memory maps when they are asked for.

    Reading is safe from many threads, and the object may be pickled (only the paths travel).

    Args:
        files: The shards in order; all rows have one shape and dtype.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = tuple(files)
        self._maps = [_map(file) for file in self.files]
        if not self._maps:
            raise InputError("a split without shards cannot be read. Run preprocess again.")
        first = self._maps[0]
        for file, rows in zip(self.files, self._maps, strict=True):
            if rows.shape[1:] != first.shape[1:] or rows.dtype != first.dtype:
                raise DamagedError(
                    f"{file}: rows of {rows.shape[1:]} {rows.dtype}, but the first shard has {first.shape[1:]} "
                    f"{first.dtype}. Run preprocess again."
                )
        self._starts = np.cumsum([0] + [len(rows) for rows in self._maps])
        self.dtype: np.dtype[Any] = first.dtype

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows, then the shape of one row."""
        return (len(self), *self._maps[0].shape[1:])

    @property
    def ndim(self) -> int:
        """Number of axes, that of the rows included."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Size of all rows in bytes."""
        return sum(rows.nbytes for rows in self._maps)

    def __getitem__(self, index: int | np.integer[Any] | slice | Sequence[int] | Array) -> Array:
        """Return rows as an array of one's own: one row for an integer, else N,... in the order asked for."""
        if isinstance(index, int | np.integer):
            return self.take(np.array([index]))[0]
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                return self._range(start, max(start, stop))
            return self.take(np.arange(start, stop, step))
        positions = np.asarray(index)
        if positions.dtype == bool:
            if positions.shape != (len(self),):
                raise IndexError(f"a mask needs {len(self)} values. Received: shape {positions.shape}")
            positions = np.flatnonzero(positions)
        return self.take(positions)

    def take(self, indices: Array, out: Array | None = None) -> Array:
        """Gather rows.

        Args:
            indices: Integers (B,), negative ones counted from the end.
            out: Where to put the rows, (B, ...) of this dtype; a new array where it is absent.

        Returns:
            The rows (B, ...), in the order of ``indices``.

        Raises:
            IndexError: An index lies outside the array.
        """
        indices = np.asarray(indices)
        if indices.ndim != 1:
            raise IndexError(f"rows are taken with a list of indices. Received: shape {indices.shape}")
        indices = indices.astype(np.int64, copy=False)
        if len(indices) and (indices.min() < -len(self) or indices.max() >= len(self)):
            raise IndexError(f"rows run from 0 to {len(self) - 1}. Received: {indices.min()} to {indices.max()}")
        indices = np.where(indices < 0, indices + len(self), indices)
        if out is None:
            out = np.empty((len(indices), *self.shape[1:]), self.dtype)
        shards = np.searchsorted(self._starts, indices, side="right") - 1
        for shard in np.unique(shards):
            chosen = shards == shard
            local = indices[chosen] - self._starts[shard]
            if chosen.all():
                np.take(self._maps[shard], local, axis=0, out=out, mode="clip")
            else:
                out[chosen] = self._maps[shard][local]
        return out

    def batches(self, size: int) -> Iterator[Array]:
        """Yield all rows in order, ``size`` at a time (fewer at the end)."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def __iter__(self) -> Iterator[Array]:
        for rows in self._maps:
            for row in rows:
                yield np.array(row)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("a sharded array is copied when it becomes one array; ask with copy=None or True")
        rows = self._range(0, len(self))
        return rows if dtype is None else rows.astype(dtype, copy=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return (ShardedArray, (self.files,))

    def __repr__(self) -> str:
        return f"ShardedArray({len(self.files)} shards, shape={self.shape}, dtype={self.dtype})"

    def _range(self, start: int, stop: int) -> Array:
        out = np.empty((stop - start, *self.shape[1:]), self.dtype)
        done = 0
        for first, rows in zip(self._starts, self._maps, strict=False):
            low, high = max(start - first, 0), min(stop - first, len(rows))
            if low < high:
                out[done : done + high - low] = rows[low:high]
                done += high - low
        return out


class Split:
    """One split: its inputs, labels and records, row by row.

    Args:
        name: train, valid or test.
        inputs: Images uint8 (N,H,W,C) or windows float32 (N,T,C).
        labels: Class indices int64 (N,).
        records: One row for each input (id, uri, label, group, sha256...), or a function that reads them.
    """

    def __init__(
        self,
        name: str,
        inputs: ShardedArray,
        labels: Labels,
        records: pd.DataFrame | Callable[[], pd.DataFrame],
    ) -> None:
        self.name = name
        self.inputs = inputs
        self.labels = labels
        self._records = records

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def records(self) -> pd.DataFrame:
        """One row for each input: id, uri, label (name), group, sha256 and what else ingest knew."""
        return self._records() if callable(self._records) else self._records

    def __repr__(self) -> str:
        return f"Split({self.name!r}, {self.inputs!r})"


@dataclass(frozen=True)
class Dataset:
    """A preprocessed dataset on disk.

    Attributes:
        root: The folder that holds dataset.json.
        kind: image or sensor.
        classes: Class names; a label is an index into them.
        positive_index: Index of the class to detect.
        input_shape: H,W,C in pixels, or T,C in steps and channels.
        fingerprint: Hash of what the data depends on: snapshot, the fields of the config that matter, seed.
        counts: Rows of each class in each split.
        mean: Mean of each channel over the training split, in units of the input (0..255 for images).
        std: Standard deviation of each channel, likewise.
        group_column: Column of the records that names patient or slide; None where the source has no groups.
        description: All of dataset.json.
    """

    root: Path
    kind: Literal["image", "sensor"]
    classes: tuple[str, ...]
    positive_index: int
    input_shape: tuple[int, ...]
    fingerprint: str
    counts: Mapping[str, Mapping[str, int]]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    group_column: str | None
    description: Mapping[str, Any]

    @property
    def identity(self) -> dict[str, str]:
        """What a step's metadata say of the dataset: its fingerprint, and of two classes the one to detect."""
        positive = {"positive_class": self.classes[self.positive_index]} if len(self.classes) == 2 else {}
        return {"dataset_fingerprint": self.fingerprint, **positive}

    @classmethod
    def open(cls, root: Path | str) -> Dataset:
        """Read dataset.json; the splits are mapped when they are first asked for.

        Args:
            root: The folder that preprocess wrote.

        Raises:
            DamagedError: There is no dataset, or it is not as it was written, or of another schema version.
        """
        root = Path(root)
        file = root / DATASET_FILE
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise DamagedError(f"{root}: no dataset here ({DATASET_FILE} is missing). Run preprocess first.") from error
        except (OSError, ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise DamagedError(f"{file}: cannot be read ({reason}). Run preprocess again.") from error
        version = values.get("schema") if isinstance(values, dict) else None
        if version != SCHEMA_VERSION:
            raise DamagedError(f"{file}: schema {version!r}, but {SCHEMA_VERSION} is read here. Run preprocess again.")
        if not is_intact(values):
            raise DamagedError(f"{file}: has changed since preprocess wrote it. {AGAIN}")
        return cls(
            root=root,
            kind=values["kind"],
            classes=tuple(values["classes"]),
            positive_index=values["positive_index"],
            input_shape=tuple(values["input_shape"]),
            fingerprint=values["fingerprint"],
            counts=values["counts"],
            mean=tuple(values["mean"]),
            std=tuple(values["std"]),
            group_column=values["group_column"],
            description=values,
        )

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @property
    def folds(self) -> int:
        """Number of folds, of which the column ``fold`` of the records has one a row; 0: a single split."""
        return int(self.description.get("folds", 0))

    @property
    def color_mode(self) -> str:
        """How images were decoded: rgb or grayscale (sensor windows: none)."""
        return str(self.description["color_mode"])

    @cached_property
    def train(self) -> Split:
        """The training split."""
        return self._open("train")

    @cached_property
    def valid(self) -> Split:
        """The validation split: early stopping, thresholds and calibration come from here."""
        return self._open("valid")

    def open_test(self) -> Split:
        """Open the test split. Only evaluate and promote may: a choice made on it makes its scores worthless.

        Of a dataset with folds it is all rows: each is tested once, by a model that has seen nothing of its group.
        """
        return self.open_all() if self.folds else self._open("test")

    def open_all(self) -> Split:
        """Open the rows of all splits as one, in the order of `SPLITS`; `assay.data.folds` alone may."""
        parts = [self._open(name) for name in SPLITS if self.description["splits"][name]["shards"]]

        def records() -> pd.DataFrame:
            import pandas as pd

            return pd.concat([part.records for part in parts], ignore_index=True)

        inputs = ShardedArray([file for part in parts for file in part.inputs.files])
        return Split("all", inputs, np.concatenate([part.labels for part in parts]), records)

    def _open(self, name: str) -> Split:
        shards = self.description["splits"][name]["shards"]
        files_of_split = shard_files({name: {"shards": shards}})
        harm = damaged(self.root, {file: self.description["seals"][file] for file in files_of_split})
        if harm is not None:
            raise DamagedError(f"{self.root / harm[0]}: damaged since preprocess wrote it ({harm[1]}). {AGAIN}")
        inputs = ShardedArray([self.root / shard["inputs"] for shard in shards])
        labels = np.concatenate([_map(self.root / shard["labels"]) for shard in shards]).astype(np.int64, copy=False)
        rows = sum(shard["rows"] for shard in shards)
        if not len(inputs) == len(labels) == rows or inputs.shape[1:] != self.input_shape:
            raise DamagedError(
                f"{self.root / name}: the shards hold {inputs.shape} inputs and {len(labels)} labels, but "
                f"{DATASET_FILE} says {(rows, *self.input_shape)}. Run preprocess again."
            )
        files = [self.root / shard["records"] for shard in shards]
        return Split(name, inputs, labels, lambda: _read_records(files))


def _map(file: Path) -> Array:
    with read_errors(file, "Run preprocess again: `assay run CONFIG --force preprocess`.", DamagedError):
        shard: Array = np.load(file, mmap_mode="r", allow_pickle=False)
        return shard


def _read_records(files: Sequence[Path]) -> pd.DataFrame:
    import pandas as pd

    frames = []
    for file in files:
        with read_errors(file, "Run preprocess again: `assay run CONFIG --force preprocess`.", DamagedError):
            frames.append(pd.read_parquet(file))
    return pd.concat(frames, ignore_index=True)
