"""The rows of a dataset, from the source's files into their places: the parallel part of preprocessing.

Worker threads each take a block of rows through all of it: read, check, decode and resize (OpenCV does not hold
the interpreter's lock), count, and write into place. While one waits for the disk the others decode, and no more
blocks than workers are in memory. The rows' places are planned, so the order in which blocks end changes nothing.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from assay.data.dataset import Array, Counts
from assay.data.images import decode
from assay.data.plan import Plan
from assay.data.sensors import decode_window
from assay.data.shards import ChannelStatistics, SplitWriter
from assay.data.sources import Entry, Source, open_source
from assay.data.unusable import Unusable, UnusableWindow
from assay.errors import AssayError
from assay.observability.progress import Progress

if TYPE_CHECKING:
    import pandas as pd

BLOCK_BYTES = 4 * 2**20
BLOCKS_BYTES = 128 * 2**20  # of all workers together
BLOCK_ROWS = 256

T = TypeVar("T")


@dataclass(frozen=True)
class Block:
    """Consecutive rows of a split, and the row number in the files at which they are written."""

    split: str
    rows: pd.DataFrame
    position: int


def blocks_of(plan: Plan, split: str, low: int, high: int) -> Iterator[Block]:
    """Yield rows ``low`` to ``high`` of a split in blocks of a few megabytes; ``low`` is written at position 0."""
    size = max(1, min(BLOCK_ROWS, BLOCK_BYTES // plan.row_bytes))
    for first in range(low, high, size):
        yield Block(split, plan.records[split].iloc[first : min(first + size, high)], first - low)


def fill(plan: Plan, writers: Mapping[str, SplitWriter], blocks: Sequence[Block], workers: int | None) -> Counts:
    """Make all rows and write them.

    Args:
        plan: What the rows are.
        writers: Where each split is written.
        blocks: The rows.
        workers: Threads; None: as many as source and processor are worth.

    Returns:
        Histogram int64 (C, 256) of the training images.

    Raises:
        AssayError: A file is gone, has changed since ingest, or cannot be used with this config.
    """
    source = open_source(plan.source, plan.data)
    threads = workers or max(len(os.sched_getaffinity(0)), source.parallel_reads)
    threads = max(1, min(threads, BLOCKS_BYTES // max(BLOCK_BYTES, plan.row_bytes)))
    train = ChannelStatistics(plan.row_shape[-1])

    def make(block: Block) -> tuple[int, Counts | None]:
        rows = _decode_block(plan, source, block)
        writers[block.split].write(block.position, rows)
        if block.split != "train" or plan.data.kind != "image":
            return len(rows), None
        statistics = ChannelStatistics(plan.row_shape[-1])
        statistics.add(rows)
        return len(rows), statistics.histogram

    total = sum(len(block.rows) for block in blocks)
    verb = "decode" if plan.data.kind == "image" else "read"
    with Progress(f"{verb} {plan.unit}", total=total, unit=plan.unit) as progress:
        for count, histogram in _in_parallel(make, blocks, threads):
            progress.advance(count)
            if histogram is not None:
                train.histogram += histogram
    return train.histogram


def _in_parallel(make: Callable[[Block], T], blocks: Iterable[Block], threads: int) -> Iterator[T]:
    """Yield results as they come; few blocks are under way at once, and none after an error."""
    waiting = iter(blocks)
    pending: set[Future[T]] = set()
    with ThreadPoolExecutor(threads, thread_name_prefix="preprocess") as pool:
        try:
            while True:
                pending |= {pool.submit(make, block) for block in itertools.islice(waiting, 2 * threads - len(pending))}
                if not pending:
                    return
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _decode_block(plan: Plan, source: Source, block: Block) -> Array:
    rows = np.empty((len(block.rows), *plan.row_shape), plan.dtype)
    size = (plan.row_shape[0], plan.row_shape[1])
    columns = (block.rows[name].tolist() for name in ("id", "uri", "label", "group", "sha256"))
    for number, (name, uri, label, group, sha256) in enumerate(zip(*columns, strict=True)):
        try:
            encoded = source.read(Entry(id=name, uri=uri, label=label, group=group))
        except OSError as error:
            reason = error.strerror or " ".join(str(error).split())
            raise AssayError(f"{uri}: cannot be read any more ({reason}). Restore it, or run ingest again.") from error
        if hashlib.sha256(encoded).hexdigest() != sha256:
            raise AssayError(f"{uri}: has changed since ingest. Restore it, or run ingest again.")
        try:
            if plan.data.kind == "image":
                rows[number] = decode(encoded, plan.data.color_mode, size, plan.data.max_pixels)
            else:
                rows[number] = _window(encoded, plan.row_shape)
        except Unusable as error:
            raise AssayError(f"{uri}: cannot be used ({error}). Run ingest again with this config.") from error
    return rows


def _window(encoded: bytes, shape: tuple[int, ...]) -> Array:
    window = decode_window(encoded)
    if window.shape != shape:
        raise UnusableWindow(f"its shape is {window.shape}, most windows have {shape}")
    return window
