"""Addresses: a path of this machine, or one of the schemes that are known; nothing else is taken for a path."""

from __future__ import annotations

import re

# One letter before the colon is a drive of Windows.
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+):/")
STORAGE_SCHEMES = ("gs",)


def scheme_of(uri: str) -> str | None:
    """Return what stands before ``:/`` in an address (``s3``), or None for a path of this machine."""
    found = _SCHEME.match(uri.strip())
    return found[1] if found else None


def refuse_unknown_scheme(root: str) -> None:
    """Raise unless a root of storage is a local directory or ``gs://bucket/prefix``.

    Raises:
        ValueError: It has another scheme, which would otherwise become a folder of that name.
    """
    scheme = scheme_of(root)
    if scheme is None:
        return
    if scheme in STORAGE_SCHEMES and re.match(r"gs://[^/]", root):
        return
    meant = f" Did you mean gs://{root.partition(':')[2].lstrip('/')}?" if scheme.lower() in ("gs", "gcs") else ""
    raise ValueError(
        f"storage is a local directory or gs://bucket/prefix, {scheme}: is neither.{meant} Received: {root}"
    )
