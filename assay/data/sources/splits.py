"""The names that people give to the three splits, and those by which they likely mean one."""

from __future__ import annotations

import re
from collections.abc import Iterable

from assay.data.sources.spelling import is_slip, normal_form

SPLITS = ("train", "valid", "test")
_NAMES = {
    "train": "train", "training": "train",
    "valid": "valid", "val": "valid", "validation": "valid", "validate": "valid", "dev": "valid",
    "test": "test", "testing": "test",
}  # fmt: skip
SPLIT_NAMES = tuple(_NAMES)

# Not honoured as they stand, since each of them may be something else; said where they turn up as classes.
_LIKELY = _NAMES | {
    "trainset": "train", "trainingset": "train", "traindata": "train", "trainingdata": "train", "trn": "train",
    "tr": "train", "learn": "train", "learning": "train", "fit": "train", "fitting": "train", "trained": "train",
    "validset": "valid", "valset": "valid", "validationset": "valid", "devset": "valid", "vld": "valid",
    "valdata": "valid", "eval": "valid", "evaluate": "valid", "evaluation": "valid", "tune": "valid",
    "tuning": "valid", "development": "valid",
    "testset": "test", "testingset": "test", "testdata": "test", "tst": "test", "ts": "test", "holdout": "test",
    "heldout": "test", "pred": "test", "predict": "test", "prediction": "test", "predictions": "test",
    "inference": "test", "unseen": "test", "scoring": "test", "submission": "test", "submit": "test",
    "unlabeled": "test", "unlabelled": "test",
}  # fmt: skip
# Short for a split where all folders are splits; beside classes a class as likely as not.
ABBREVIATIONS = frozenset({"tr", "trn", "ts", "tst", "vld", "dev", "fit", "tune", "tuning", "scoring", "submit"})
# Words that say nothing of what is in a folder.
_FILLERS = frozenset({
    "set", "sets", "data", "dataset", "datasets", "image", "images", "img", "imgs", "pic", "pics", "picture",
    "pictures", "photo", "photos", "file", "files", "folder", "dir", "split", "splits", "part", "seg", "crop",
    "crops", "cropped", "resized", "jpg", "jpeg", "png", "tif", "tiff", "new", "final", "all", "full", "my", "the",
    "raw", "original", "stage", "samples", "sample",
})  # fmt: skip
# Words that a slip could make of a split's name, or of which they are a slip.
_OTHER_WORDS = frozenset(
    ["rain", "brain", "grain", "trail", "trains", "trait", "tests", "text", "taste", "toast", "tent"]
)


def split_of(name: str) -> str | None:
    """Return ``train``, ``valid`` or ``test`` for a name such as ``Validation``, None for any other name."""
    return _NAMES.get(normal_form(name).lower())


def likely_splits(names: Iterable[str]) -> dict[str, str]:
    """Return the split that is likely meant by each name that means one: ``training_set``, ``seg_test``, ``learn``.

    Words that all names have in common say nothing: of `chest_train` and `chest_test` what is left are splits, of
    `train_cats` and `train_dogs` classes.

    Args:
        names: Folders beside each other.
    """
    words = {name: _words(name) for name in names}
    common = set.intersection(*map(set, words.values())) if len(words) > 1 else set()
    found = {}
    for name, own in words.items():
        telling = [word for word in own if word not in common and word not in _FILLERS]
        meant = {_LIKELY[word] for word in telling if word in _LIKELY}
        if len(meant) == 1 and all(word in _LIKELY for word in telling):
            found[name] = meant.pop()
    return found


def misspelt_split(name: str) -> str | None:
    """Return the split of which a name is one slip of the pen away, as ``trian`` and ``vaild`` are; else None."""
    plain = "".join(_words(name))
    if plain in _NAMES or plain in _OTHER_WORDS:
        return None
    for known, split in _NAMES.items():
        # A wrong letter makes other words of them too often: text, taste, valve.
        other_letters = len(plain) != len(known) or sorted(plain) == sorted(known)
        if len(known) >= 4 and plain[:1] == known[0] and other_letters and is_slip(plain, known):
            return split
    return None


def _words(name: str) -> list[str]:
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", normal_form(name))
    return [word for word in re.split(r"[^a-z]+", text.casefold()) if word]
