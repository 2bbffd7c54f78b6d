"""A tree of files in object storage, read over many connections."""

from __future__ import annotations

from assay.data.sources.base import Rejected
from assay.errors import InputError
from assay.storage.files import ObjectNotFound
from assay.storage.objects import check_name
from assay.storage.open import open_store

# A read from object storage is mostly waiting.
PARALLEL_READS = 32


class ObjectTree:
    """The objects under ``gs://bucket/prefix``.

    Args:
        uri: Bucket and prefix.
    """

    def __init__(self, uri: str) -> None:
        self.root = uri.rstrip("/")
        self.parallel_reads = PARALLEL_READS
        self._store = open_store(self.root)

    def files(self) -> tuple[list[str], list[Rejected]]:
        """Return the sorted names of all objects that are not hidden; see `Tree`."""
        names: list[str] = []
        rejected: list[Rejected] = []
        for name in self._store.list():
            if any(part.startswith(".") or part == "__MACOSX" for part in name.split("/")):
                continue
            try:
                names.append(check_name(name))
            except InputError:
                rejected.append(Rejected(f"{self.root}/{name}", "no usable object name; rename it"))
        return sorted(names), rejected

    def empty_folders(self) -> list[str]:
        """Return nothing: object storage has no folders but those of its objects; see `Tree`."""
        return []

    def read(self, name: str) -> bytes:
        """Return an object's bytes; see `Tree`."""
        try:
            return self._store.read_bytes(name)
        except ObjectNotFound as error:
            raise FileNotFoundError(str(error)) from error
