"""The rows of a dataset, from the source's files into their places: the parallel part of preprocessing.

Worker threads each take a block of rows through all of it: read, check, decode and resize (OpenCV does not hold
the interpreter's lock), count, and write into place. While one waits for the disk the others decode, and no more
blocks than workers are in memory. The rows' places are planned, so the order in which blocks end changes nothing.
Processes instead of threads were no faster on two cores (six rounds: median 3,800 against 3,700 images/s, before
their start and the joining of their parts).
"""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from assay.config import DataConfig
from assay.data.dataset import Array
from assay.data.images import Rendering, decode
from assay.data.missing import mark_missing, with_mask
from assay.data.plan import Plan
from assay.data.sensors import decode_window
from assay.data.shards import ChannelStatistics, SplitWriter
from assay.data.sources import Entry, Source, open_source
from assay.data.unusable import Unusable, UnusableWindow
from assay.errors import AssayError
from assay.observability.progress import Progress
from assay.observability.resources import available_cores

BLOCK_BYTES = 4 * 2**20
BLOCKS_BYTES = 128 * 2**20  # of all workers together
BLOCK_ROWS = 256

T = TypeVar("T")


@dataclass(frozen=True)
class Block:
    """Consecutive rows of a split: their entries and SHA-256, and the row number at which they are written."""

    split: str
    entries: list[Entry]
    hashes: list[str]
    position: int


def blocks_of(plan: Plan, bounds: Mapping[str, tuple[int, int]]) -> Iterator[Block]:
    """Yield a range of rows of each split in small blocks.

    Args:
        plan: What the rows are.
        bounds: For each split its first row, which is written at position 0, and the one after its last.
    """
    size = _block_rows(plan)
    for split, (low, high) in bounds.items():
        # Taken out of the table in large pieces, since each costs as much as decoding several images.
        for start in range(low, high, 16 * size):
            rows = plan.records[split].iloc[start : min(start + 16 * size, high)]
            columns = (rows[name].tolist() for name in ("id", "uri", "label", "group"))
            entries = [Entry(name, uri, label, split, group) for name, uri, label, group in zip(*columns, strict=True)]
            hashes = rows["sha256"].tolist()
            for first in range(0, len(rows), size):
                part = slice(first, first + size)
                yield Block(split, entries[part], hashes[part], start - low + first)


def _block_rows(plan: Plan) -> int:
    return max(1, min(BLOCK_ROWS, BLOCK_BYTES // plan.row_bytes))


def fill(
    plan: Plan, writers: Mapping[str, SplitWriter], bounds: Mapping[str, tuple[int, int]], workers: int | None
) -> ChannelStatistics:
    """Make all rows and write them.

    Args:
        plan: What the rows are.
        writers: Where each split is written.
        bounds: The rows, as for `blocks_of`.
        workers: Threads; None: as many as source and processor are worth.

    Returns:
        The statistics of the training images.

    Raises:
        AssayError: A file is gone, has changed since ingest, or cannot be used with this config.
    """
    source = open_source(plan.source, plan.data)
    threads = workers or max(available_cores(), source.parallel_reads)
    threads = max(1, min(threads, BLOCKS_BYTES // max(BLOCK_BYTES, plan.row_bytes)))
    train = ChannelStatistics(plan.row_shape[-1])
    size = _block_rows(plan)
    # A worker's rows lie where its last ones lay: new memory would be cleared first, page by page.
    memory = threading.local()

    def make(block: Block) -> tuple[int, ChannelStatistics]:
        if not hasattr(memory, "rows"):
            memory.rows = np.empty((size, *plan.row_shape), plan.dtype)
        rows = memory.rows[: len(block.entries)]
        _decode_block(plan, source, block, rows)
        statistics = ChannelStatistics(plan.row_shape[-1])
        if plan.data.kind == "image" and block.split == "train":
            statistics.add(rows)
        writers[block.split].write(block.position, rows)
        return len(rows), statistics

    total = sum(high - low for low, high in bounds.values())
    verb = "decode" if plan.data.kind == "image" else "read"
    with Progress(f"{verb} {plan.unit}", total=total, unit=plan.unit) as progress:
        for count, statistics in _in_parallel(make, blocks_of(plan, bounds), threads):
            progress.advance(count)
            train.merge(statistics)
    return train


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


def _decode_block(plan: Plan, source: Source, block: Block, rows: Array) -> None:
    """Put the pixels (or windows) of a block's entries into ``rows``."""
    size = (plan.row_shape[0], plan.row_shape[1])
    images = plan.data.kind == "image"
    rendering = Rendering.of(plan.data)
    for number, (entry, sha256) in enumerate(zip(block.entries, block.hashes, strict=True)):
        try:
            encoded = source.read(entry)
        except OSError as error:
            reason = error.strerror or " ".join(str(error).split())
            message = f"{entry.uri}: cannot be read any more ({reason}). Restore it, or run ingest again."
            raise AssayError(message) from error
        if hashlib.sha256(encoded).hexdigest() != sha256:
            raise AssayError(f"{entry.uri}: has changed since ingest. Restore it, or run ingest again.")
        try:
            if images:
                rows[number] = decode(encoded, plan.data.color_mode, size, plan.data.max_pixels, rendering)
            else:
                rows[number] = _window(encoded, plan.row_shape, plan.data)
        except Unusable as error:
            message = f"{entry.uri}: cannot be used ({error}). Run ingest again with this config."
            raise AssayError(message) from error


def _window(encoded: bytes, shape: tuple[int, ...], config: DataConfig) -> Array:
    window = mark_missing(decode_window(encoded), config.missing_values, config.missing_flat_steps)
    if config.missing_mask:
        shape = (shape[0], shape[1] // 2)
    if window.shape != shape:
        raise UnusableWindow(f"its shape is {window.shape}, most windows have {shape}")
    return with_mask(window, np.isnan(window)) if config.missing_mask else window
