"""The errors that a user may meet: each is one line that names the thing, the value received and the way out."""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterable

LONGEST_MESSAGE = 4000
LONGEST_WORD = 300


class AssayError(Exception):
    """A run that cannot go on. The message is one line: what, the value received, the way out."""

    exit_code = 1

    def __str__(self) -> str:
        """Return the message; what was received is cut where it is longer than anyone reads."""
        return shortened(super().__str__(), LONGEST_MESSAGE, LONGEST_WORD)


class InputError(AssayError):
    """What the user gave is wrong: a source, a config, a weights file, an argument."""

    exit_code = 2


class DamagedError(InputError):
    """What was written is not what it was when it was written: it has to be made or fetched again."""


def shortened(value: object, most: int = 200, word: int | None = None) -> str:
    """Return a value as one line of text that is not longer than people read.

    Args:
        value: Text, or what is shown as such.
        most: Characters at most; the middle is left out.
        word: Characters of each word at most.
    """
    text = str(value)
    if word is not None and len(text) > word:
        text = re.sub(rf"\S{{{word},}}", lambda found: shortened(found[0], word), text)
    if len(text) > most:
        text = f"{text[: 2 * most // 3]}[...]{text[len(text) - most // 3 :]}"
    return " ".join(text.split()) if any(mark in text for mark in "\n\r\t\v\f\x85\u2028\u2029") else text


def one_line(error: BaseException) -> str:
    """Return what went wrong as one line: of the machine's own errors, with the thing and the way out."""
    said = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, MemoryError):
        return "out of memory. Lower batch_size or image_size, or give the step more memory."
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"no space left on the disk for {error.filename or 'the outputs'}. Free some space and run again."
    if isinstance(error, PermissionError):
        return f"{error.filename or said}: no permission. Change its owner or mode, or name another place."
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return said


def did_you_mean(name: str, known: Iterable[str], *, count: int = 3) -> str:
    """Return ``" Did you mean 'a' or 'b'?"``, or an empty string where nothing is near.

    Args:
        name: The unknown name as it was received.
        known: The names that exist.
        count: At most so many suggestions.
    """
    # Its time grows with the square of the length; nothing that long was mistyped.
    near = difflib.get_close_matches(name, list(known), n=count, cutoff=0.5) if len(name) <= LONGEST_WORD else []
    if not near:
        return ""
    return " Did you mean " + " or ".join(f"'{candidate}'" for candidate in near) + "?"
