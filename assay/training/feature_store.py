"""Where computed features lie on disk: one file a key, bounded in size, safe between processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from assay.config import RuntimeConfig
from assay.observability.progress import log
from assay.storage import cache

GIGABYTE = 10**9
# Room left on the disk for everything else.
RESERVE_BYTES = GIGABYTE
# What stands behind the values: a mark, where they end, and their CRC-32.
_TRAILER = struct.Struct("<8sQI")
_MARK = b"ASSAYCRC"
_BLOCK = 2**22


def cache_folder(runtime: RuntimeConfig) -> Path:
    """Return the folder of feature caches: ``cache_dir``, or below ``ASSAY_CACHE``, or in the user's cache folder."""
    if runtime.cache_dir is not None:
        return Path(runtime.cache_dir).expanduser() / "features"
    return cache.cache_folder("features")


@dataclass(frozen=True)
class FeatureStore:
    """Arrays by key, the least recently used ones removed where room is needed.

    Args:
        folder: Made when first written to.
        limit_bytes: Largest size of all arrays together.
    """

    folder: Path
    limit_bytes: int

    def room(self) -> int:
        """Return how many bytes can be kept here, those of arrays that would make way included."""
        parent = next(parent for parent in (self.folder, *self.folder.parents) if parent.exists())
        status = os.statvfs(parent)
        free = status.f_bavail * status.f_frsize + self.used() - RESERVE_BYTES
        return max(0, min(self.limit_bytes, free))

    def used(self) -> int:
        """Return the size of all arrays, in bytes."""
        return sum(size for _, size, _ in self._entries())

    def has(self, key: str) -> bool:
        """Return whether an array is there, whole."""
        return self._path(key).exists()

    def get(
        self,
        key: str,
        shape: tuple[int, ...],
        dtype: npt.DTypeLike,
        compute: Callable[[], Iterable[npt.NDArray[Any]]],
        keep: Collection[str] = (),
    ) -> npt.NDArray[Any]:
        """Return an array, computed once by whichever process comes first; the others wait for it.

        Args:
            key: What the array depends on, as a hash.
            shape: Of the whole array, rows first.
            dtype: Of its values.
            compute: Yields the rows in order, a block at a time.
            keep: Other keys that must not make way for it.

        Returns:
            The array, memory-mapped and read-only. It stays readable while it is held, whatever is removed.

        Raises:
            OSError: It cannot be written; nothing half-written is left.
        """
        path = self._path(key)
        self.folder.mkdir(parents=True, exist_ok=True)
        while not path.exists():
            with _locked(path.with_suffix(".partial")) as file:
                if file is None or path.exists():
                    continue
                self._make_room(int(np.prod(shape)) * np.dtype(dtype).itemsize, {key, *keep})
                try:
                    _write(file, shape, np.dtype(dtype), compute())
                    Path(file.name).rename(path)
                except BaseException:
                    Path(file.name).unlink(missing_ok=True)
                    raise
        with contextlib.suppress(OSError):  # another's array may be read-only to us
            os.utime(path)
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            if array.shape == shape and array.dtype == dtype:
                if _is_whole(path):
                    return array
                raise ValueError("its checksum is wrong")
            problem = f"{array.dtype} {array.shape} instead of {np.dtype(dtype)} {shape}"
        except OSError:
            raise
        except Exception as error:  # numpy raises nearly anything on a damaged header
            problem = str(error)
        log(f"{path}: damaged features ({problem}) are computed anew.")
        path.unlink(missing_ok=True)
        return self.get(key, shape, dtype, compute, keep)

    def _make_room(self, needed: int, keep: Collection[str]) -> None:
        entries = sorted(self._entries())
        total = sum(size for _, size, _ in entries)
        for _, size, path in entries:
            if total + needed <= self.limit_bytes:
                break
            if path.stem not in keep and _is_idle(path):
                path.unlink(missing_ok=True)
                total -= size

    def _entries(self) -> list[tuple[float, int, Path]]:
        """Return time of last use, size and path of each array, and of what killed processes left behind."""
        entries = []
        for path in (*self.folder.glob("*.npy"), *self.folder.glob("*.partial")):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                entries.append((status.st_mtime, status.st_size, path))
        return entries

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.npy"


def _write(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any], blocks: Iterable[npt.NDArray[Any]]) -> None:
    # Written in order rather than through a memory map: there a full disk would kill the process.
    file.truncate(0)
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    size, total, rows = file.tell(), 0, 0
    for block in blocks:
        content = np.ascontiguousarray(block, dtype=dtype).data.cast("B")
        file.write(content)
        size, total = size + len(content), zlib.crc32(content, total)
        rows += len(block)
    if rows != shape[0]:
        raise ValueError(f"{shape[0]} rows of features were promised. Received: {rows}")
    # Behind the array, where numpy does not look, and in the same file: the two cannot part.
    file.write(_TRAILER.pack(_MARK, size, total))
    file.flush()
    os.fsync(file.fileno())


def _is_whole(path: Path) -> bool:
    """Return whether the values are those that were written; their shape is numpy's to read."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        start = file.tell()
        file.seek(-_TRAILER.size, os.SEEK_END)
        mark, size, expected = _TRAILER.unpack(file.read(_TRAILER.size))
        if mark != _MARK or file.tell() != size + _TRAILER.size:
            return False
        file.seek(start)
        total, left = 0, size - start
        while left:
            block = file.read(min(left, _BLOCK))
            total, left = zlib.crc32(block, total), left - len(block)
    return bool(total == expected)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[IO[bytes] | None]:
    """Open a file to be filled, once no other process holds it; None where it has gone in the meantime."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            same = os.path.samestat(os.fstat(file.fileno()), path.stat())
        except FileNotFoundError:
            same = False
        yield file if same else None


def _is_idle(path: Path) -> bool:
    """Return whether no process is writing a file."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
