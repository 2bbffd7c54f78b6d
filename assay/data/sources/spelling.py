"""Names of classes and groups as people write them: one normal form, and which of them are likely the same."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping

# Joiners belong to the spelling of some scripts; whatever else has no shape is left behind by programs.
_JOINERS = "\u200c\u200d"
_NUMBER = re.compile(r"(?a)([+-]?)(\d*)(?:[.,](\d*))?")
_SHOWN = 6


@functools.lru_cache(maxsize=4096)
def normal_form(name: str) -> str:
    """Return a name as it is meant: composed (NFC), without characters that show nothing, single spaces, none around.

    Args:
        name: As a folder, a cell or a config gives it.
    """
    if name.isascii() and name.isprintable() and "  " not in name:
        return name.strip()
    seen = "".join(
        sign for sign in name if sign in "\t\n\r" or sign in _JOINERS or unicodedata.category(sign) not in ("Cf", "Cc")
    )
    return " ".join(unicodedata.normalize("NFC", seen).split())


def likeness(name: str) -> str:
    """Return what spellings of one name share: of ``BENIGN`` and ``benign``, ``0`` and ``0.0``, ``a b`` and ``a_b``.

    Case, width, spaces, the dashes and underscores between words, quotes around and stops behind it make no
    difference. A sign does: ``CD3+`` is not ``CD3-``, and ``-1`` is not ``1``.

    Args:
        name: A name in any form.
    """
    text = unicodedata.normalize("NFKC", normal_form(name)).casefold()
    text = "".join(sign for sign in text if unicodedata.category(sign) != "Cf").strip(" '\"`").rstrip(" .,;:")
    number = _NUMBER.fullmatch(text)
    if number and (number[2] or number[3]):
        # Digit by digit: numbers of patients are longer than a float is exact.
        whole, part = number[2].lstrip("0") or "0", (number[3] or "").rstrip("0")
        return ("-" * (number[1] == "-" and (whole, part) != ("0", ""))) + whole + (f".{part}" if part else "")
    text = re.sub(r"(?<=\w)[\s_-]+(?=\w)", " ", text)
    # Between two digits a space is part of the name: 1 2 is not 12.
    return re.sub(r"(?<!\d) +| +(?!\d)", "", text)


def same_names(counts: Mapping[str, int]) -> list[dict[str, int]]:
    """Return the sets of names that are likely one name, each with its spellings and their counts, most files first.

    Args:
        counts: Names in normal form, with how many files have each.
    """
    by_likeness: dict[str, dict[str, int]] = {}
    for name, count in counts.items():
        by_likeness.setdefault(likeness(name), {})[name] = count
    found = [dict(Counter(spellings).most_common()) for spellings in by_likeness.values() if len(spellings) > 1]
    return sorted(found, key=lambda spellings: -sum(spellings.values()))


def near_names(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    """Return pairs of names of which the rarer may be a slip of the pen for the other: (``malignat``, ``malignant``).

    Args:
        counts: Names in normal form, with how many files have each.
    """
    words = [name for name in counts if len(name) >= 5 and not any(sign.isdigit() for sign in name)]
    found = []
    for rare in words:
        for usual in words:
            few = counts[rare] * 10 <= counts[usual]
            if few and is_slip(rare.casefold(), usual.casefold()) and not usual.casefold().endswith(rare.casefold()):
                found.append((rare, usual))
    return found


def is_slip(one: str, other: str) -> bool:
    """Return whether one letter is left out, doubled, wrong or changed for its neighbour between two words."""
    if abs(len(one) - len(other)) > 1 or one == other:
        return False
    start = next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    if start is None:
        return True
    rest_one, rest_other = one[start:], other[start:]
    if len(one) != len(other):
        longer, shorter = sorted((rest_one, rest_other), key=len, reverse=True)
        return longer[1:] == shorter
    return rest_one[1:] == rest_other[1:] or (
        rest_one[:2] == rest_other[1::-1] and rest_one[2:] == rest_other[2:] and len(rest_one) > 1
    )


def listed(counts: Mapping[str, int]) -> str:
    """Return spellings with their counts: ``'benign' (18), 'Benign' (9)``."""
    shown = [f"'{visible(name)}' ({count:,})" for name, count in list(counts.items())[:_SHOWN]]
    return ", ".join([*shown, *([f"and {len(counts) - _SHOWN} more"] if len(counts) > _SHOWN else [])])


def visible(name: str) -> str:
    """Return a name with what cannot be seen in it written out: a zero-width space as ``\\u200b``."""
    return "".join(
        sign
        if sign.isprintable() and not unicodedata.combining(sign)
        else sign.encode("unicode_escape").decode("ascii")
        for sign in name
    )


def changed_names(names: Iterable[str]) -> dict[str, Counter[str]]:
    """Return the names whose normal form is written in a further way, with each spelling's count."""
    spellings: dict[str, Counter[str]] = {}
    for name, count in Counter(names).items():
        spellings.setdefault(normal_form(name), Counter())[name] += count
    return {form: counts for form, counts in spellings.items() if set(counts) != {form}}
