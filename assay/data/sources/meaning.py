"""What names mean to people: the class that is the absence of a finding, a column of patients, a cell left blank."""

from __future__ import annotations

import re
from collections.abc import Sequence

from assay.data.sources.spelling import normal_form

# What stands in a cell for "nothing is known".
BLANKS = frozenset(
    {"", "nan", "na", "n/a", "#n/a", "<na>", "nat", "null", "none", "nil", "?", "-", "--", ".", "unknown"}
)

_NEGATIVE = frozenset({
    "0", "-1", "-", "n", "no", "non", "not", "none", "neg", "negative", "normal", "normals", "healthy", "benign",
    "control", "controls", "ctrl", "absent", "absence", "false", "background", "without", "clean", "clear", "good",
    "intact", "uninfected", "unaffected", "undamaged", "unremarkable", "noncancerous", "nontumor", "notumor",
    "nofinding", "nofindings", "nodisease", "nondefective", "defectfree", "wildtype", "wt", "low", "normales",
    "gesund", "gutartig", "negativ", "kontrolle", "kontroll", "unauffällig", "unauffaellig", "ohne", "nein", "kein",
    "keine", "sain", "bénin", "benin", "négatif", "negatif", "témoin", "temoin", "sans", "aucun", "sano", "sana",
    "benigno", "negativo", "saludable", "ninguno", "sin", "benigna", "sadio", "saudável", "saudavel", "não", "nao",
    "sem", "ausente", "negativa", "controllo", "normale", "assente", "free", "gezond", "goedaardig", "negatief",
    "frisk", "godartad",
})  # fmt: skip
# Only where they are the whole name.
_NEGATIVE_ALONE = frozenset({
    "other", "others", "rest", "well", "ok", "okay", "pass", "passed", "nothing", "health", "alive", "nv", "nevus",
    "naevus",
})  # fmt: skip
_NOT = ("non", "not", "no", "un", "n")
_WITHOUT = ("free", "less", "negative", "neg")
_GROUP_WORDS = frozenset({
    "patient", "patients", "subject", "subj", "participant", "person", "donor", "slide", "wsi", "case", "specimen",
    "biopsy", "study", "exam", "examination", "lesion", "animal", "mouse", "individual", "accession", "mrn",
    "volunteer", "block",
})  # fmt: skip
_GROUP_COLUMNS = frozenset({"group", "groups", "pid", "sid", "mrn", "wsi", "pat", "subj", "patientsn", "barcode"})
_ID_WORDS = frozenset({"id", "ids", "no", "nr", "num", "number", "name", "code", "key", "uid", "uuid", "barcode", "sn"})


def is_blank(cell: str) -> bool:
    """Return whether a cell says nothing: it is empty, or holds what programs write for that."""
    return normal_form(cell).casefold() in BLANKS


def words_of(name: str) -> tuple[str, ...]:
    """Return the words of a name, in small letters: ``StudyInstanceUID`` gives study, instance and uid."""
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", normal_form(name))
    return tuple(part for part in re.split(r"(?:[\s_/-]|(?<!\d)\.|\.(?!\d))+", text.casefold()) if part)


def is_negative(name: str) -> bool:
    """Return whether a class is named as the absence of what one looks for: normal, benign, no tumor, 0."""
    text = normal_form(name).casefold()
    if text in _NEGATIVE or text in _NEGATIVE_ALONE or re.fullmatch(r"[+-]?0+([.,]0*)?", text):
        return True
    words = words_of(name)
    if not words:
        return False
    if words[0] in ("no", "non", "not", "without", "ohne", "kein", "keine", "sans", "sin", "sem"):
        return True
    return words[-1] in _NEGATIVE or words[0] in _NEGATIVE - {"n", "low", "clear", "good", "clean", "free"}


def is_absence_of(name: str, other: str) -> bool:
    """Return whether one class is named as the absence of another: nondemented and demented, uncracked and crack."""
    one, two = (normal_form(text).casefold() for text in (name, other))
    if (one.endswith("-") and one[:-1] == two.rstrip("+")) or (two.endswith("+") and two[:-1] == one.rstrip("-")):
        return True
    one, two = ("".join(words_of(text)) for text in (name, other))
    if len(two) < 2:
        return False
    # A letter alone may be anything: only where all of the other name follows.
    return any(
        one == prefix + two or (len(prefix) > 1 and len(two) > 3 and one.startswith(prefix + two)) for prefix in _NOT
    ) or any(one == two + suffix for suffix in _WITHOUT)


def absence(classes: Sequence[str]) -> int | None:
    """Return which of two classes is named as the absence of what one looks for; None where neither or both are.

    Args:
        classes: Class names in class order.
    """
    if len(classes) != 2:
        return None
    own = _without_common_words(classes)
    known = [is_negative(name) or is_negative(short) for name, short in zip(classes, own, strict=True)]
    if not any(known):
        # Whatever the word, one may be the other's absence: nondemented, nofire, IDC-.
        known = [is_absence_of(classes[0], classes[1]), is_absence_of(classes[1], classes[0])]
    elif all(known):
        # What is negated may be health: unhealthy, not normal.
        known = [is_absence_of(classes[1], classes[0]), is_absence_of(classes[0], classes[1])]
    return known.index(True) if sum(known) == 1 else None


def default_positive(classes: Sequence[str]) -> int:
    """Return the index of the class to detect where nobody says which.

    Of two classes it is the one that is not named as the absence of a finding, if just one of them is; else the last.

    Args:
        classes: Class names in class order.
    """
    negative = absence(classes)
    return len(classes) - 1 if negative is None else 1 - negative


def _without_common_words(classes: Sequence[str]) -> list[str]:
    """Return what tells names apart: of ``colon_n`` and ``colon_aca`` n and aca."""
    words = [words_of(name) for name in classes]
    common = set(words[0]).intersection(*words[1:])
    return [
        " ".join(word for word in own if word not in common) or name for own, name in zip(words, classes, strict=True)
    ]


def is_group_column(column: str) -> bool:
    """Return whether a column's name says that it names what images were taken from: a patient, a slide, a study."""
    words = words_of(column)
    plain = "".join(words)
    if plain in _GROUP_COLUMNS or plain in _GROUP_WORDS:
        return True
    if plain.endswith(tuple(_ID_WORDS)):
        for word in sorted(_GROUP_WORDS, key=len, reverse=True):
            if plain.startswith(word) and (plain[len(word) :] in _ID_WORDS or plain[len(word) :].endswith("uid")):
                return True
    return bool(words) and words[0] in _GROUP_WORDS and all(word in _ID_WORDS for word in words[1:])
