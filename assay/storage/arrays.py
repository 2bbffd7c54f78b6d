"""Files of arrays that are checked as a whole: a flipped bit anywhere in one is noticed before any of it is used.

A file is a line with the SHA-256 of all that follows it, and then NumPy's ``.npz``. The checksums within a zip cover
its members and not its own tables, so that some damage there went unnoticed or broke its reader.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.errors import AssayError
from assay.storage.files import disk_errors

MAGIC = b"assay arrays 1 sha256 "
_HEADER_BYTES = len(MAGIC) + 64 + 1


class DamagedFile(AssayError):
    """A file is not what was written."""


def save_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write arrays by name into a file of this format.

    Args:
        path: The file, which is replaced; give a temporary one where it must appear whole (`new_file`).
        arrays: Of plain types: numbers, bools, bytes.

    Raises:
        AssayError: It cannot be written.
    """
    with disk_errors(path), path.open("w+b") as file:
        file.write(bytes(_HEADER_BYTES))
        np.savez(file, allow_pickle=False, **arrays)
        file.seek(_HEADER_BYTES)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        file.write(_header(digest))


def load_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a file from `save_arrays`, once all of it has been checked.

    Raises:
        ObjectNotFound: There is no such file.
        DamagedFile: It is not as it was written.
        AssayError: It cannot be read.
    """
    with disk_errors(path), path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
        if not header.startswith(MAGIC):
            raise DamagedFile(f"{path}: does not begin as a file of arrays of Assay's. Write it again.")
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if header != _header(digest):
            raise DamagedFile(f"{path}: the checksum does not fit the content. Write it again.")
        file.seek(_HEADER_BYTES)
        try:
            with np.load(file, allow_pickle=False) as content:
                return {name: content[name] for name in content.files}
        except Exception as error:  # NumPy raises nearly anything on what it has not written
            if isinstance(error, OSError) and error.errno:
                raise
            raise DamagedFile(f"{path}: the checksum fits, but it holds no arrays. Write it again.") from error


def _header(digest: str) -> bytes:
    return MAGIC + digest.encode() + b"\n"
