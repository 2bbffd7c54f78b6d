"""Content hashes: of values, of files, and of Assay's own code (a cache key must change with it)."""

from __future__ import annotations

import ast
import functools
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

LIBRARY = Path(__file__).parent


def hash_json(value: Any) -> str:
    """Return the SHA-256 (hex) of a JSON-serialisable value; key order does not matter."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def hash_file(path: Path) -> str:
    """Return the SHA-256 (hex) of a file's bytes, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_folder(root: Path) -> str:
    """Return the SHA-256 (hex) of the names and contents of all files below a folder."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return hash_json({path.relative_to(root).as_posix(): hash_file(path) for path in files})


@functools.cache
def code_version() -> str:
    """Return the version of the installed library with 12 digits of the hash of its sources.

    A step's cache key holds it: Kubeflow's own key knows the image and the inputs but not the code
    inside an imported package.
    """
    from assay import __version__

    return f"{__version__}+{sources_version()[:12]}"


@functools.cache
def sources_version(*roots: str) -> str:
    """Return the SHA-256 (hex) of the library's sources.

    Args:
        roots: Modules, such as ``training.baseline``: of these alone, and of all modules of the library that they
            import, directly or not; none: of all there are.

    Raises:
        ValueError: The library has no such module.
    """
    sources = _imported(roots) if roots else set(LIBRARY.rglob("*.py"))
    digest = hashlib.sha256()
    for source in sorted(sources):
        digest.update(source.relative_to(LIBRARY).as_posix().encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _imported(roots: Iterable[str]) -> set[Path]:
    """Return the files of modules and of all that they import from the library, also inside functions."""
    found: set[Path] = set()
    open_ends = [_file_of(root) for root in roots]
    if None in open_ends:
        unknown = next(root for root, file in zip(roots, open_ends, strict=True) if file is None)
        raise ValueError(f"{LIBRARY.name}.{unknown}: no such module")
    while open_ends:
        file = open_ends.pop()
        if file is None or file in found:
            continue
        found.add(file)
        for node in ast.walk(ast.parse(file.read_bytes())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            prefix = f"{LIBRARY.name}."
            open_ends += [_file_of(name.removeprefix(prefix)) for name in names if name.startswith(prefix)]
    return found


def _file_of(module: str) -> Path | None:
    path = LIBRARY.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)
