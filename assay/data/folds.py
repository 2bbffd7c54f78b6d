"""Cross-validation's folds: whole groups, every class in each; and the part of a dataset that one fold trains on.

Each row is tested in one fold. What a fold trains on is written as a dataset of its own, without the rows that it
tests: no statistic, threshold or weight of a fold can come from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from assay.data.dataset import SPLITS, Array, Counts, Dataset, ShardedArray, Split
from assay.data.missing import has_mask, window_statistics
from assay.data.shards import ChannelStatistics, SplitWriter, count_classes, write_description
from assay.data.splitting import FOLD, REMEMBERED, check_enough, split_groups
from assay.errors import InputError
from assay.hashing import hash_json
from assay.storage.files import disk_errors, new_folder

if TYPE_CHECKING:
    import pandas as pd

# Raised whenever the same dataset gives other folds than before.
ALGORITHM = 1
BLOCK_BYTES = 64 * 2**20
DEFAULT_VALID_FRACTION = 0.15


@dataclass(frozen=True)
class FoldRows:
    """Which of all rows of a dataset one fold uses for what.

    Attributes:
        train: Row numbers, int64 (T,), as `Dataset.open_all` counts.
        valid: Row numbers, int64 (V,).
        test: Row numbers, int64 (N,).
    """

    train: Counts
    valid: Counts
    test: Counts


def fold_names(count: int) -> tuple[str, ...]:
    """Return what folds are called: fold 1, fold 2..."""
    return tuple(f"fold {number + 1}" for number in range(count))


def assign_folds(
    table: pd.DataFrame, count: int, seed: int, remembered: npt.NDArray[np.object_] | None = None
) -> Counts:
    """Give every row a fold; no group is in two, every class is in each, and folds are near the same size.

    Args:
        table: Columns label and group (N rows).
        count: How many folds, 2 or more.
        seed: Decides which groups go where.
        remembered: object (N,), the name of the fold that each row's group had before, or "": it has it again.

    Returns:
        int64 (N,), 0 to ``count`` - 1.

    Raises:
        InputError: A class has too few groups: each fold tests one at least, and trains and validates on others.
    """
    names = fold_names(count)
    check_enough(table, names)
    if remembered is not None:
        table = table.assign(**{REMEMBERED: remembered})
    chosen = split_groups(table, dict.fromkeys(names, 1 / count), seed)
    folds = np.array([names.index(name) for name in chosen], np.int64)
    check_folds(table, folds, count)
    return folds


def check_folds(table: pd.DataFrame, folds: Counts, count: int) -> None:
    """Raise where folds of these rows (N,) cannot be trained and tested.

    Raises:
        InputError: A fold has no row of a class, or too few groups of it are left to train and to validate on.
    """
    for number in range(count):
        for label in sorted(set(table["label"]) - set(table["label"][folds == number])):
            raise InputError(
                f"fold {number + 1} has no image of class '{label}'. Set data.keep_splits to false once, which draws "
                "folds and splits anew, or a larger data.limit_per_class."
            )
        # With two folds and a class of two groups nothing of it is left to validate on.
        check_enough(table[folds != number], ["training", "validation"])


def fold_rows(dataset: Dataset, number: int) -> FoldRows:
    """Return which rows a fold trains, validates and tests on.

    Of the rows that it does not test the fold validates on ``data.valid_fraction``, by whole groups. What it tests has
    no say in that.

    Args:
        dataset: With folds.
        number: The fold, from 0.

    Raises:
        InputError: The dataset has no such fold.
    """
    return _rows_of(dataset, dataset.open_all(), number)


def open_fold(dataset: Dataset, number: int) -> tuple[Dataset, Split, FoldRows]:
    """Open a fold: the dataset with the fold's training and validation rows as its splits, and the rows that it tests.

    The evaluation alone may: training has no use for what is tested.

    Args:
        dataset: With folds.
        number: The fold, from 0.

    Raises:
        InputError: The dataset has no such fold.
    """
    everything = dataset.open_all()
    rows = _rows_of(dataset, everything, number)
    seen = _Fold(**{field.name: getattr(dataset, field.name) for field in fields(dataset)})
    seen.__dict__["parts"] = {
        "train": _taken(everything, rows.train, "train"),
        "valid": _taken(everything, rows.valid, "valid"),
    }
    return seen, _taken(everything, rows.test, "test"), rows


class SelectedRows:
    """Some rows of an array of shards, read from memory maps when they are asked for.

    Args:
        whole: All rows.
        rows: Which of them, int64 (N,), in which order.
    """

    def __init__(self, whole: ShardedArray, rows: Counts) -> None:
        self.whole = whole
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows, then the shape of one row."""
        return (len(self), *self.whole.shape[1:])

    def __getitem__(self, index: slice | Array) -> Array:
        """Return rows (B, ...) as an array of one's own, for a slice or integers."""
        return self.whole.take(self.rows[index])


