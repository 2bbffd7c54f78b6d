"""The names that people give to the three splits."""

from __future__ import annotations

SPLITS = ("train", "valid", "test")
_NAMES = {
    "train": "train", "training": "train",
    "valid": "valid", "val": "valid", "validation": "valid", "validate": "valid", "dev": "valid",
    "test": "test", "testing": "test",
}  # fmt: skip
SPLIT_NAMES = tuple(_NAMES)


def split_of(name: str) -> str | None:
    """Return ``train``, ``valid`` or ``test`` for a name such as ``Validation``, None for any other name."""
    return _NAMES.get(name.strip().lower())
