"""The folder for what can be fetched or computed again."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "ASSAY_CACHE"


def cache_folder() -> Path:
    """Return ``ASSAY_CACHE``, or the user's cache folder; it may not exist yet."""
    folder = os.environ.get(CACHE_VARIABLE)
    return Path(folder) if folder else Path.home() / ".cache" / "assay"