class _Fold(Dataset):
    """A dataset whose splits are those of a fold."""

    def _open(self, name: str) -> Split:
        part: Split = self.__dict__["parts"][name]
        return part


def _taken(everything: Split, rows: Counts, name: str) -> Split:
    # Whoever judges asks for length, shape and rows alone.
    inputs = cast(ShardedArray, SelectedRows(everything.inputs, rows))
    return Split(name, inputs, everything.labels[rows], lambda: everything.records.iloc[rows].reset_index(drop=True))


def write_fold(dataset: Dataset, number: int, out_dir: Path) -> Dataset:
    """Write what a fold trains and validates on as a dataset of its own, with an empty test split.

    Args:
        dataset: With folds.
        number: The fold, from 0.
        out_dir: Absent or empty; it appears whole or not at all.

    Returns:
        The dataset, opened.

    Raises:
        InputError: The dataset has no such fold.
        AssayError: The disk is full.
    """
    everything = dataset.open_all()
    rows = _rows_of(dataset, everything, number)
    parts = {"train": rows.train, "valid": rows.valid, "test": rows.test[:0]}
    with disk_errors(out_dir), new_folder(out_dir) as root:
        statistics = ChannelStatistics(dataset.input_shape[-1])
        written = {}
        for name in SPLITS:
            taken, start = parts[name], 0
            writer = SplitWriter(root, name, len(taken), dataset.input_shape, everything.inputs.dtype)
            for block in _blocks(everything, taken):
                writer.write(start, block)
                start += len(block)
                if name == "train" and dataset.kind == "image":
                    statistics.add(block)
            records = everything.records.iloc[taken].reset_index(drop=True)
            written[name] = writer.finish(everything.labels[taken], records)
        if dataset.kind == "image":
            mean, std = statistics.result()
        else:
            blocks = _blocks(everything, rows.train)
            mean, std = window_statistics(blocks, dataset.input_shape[-1], mask=has_mask(dataset))
        write_description(root, {**_description(dataset, everything, number, parts), **_found(mean, std, written)})
    return Dataset.open(out_dir)


def _blocks(everything: Split, rows: Counts) -> Iterator[Array]:
    """Yield rows (B, ...) in order, a few at a time."""
    size = max(1, BLOCK_BYTES // everything.inputs[0].nbytes)
    for start in range(0, len(rows), size):
        yield everything.inputs.take(rows[start : start + size])


def _rows_of(dataset: Dataset, everything: Split, number: int) -> FoldRows:
    if not 0 <= number < dataset.folds:
        raise InputError(
            f"{dataset.root}: fold {number + 1} of {dataset.folds}: there is no such fold. Set validate.folds and run "
            "preprocess again."
        )
    table = everything.records
    folds = table[FOLD].to_numpy()
    rest = np.flatnonzero(folds != number)
    table = table.assign(
        label=np.array(dataset.classes, dtype=object)[everything.labels],
        group=table["group"] if "group" in table else table["id"],
    )
    fraction = float((dataset.description.get("config") or {}).get("valid_fraction", DEFAULT_VALID_FRACTION))
    fractions = {"train": 1 - fraction, "valid": fraction}
    seed = int(dataset.description.get("seed", 0))
    names = split_groups(table.iloc[rest], fractions, seed + number + 1)
    return FoldRows(rest[names == "train"], rest[names == "valid"], np.flatnonzero(folds == number))


def _description(dataset: Dataset, everything: Split, number: int, parts: dict[str, Counts]) -> dict[str, Any]:
    """Return the description of a fold's dataset without what its pixels tell."""
    kept = {key: value for key, value in dataset.description.items() if key not in ("folds", "seals", "schema")}
    content = [ALGORITHM, dataset.fingerprint, number, dataset.folds]
    groups = everything.records["group" if "group" in everything.records else "id"].to_numpy()
    return {
        **kept,
        "fingerprint": hash_json(content)[:32],
        "counts": {name: count_classes(everything.labels[rows], dataset.classes) for name, rows in parts.items()},
        "groups": {name: len(np.unique(groups[rows].astype(str))) for name, rows in parts.items()},
        FOLD: {"number": number, "of": dataset.folds, "dataset": dataset.fingerprint},
    }


def _found(mean: Any, std: Any, written: dict[str, Any]) -> dict[str, Any]:
    return {"mean": list(mean), "std": list(std), "splits": written}
