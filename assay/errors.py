"""The errors that a user may meet: each is one line that names the thing, the value received and the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AssayError(Exception):
    """A run that cannot go on. The message is one line: what, the value received, the way out."""

    exit_code = 1


class InputError(AssayError):
    """What the user gave is wrong: a source, a config, a weights file, an argument."""

    exit_code = 2


def did_you_mean(name: str, known: Iterable[str], *, count: int = 3) -> str:
    """Return ``" Did you mean 'a' or 'b'?"``, or an empty string where nothing is near.

    Args:
        name: The unknown name as it was received.
        known: The names that exist.
        count: At most so many suggestions.
    """
    near = difflib.get_close_matches(name, list(known), n=count, cutoff=0.5)
    if not near:
        return ""
    return " Did you mean " + " or ".join(f"'{candidate}'" for candidate in near) + "?"
