"""Object storage: one interface over a local directory and gs://, with compare-and-swap on both."""

from __future__ import annotations

import abc
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from assay.errors import AssayError, InputError
from assay.storage.files import ObjectNotFound, new_folder

GCS_SCHEME = "gs://"
TRANSFERS_AT_A_TIME = 8
LONGEST_NAME_BYTES = 1024


class GenerationMismatch(AssayError):
    """The object was changed by someone else in the meantime."""


@dataclass(frozen=True)
class Versioned:
    """An object's bytes with the generation they belong to.

    Args:
        data: The content.
        generation: Changes with every write; hand it to ``write_bytes(if_generation=...)`` for a compare-and-swap.
    """

    data: bytes
    generation: int


@dataclass(frozen=True)
class Stored:
    """An object as a listing tells it.

    Attributes:
        name: Relative to the root.
        size: Bytes.
        modified: When it was last written, seconds since 1970.
    """

    name: str
    size: int
    modified: float


class ObjectStore(abc.ABC):
    """Named blobs under one root. Names are relative paths with ``/``; a prefix is a folder of such a path.

    Args:
        root: The directory or ``gs://bucket/prefix``.
    """

    def __init__(self, root: str) -> None:
        self.root = root

    def uri(self, name: str) -> str:
        """Return the whole address of an object or prefix."""
        return f"{self.root}/{check_name(name)}" if name else self.root

    @abc.abstractmethod
    def read(self, name: str) -> Versioned:
        """Return content and generation of one moment.

        Raises:
            ObjectNotFound: There is no such object.
        """

    @abc.abstractmethod
    def write_bytes(self, name: str, data: bytes, *, if_generation: int | None = None) -> int:
        """Write a small object whole or not at all.

        Args:
            name: The object.
            data: Its content.
            if_generation: Write only over this generation; 0: only where there is no object; None: always.

        Returns:
            The new generation.

        Raises:
            GenerationMismatch: The object is of another generation. Where the answer to a write was lost and the
                write repeated, that other generation is our own: whoever must know reads it again.
        """

    @abc.abstractmethod
    def exists(self, name: str) -> bool:
        """Return whether there is an object of this name (a prefix is none)."""

    @abc.abstractmethod
    def entries(self, prefix: str = "") -> Iterator[Stored]:
        """Yield all objects under a prefix, however deep, in any order."""

    @abc.abstractmethod
    def delete(self, name: str) -> None:
        """Remove an object; one that is not there is no error."""

    @abc.abstractmethod
    def upload_file(self, path: Path, name: str) -> None:
        """Copy a file of any size into the store; checked on arrival, by checksum on gs://, by size on disk."""

    @abc.abstractmethod
    def download_file(self, name: str, path: Path) -> None:
        """Copy an object of any size into a file, which appears whole or not at all.

        Raises:
            ObjectNotFound: There is no such object.
        """

    def list(self, prefix: str = "") -> Sequence[str]:
        """Return the sorted names of all objects under a prefix, however deep."""
        return sorted(entry.name for entry in self.entries(prefix))

    def read_bytes(self, name: str) -> bytes:
        """Return an object's content; see `read`."""
        return self.read(name).data

    def upload_dir(self, directory: Path, prefix: str, *, marker: str | None = None) -> Sequence[str]:
        """Copy a folder's files into the store, several at a time.

        Args:
            directory: Its files are taken, however deep.
            prefix: Where they go.
            marker: The file, relative to ``directory``, that is written last: where readers find it, the
                others are whole.

        Returns:
            The relative names, sorted.

        Raises:
            InputError: The folder is missing or empty, or has no marker.
        """
        names = sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())
        if not names:
            raise InputError(f"{directory}: no files to store here. Name a folder with files.")
        if marker is not None and marker not in names:
            raise InputError(f"{directory}: {marker} is missing. Name a folder that was written to the end.")
        others = [name for name in names if name != marker]
        _in_parallel(lambda name: self.upload_file(directory / name, _join(prefix, name)), others)
        if marker is not None:
            self.upload_file(directory / marker, _join(prefix, marker))
        return names

    def download_dir(self, prefix: str, directory: Path) -> Sequence[str]:
        """Copy all objects under a prefix into a new folder, several at a time.

        Args:
            prefix: What to copy.
            directory: Must be missing or empty; it appears whole or not at all.

        Returns:
            The relative names, sorted.

        Raises:
            ObjectNotFound: Nothing lies under the prefix.
            InputError: The folder holds something already.
        """
        start = len(prefix) + 1 if prefix else 0
        names = [name[start:] for name in self.list(prefix)]
        if not names:
            raise ObjectNotFound(f"{self.uri(prefix)}: nothing is stored here. Check the address.")
        with new_folder(directory) as stage:
            _in_parallel(lambda name: self.download_file(_join(prefix, name), stage / name), names)
        return names


def check_name(name: str) -> str:
    """Return the name of an object or prefix when it is safe to use as a path.

    Raises:
        InputError: It is absolute, has empty, ``.`` or ``..`` parts, a backslash or control characters, or is
            too long.
    """
    parts = name.split("/")
    if name and (
        any(part in ("", ".", "..") for part in parts)
        or "\\" in name
        or any(unicodedata.category(character) in ("Cc", "Cs") for character in name)
        or len(name.encode(errors="replace")) > LONGEST_NAME_BYTES
    ):
        raise InputError(
            f"object name {name[:80]!r}: a name is a relative path of at most {LONGEST_NAME_BYTES} bytes without "
            "empty, '.' or '..' parts, backslashes and control characters. Rename it."
        )
    return name


def _join(prefix: str, name: str) -> str:
    return f"{prefix}/{name}" if prefix else name


def _in_parallel(action: Callable[[str], None], names: Iterable[str]) -> None:
    with ThreadPoolExecutor(TRANSFERS_AT_A_TIME) as executor:
        futures = [executor.submit(action, name) for name in names]
        try:
            for future in futures:
                future.result()
        except BaseException:
            executor.shutdown(wait=True, cancel_futures=True)
            raise
