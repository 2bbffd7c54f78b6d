"""The folder for what can be fetched or computed again."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "ASSAY_CACHE"


def cache_folder(kind: str) -> Path:
    """Return the folder for one kind of thing below ``ASSAY_CACHE``, or in the user's cache; it may not exist yet.

    Args:
        kind: features, models, tfds, weights: its name.
    """
    root = os.environ.get(CACHE_VARIABLE)
    return (Path(root).expanduser() if root else Path.home() / ".cache" / "assay") / kind
