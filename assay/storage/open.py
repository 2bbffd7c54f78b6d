"""Which store an address means: a local directory or gs://."""

from __future__ import annotations

from pathlib import Path

from assay.config.schemes import refuse_unknown_scheme
from assay.errors import InputError
from assay.storage.objects import GCS_SCHEME, ObjectStore


def open_store(root: str | Path) -> ObjectStore:
    """Return the store at a local directory or at ``gs://bucket/prefix``; nothing is contacted yet.

    Raises:
        InputError: The root is neither.
    """
    text = str(root)
    try:
        refuse_unknown_scheme(text)
    except ValueError as error:
        raise InputError(str(error)) from error
    if is_remote(text):
        from assay.storage.gcs import GCSStore

        return GCSStore(text)
    from assay.storage.local import LocalStore

    return LocalStore(Path(text))


def is_remote(uri: str | Path) -> bool:
    """Return whether an address lies in object storage."""
    return str(uri).startswith(GCS_SCHEME)


def download(uri: str, destination: Path) -> Path:
    """Copy one file from ``gs://bucket/name`` or a local path.

    Args:
        uri: The file's address.
        destination: The file to write; it appears whole or not at all.

    Raises:
        InputError: There is no such file.
    """
    if not is_remote(uri):
        source = Path(uri)
        open_store(source.parent).download_file(source.name, destination)
        return destination
    bucket, _, name = uri.removeprefix(GCS_SCHEME).partition("/")
    if not name:
        raise InputError(f"{uri}: names a bucket, not an object. Add the object's name.")
    open_store(GCS_SCHEME + bucket).download_file(name, destination)
    return destination


def exists(uri: str) -> bool:
    """Return whether there is an object ``gs://bucket/name``.

    Raises:
        AssayError: The storage does not answer.
    """
    bucket, _, name = uri.removeprefix(GCS_SCHEME).partition("/")
    return bool(name) and open_store(GCS_SCHEME + bucket).exists(name)
