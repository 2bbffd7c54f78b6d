"""A survey of a source: every example read, hashed and decoded once; what is usable, what is not, what is the same."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from assay.config import DataConfig
from assay.data.classes import choose_classes
from assay.data.duplicates import detail, exact_pairs, extend_groups, joinable, near_pairs
from assay.data.images import Rendering, decode_with_range
from assay.data.masks import count_shades
from assay.data.missing import mark_missing
from assay.data.sensors import decode_window
from assay.data.sources import Entry, Listing, Source, open_source
from assay.data.unusable import Unusable, UnusableWindow
from assay.errors import InputError
from assay.observability.progress import Progress
from assay.observability.resources import available_cores

_CHUNK = 64
_THUMBNAIL = (32, 32)
Details = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class SetAside:
    """A file that is not used, with the reason; ``entry`` is None where it never became one."""

    uri: str
    reason: str
    entry: Entry | None = None


@dataclass(frozen=True)
class Survey:
    """What a source holds.

    Attributes:
        source: Where it was read from.
        config: How it was read.
        listing: What the source says it holds, after `DataConfig.classes` chose among the labels.
        classes: Class names in class order.
        table: One row a usable example, sorted by id. Columns of `Snapshot.table`, and: format (as found),
            frames, oriented, bands and dropped (channels of the file, and how many of them are not used), deep (more
            than 8 bits a channel), low and high (the values that such a file uses, in its own units), white (the
            largest that it could hold; NaN where nothing tells), levels (of the 255 steps of grey, those between
            low and high as a network sees them), brightness and contrast (mean and standard deviation of a grey
            thumbnail; for sensors of the values), shades (how many of 256 values occur in an image), missing (values,
            for sensors), given_group (the source's own), duplicates (number of the set of exact or near duplicates, or
            -1; images of different given groups that only look alike share a set and no group), exact (number of the
            set of exact ones, or -1).
        set_aside: Everything that is not used.
        notes: Decisions that the user should hear of, one line each.
    """

    source: Source
    config: DataConfig
    listing: Listing
    classes: tuple[str, ...]
    table: pd.DataFrame
    set_aside: tuple[SetAside, ...]
    notes: tuple[str, ...]

    @property
    def total(self) -> int:
        """Files in all, used and set aside."""
        return len(self.table) + len(self.set_aside)


@dataclass(frozen=True, slots=True)
class _Row:
    """What is known of one example after reading it."""

    id: str
    uri: str
    label: str
    split: str
    given_group: str
    sha256: str
    size: int
    width: int
    height: int
    mode: str
    format: str
    frames: int
    oriented: bool
    bands: int
    dropped: int
    deep: bool
    low: float
    high: float
    white: float
    levels: float
    brightness: float
    contrast: float
    shades: int = 0
    missing: int = 0


_FIELDS = [field.name for field in dataclasses.fields(_Row)]


@dataclass(frozen=True)
class _Chunk:
    rows: list[_Row]
    details: list[Details]
    set_aside: list[SetAside]


def survey(uri: str, config: DataConfig, *, workers: int | None = None, names_first: bool = False) -> Survey:
    """Read everything in a source once.

    Args:
        uri: What `open_source` opens.
        config: Kind, classes, `max_pixels` and the search for near duplicates.
        workers: Threads; None: as many as the source and the processor are worth.
        names_first: Read nothing where the names alone forbid to train.

    Raises:
        InputError: There is no source, it is empty, or contradicts itself.
    """
    source = open_source(uri, config)
    listing = source.listing()
    chosen = choose_classes(source.uri, listing, config)
    listing, entries = chosen.listing, chosen.listing.entries
    if names_first and listing.refusals:
        raise InputError(listing.refusals[0])
    set_aside = [SetAside(rejected.uri, rejected.reason) for rejected in listing.rejected]
    rows: list[_Row] = []
    details: list[Details] = []
    threads = workers or max(available_cores(), source.parallel_reads)
    unit = "images" if config.kind == "image" else "windows"
    with Progress(f"read {unit}", total=len(entries), unit=unit) as progress:
        for chunk in _examine(source, entries, config, threads):
            rows += chunk.rows
            set_aside += chunk.set_aside
            details += chunk.details
            progress.advance(len(chunk.rows) + len(chunk.set_aside))
    table = pd.DataFrame({name: [getattr(row, name) for row in rows] for name in _FIELDS})
    rows.clear()
    images = np.stack(details) if details else None
    details.clear()

    keep = np.ones(len(table), bool)
    if config.kind == "sensor":
        keep &= _same_shape(table, set_aside)
    keep &= _one_label(table, set_aside)
    table, images = _take(table, images, keep)
    table = _group(table, images, config)
    table = table.sort_values("id", ignore_index=True)
    return Survey(
        source=source,
        config=config,
        listing=listing,
        classes=chosen.classes,
        table=table,
        set_aside=tuple(sorted(set_aside, key=lambda aside: (aside.uri, aside.reason))),
        notes=listing.notes,
    )


def _examine(source: Source, entries: Sequence[Entry], config: DataConfig, threads: int) -> Iterator[_Chunk]:
    """Yield what was found in the entries, a chunk at a time, in order; few chunks are in memory at once."""
    chunks = (entries[start : start + _CHUNK] for start in range(0, len(entries), _CHUNK))
    with ThreadPoolExecutor(threads, thread_name_prefix="survey") as pool:
        pending: dict[int, Future[_Chunk]] = {}
        submitted = yielded = 0
        try:
            while True:
                while len(pending) < 2 * threads and (chunk := next(chunks, None)) is not None:
                    pending[submitted] = pool.submit(_examine_chunk, source, chunk, config)
                    submitted += 1
                if not pending:
                    return
                wait([pending[yielded]], return_when=FIRST_COMPLETED)
                yield pending.pop(yielded).result()
                yielded += 1
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _examine_chunk(source: Source, entries: Sequence[Entry], config: DataConfig) -> _Chunk:
    rows: list[_Row] = []
    details: list[Details] = []
    set_aside: list[SetAside] = []
    for entry in entries:
        try:
            data = source.read(entry)
            if config.kind == "image":
                row, shown = _examine_image(entry, data, config)
                if config.near_duplicates:
                    details.append(shown)
            else:
                row = _examine_window(entry, data, config)
            rows.append(row)
        except Unusable as reason:
            set_aside.append(SetAside(entry.uri, str(reason), entry))
        except OSError as error:
            set_aside.append(SetAside(entry.uri, f"cannot be read ({error.strerror or error})", entry))
    return _Chunk(rows, details, set_aside)


def _examine_image(entry: Entry, data: bytes, config: DataConfig) -> tuple[_Row, Details]:
    rendering = Rendering.of(config)
    pixels, info, used = decode_with_range(data, config.max_pixels, rendering)
    height, width, channels = pixels.shape
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if channels == 3 else pixels[..., 0]
    thumbnail = cv2.resize(grey, _THUMBNAIL, interpolation=cv2.INTER_AREA)
    mean, deviation = cv2.meanStdDev(thumbnail)
    row = _Row(
        id=entry.id,
        uri=entry.uri,
        label=entry.label,
        split=entry.split,
        given_group=entry.group,
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        width=width,
        height=height,
        mode=info.mode,
        format=info.format,
        frames=info.frames,
        oriented=info.oriented,
        bands=info.bands,
        dropped=info.dropped if config.bands is None else 0,
        deep=used is not None,
        low=used.low if used is not None else 0.0,
        high=used.high if used is not None else 255.0,
        white=float(used.white) if used is not None and used.white is not None else np.nan,
        levels=used.levels(rendering) if used is not None else 255.0,
        brightness=float(mean[0, 0]),
        contrast=float(deviation[0, 0]),
        shades=count_shades(pixels),
    )
    return row, detail(grey)


def _examine_window(entry: Entry, data: bytes, config: DataConfig) -> _Row:
    window = mark_missing(decode_window(data), config.missing_values, config.missing_flat_steps)
    missing = int(np.isnan(window).sum())
    if missing == window.size:
        raise UnusableWindow("missing values: all")
    if missing and config.missing == "error":
        raise UnusableWindow(f"missing values: {missing} of {window.size}, and data.missing is error")
    return _Row(
        id=entry.id,
        uri=entry.uri,
        label=entry.label,
        split=entry.split,
        given_group=entry.group,
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        width=window.shape[1],
        height=window.shape[0],
        mode="float32",
        format="NPY" if data.startswith(b"\x93NUMPY") else "CSV",
        frames=1,
        oriented=False,
        bands=0,
        dropped=0,
        deep=False,
        low=0.0,
        high=0.0,
        white=np.nan,
        levels=0.0,
        brightness=float(np.nanmean(window)),
        contrast=float(np.nanstd(window)),
        missing=missing,
    )


def _same_shape(table: pd.DataFrame, set_aside: list[SetAside]) -> npt.NDArray[np.bool_]:
    """Set aside windows of another shape than most."""
    if table.empty:
        return np.ones(0, bool)
    shapes = table["height"].astype(str) + " x " + table["width"].astype(str)
    usual = shapes.value_counts().index[0]
    keep = (shapes == usual).to_numpy()
    for (_, row), shape in zip(table[~keep].iterrows(), shapes[~keep], strict=True):
        set_aside.append(
            SetAside(row["uri"], f"another shape: {shape}, most windows have {usual} (steps x channels)", _entry(row))
        )
    return keep


def _one_label(table: pd.DataFrame, set_aside: list[SetAside]) -> npt.NDArray[np.bool_]:
    """Set aside all copies of an image that stands under several labels: one is wrong, and nobody knows which."""
    labels = table.groupby("sha256")["label"].transform("nunique") if len(table) else pd.Series([], dtype=int)
    keep = (labels == 1).to_numpy() if len(table) else np.ones(0, bool)
    for _, copies in table[~keep].groupby("sha256"):
        named = ", ".join(f"'{name}'" for name in sorted(set(copies["label"])))
        for _, row in copies.iterrows():
            other = copies["id"][copies["label"] != row["label"]].iloc[0]
            reason = f"contradictory labels: the same image stands under {named} (also: {other})"
            set_aside.append(SetAside(row["uri"], reason, _entry(row)))
    return keep


def _entry(row: pd.Series) -> Entry:
    return Entry(row["id"], row["uri"], row["label"], row["split"], row["given_group"])


def _take(
    table: pd.DataFrame, images: Details | None, keep: npt.NDArray[np.bool_]
) -> tuple[pd.DataFrame, Details | None]:
    if keep.all():
        return table, images
    return table[keep].reset_index(drop=True), images[keep] if images is not None else None


def _group(table: pd.DataFrame, images: Details | None, config: DataConfig) -> pd.DataFrame:
    """Add the columns group, duplicates and exact."""
    ids, given = table["id"].tolist(), table["given_group"].tolist()
    copies = exact_pairs(table["sha256"].tolist())
    pairs = joined = copies
    if images is not None:
        # Of exact copies one stands for all.
        different = np.setdiff1d(np.arange(len(table)), copies[:, 1])
        near = different[near_pairs(images[different], config.near_duplicate_bits)]
        pairs = np.concatenate([copies, near])
        joined = np.concatenate([copies, joinable(near, given)])
    groups, _ = extend_groups(ids, given, joined)
    _, sets = extend_groups(ids, [""] * len(ids), pairs)
    _, exact = extend_groups(ids, [""] * len(ids), copies)
    return table.assign(group=groups, duplicates=sets, exact=exact)
