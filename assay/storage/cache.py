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


FORCE_VARIABLE = "ASSAY_FORCE"


def is_forced(step: str) -> bool:
    """Return whether a step has been told to begin anew: ``ASSAY_FORCE`` names it, by a comma from others.

    It is answered once: what the step starts of its own goes on with what the step has begun.
    """
    named = [name for name in os.environ.get(FORCE_VARIABLE, "").split(",") if name]
    if step not in named:
        return False
    os.environ[FORCE_VARIABLE] = ",".join(name for name in named if name != step)
    return True
