"""Ids as people give them: the beginning is enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from assay.errors import InputError, did_you_mean

T = TypeVar("T")


def pick(wanted: str, known: Sequence[T], where: str, id_of: Callable[[T], str], *, way_out: str) -> T:
    """Return the one whose id is, or begins with, what is wanted.

    Args:
        wanted: An id or its beginning.
        known: What there is.
        where: What that is, in words.
        id_of: Gives the id of one.
        way_out: Where ids can be looked up.

    Raises:
        InputError: There is none, or more than one begins so.
    """
    begun = [item for item in known if wanted and id_of(item).startswith(wanted)]
    exact = [item for item in begun if id_of(item) == wanted]
    if len(begun) == 1 or exact:
        return (exact or begun)[0]
    if begun:
        raise InputError(f"run {wanted}: {len(begun)} of {where} begin so. Give more of the id.")
    hint = did_you_mean(wanted, map(id_of, known)) or f" {way_out}"
    raise InputError(f"run {wanted}: not among {where}.{hint}")
