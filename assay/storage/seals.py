"""Sizes and checksums of written files, so that a byte that changed on the disk is found before it is trained on.

CRC-32 finds every single flipped byte and all but one in four billion other changes, at a gigabyte or more a second.
It is no protection against a forger: what must not be forged (weights, models, sources) has a SHA-256.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

Seal = dict[str, Any]

_BLOCK = 2**20
_THREADS = 4  # zlib does not hold the interpreter's lock
CHECKSUM = "checksum"


def seal_of(path: Path) -> Seal:
    """Return the size in bytes and the CRC-32 of a file's content."""
    size = total = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            size += len(block)
            total = zlib.crc32(block, total)
    return {"bytes": size, "crc32": f"{total:08x}"}


def seals_of(root: Path, names: Iterable[str]) -> dict[str, Seal]:
    """Return the seal of each of these files below a folder."""
    listed = list(names)
    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(zip(listed, pool.map(lambda name: seal_of(root / name), listed), strict=True))


def damaged(root: Path, seals: Mapping[str, Seal]) -> tuple[str, str] | None:
    """Return the first file that is not as it was sealed and what is wrong with it; None where all are.

    Args:
        root: The folder.
        seals: By name, from `seals_of`.
    """

    def problem(name: str) -> str | None:
        try:
            now = seal_of(root / name)
        except OSError as error:
            return error.strerror or str(error)
        if now["bytes"] != seals[name]["bytes"]:
            return f"{now['bytes']:,} bytes, {seals[name]['bytes']:,} were written"
        return "its content has changed" if now != seals[name] else None

    with ThreadPoolExecutor(_THREADS) as pool:
        found = zip(seals, pool.map(problem, seals), strict=True)
        return next(((name, what) for name, what in found if what is not None), None)


def sealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a description with a checksum of itself."""
    bare = {key: value for key, value in values.items() if key != CHECKSUM}
    return {**bare, CHECKSUM: _checksum(bare)}


def is_intact(values: object) -> bool:
    """Return whether what was read is a description, and as `sealed` made it."""
    if not isinstance(values, Mapping):
        return False
    return bool(values.get(CHECKSUM) == _checksum({key: value for key, value in values.items() if key != CHECKSUM}))


def _checksum(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, ensure_ascii=False)
    return f"{zlib.crc32(text.encode('utf-8', 'surrogatepass')):08x}"
