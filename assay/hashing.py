"""Content hashes: of values, of files, and of Assay's own code (a cache key must change with it)."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any


def hash_json(value: Any) -> str:
    """Return the SHA-256 (hex) of a JSON-serialisable value; key order does not matter."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def hash_file(path: Path) -> str:
    """Return the SHA-256 (hex) of a file's bytes, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def code_version() -> str:
    """Return the version of the installed library with 12 digits of the hash of its sources.

    A step's cache key holds it: Kubeflow's own key knows the image and the inputs but not the code
    inside an imported package.
    """
    from assay import __version__

    return f"{__version__}+{sources_version()[:12]}"


@functools.cache
def sources_version(*packages: str) -> str:
    """Return the SHA-256 (hex) of the library's sources.

    Args:
        packages: Those of the library alone, such as ``training``; none: all of it.
    """
    root = Path(__file__).parent
    folders = [root / package for package in packages] or [root]
    digest = hashlib.sha256()
    for source in sorted(path for folder in folders for path in folder.rglob("*.py")):
        digest.update(source.relative_to(root).as_posix().encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()
