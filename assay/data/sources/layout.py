"""Folders that are no classes: splits by other names, classes one folder deeper, masks beside images, copies."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from assay.data.sources.meaning import is_negative, words_of
from assay.data.sources.spelling import likeness, visible
from assay.data.sources.splits import ABBREVIATIONS, SPLITS, likely_splits, misspelt_split
from assay.errors import InputError

LAYOUTS = "<class>/* or {train,valid,test}/<class>/*"
_SHOWN = 4
# What lies within one class and is none: kinds of files, views, sides, magnifications.
_NEUTRAL = frozenset({
    "image", "images", "img", "imgs", "picture", "pictures", "photo", "photos", "mask", "masks", "label", "labels",
    "annotation", "annotations", "bbox", "bboxes", "original", "originals", "raw", "crop", "crops", "cropped",
    "resized", "augmented", "aug", "jpg", "jpeg", "png", "tif", "tiff", "bmp", "frames", "slices", "patches",
    "tiles", "left", "right", "l", "r", "lt", "rt", "od", "os", "cc", "mlo", "ap", "pa", "lateral", "frontal",
    "axial", "coronal", "sagittal", "t1", "t2", "t1ce", "t1c", "flair", "dwi", "adc", "pd", "he", "ihc", "sob",
    "rgb", "gray", "grey", "color", "colour", "nir", "depth", "day", "night", "front", "back", "top", "bottom",
    "side", "small", "medium", "large", "low", "high", "morning", "evening", "part",
    "batch", "session", "camera", "cam", "view", "scene", "seq", "sequence", "video", "set", "run", "visit", "series",
    "scan", "slice", "group", "subset", "week", "month", "year", "round", "shot",
})  # fmt: skip
# What a class that is looked for may be called; its absence is known to `is_negative`.
_FINDINGS = frozenset({
    "positive", "pos", "abnormal", "malignant", "malign", "cancer", "cancerous", "tumor", "tumour", "diseased",
    "disease", "sick", "ill", "infected", "defective", "defect", "yes", "true", "pneumonia", "covid", "covid19",
    "tuberculosis", "tb", "melanoma", "carcinoma", "adenocarcinoma", "metastasis", "lesion", "glioma", "meningioma",
    "pituitary", "polyp", "bleeding", "hemorrhage", "stroke", "fracture", "parasitized", "bad", "ng", "damaged",
    "1", "pathological", "suspicious",
})  # fmt: skip
_PICTURES = frozenset({
    "image", "images", "img", "imgs", "picture", "pictures", "photo", "photos", "original", "originals", "input",
    "inputs", "x",
})  # fmt: skip
_MASKS = frozenset({
    "mask", "masks", "seg", "segs", "segmentation", "segmentations", "groundtruth", "ground_truth", "gt",
    "annotation", "annotations", "label", "labels", "output", "outputs", "target", "targets", "manual", "y",
})  # fmt: skip


@dataclass(frozen=True)
class Folders:
    """The folders at the top of a source.

    Attributes:
        files: How many files each holds, at any depth.
        inside: The folders within each that hold files, with how many.
        loose: How many files lie directly in each.
    """

    files: Counter[str]
    inside: dict[str, Counter[str]]
    loose: Counter[str]

    @classmethod
    def of(cls, names: Sequence[str]) -> Folders:
        """Count the folders that files lie in.

        Args:
            names: The files, relative to the source.
        """
        files: Counter[str] = Counter()
        loose: Counter[str] = Counter()
        inside: dict[str, Counter[str]] = {}
        for name in names:
            top, *below = name.split("/")
            if not below:
                continue
            files[top] += 1
            own = inside.setdefault(top, Counter())
            if len(below) > 1:
                own[below[0]] += 1
            else:
                loose[top] += 1
        return cls(files, inside, loose)


def refuse_other_layouts(root: str, names: Sequence[str], classes: Sequence[str] | None) -> None:
    """Raise where the folders at the top are not the classes; the message says what is meant instead.

    Args:
        root: The source, for messages.
        names: Its files; none of the names known for splits decides.
        classes: The classes that the user has named, or None: what is named is a class.

    Raises:
        InputError: One line with the layout that is meant.
    """
    folders = Folders.of(names)
    _refuse_one_folder(root, folders, names)
    chosen = {likeness(name) for name in classes or ()}
    tops = [top for top in folders.files if not chosen or likeness(top) in chosen]
    if classes is not None and chosen <= {likeness(top) for top in tops}:
        return
    _refuse_splits(root, folders)
    _refuse_splits_within(root, folders)
    _refuse_masks(root, folders)
    _refuse_copies(root, folders)
    _refuse_equal(root, folders)


def _refuse_one_folder(root: str, folders: Folders, names: Sequence[str]) -> None:
    """Raise where all is in one folder that holds several: what was unpacked has one more folder than was meant."""
    if len(folders.files) != 1:
        return
    shared = posixpath.commonpath([posixpath.dirname(name) for name in names if "/" in name])
    deeper = {name[len(shared) + 1 :].split("/")[0] for name in names if name.startswith(f"{shared}/")}
    if any(f"{shared}/{inner}" not in names for inner in deeper):
        (top,) = folders.files
        raise InputError(f"{root}: one class only ('{top}'), with folders in it. Did you mean {root}/{shared}?")


def _refuse_splits(root: str, folders: Folders) -> None:
    """Raise where folders at the top are splits by names that are not known."""
    tops = list(folders.files)
    likely = likely_splits(tops)
    slips = {top: split for top in tops if top not in likely and (split := misspelt_split(top))}
    others = [top for top in tops if top not in likely]
    if slips and (len(likely) + len(slips) == len(tops) or _equal_inside(folders, [*likely, *slips])):
        likely, others = likely | slips, [top for top in others if top not in slips]
    likely = dict(sorted(likely.items(), key=lambda pair: SPLITS.index(pair[1])))
    if not likely:
        return
    if len(likely) == 1 and others:
        (name,) = likely
        # A class of means of transport, or a treatment beside its control, has nothing in it but files.
        plain = "".join(words_of(name))
        may_be_class = likely[name] == "train" or len(tops) == 2 or plain in ABBREVIATIONS
        may_be_class = may_be_class and not folders.inside[name]
        if may_be_class:
            return
        if not folders.inside[name]:
            raise InputError(
                f"{root}: the folder '{name}' lies beside {_listed(others)}: it sounds like images without labels, not "
                f"like a class. Move it away, or name the classes in data.classes={_as_list(others)}."
            )
        if not any(folders.inside[top] for top in others):
            return
    with_classes = [top for top in likely if folders.inside[top]]
    names = _listed(list(likely))
    if not with_classes:
        raise InputError(
            f"{root}: the folders {names} sound like splits, and hold no class folders, so no labels. Give them one "
            "folder a class, {train,valid,test}/<class>/*, or add labels.csv with the columns path,label."
        )
    renamed = ", ".join(f"{top} -> {split}" for top, split in likely.items() if top.casefold() != split)
    inner = list(folders.inside[with_classes[0]])
    within = f", which hold {_listed(inner)}" if inner else ""
    no_train = "" if "train" in likely.values() else " One of them must be train."
    doubled = [top for top in with_classes if len(folders.inside[top]) == 1 and not folders.loose[top]]
    deeper = ""
    if len(doubled) == len(with_classes):
        deeper = f" Each holds one folder ({doubled[0]}/{inner[0]}): move what is in there one up, if that is no class."
    what = f"Rename them ({renamed})" if renamed else "Add the folder train"
    raise InputError(
        f"{root}: the folders {names} sound like splits, not like classes{within}. {what}: the layout is "
        f"{{train,valid,test}}/<class>/*.{no_train}{deeper}"
    )


def _refuse_splits_within(root: str, folders: Folders) -> None:
    """Raise where the splits lie within the classes: cat/train/*, cat/test/*."""
    for top, inner in folders.inside.items():
        likely = likely_splits(inner)
        if len(likely) > 1 and "train" in likely.values():
            raise InputError(
                f"{root}: the folder '{top}' holds {_listed(list(likely))}, which sound like splits. The layout is "
                f"{{train,valid,test}}/<class>/*: move {top}/{next(iter(likely))} to "
                f"{likely[next(iter(likely))]}/{top}, or name the folder that is meant ({root}/{top})."
            )


def _refuse_masks(root: str, folders: Folders) -> None:
    """Raise where one folder holds the images and the others their masks."""
    own = {top: words_of(top) for top in folders.files}
    common = set.intersection(*map(set, own.values())) if len(own) > 1 else set()
    # train_images and train_masks; train and train_masks.
    kinds = {top: "".join(word for word in words if word not in common) or "images" for top, words in own.items()}
    pictures = [top for top, plain in kinds.items() if plain in _PICTURES]
    masks = [top for top, plain in kinds.items() if plain in _MASKS or plain.endswith(("mask", "masks"))]
    if pictures and masks and len(pictures) + len(masks) == len(kinds) and not (len(kinds) == 2 and "x" in kinds):
        raise InputError(
            f"{root}: the folders {_listed([*pictures, *masks])} sound like images and their masks, not like classes. "
            f"Assay classifies whole images: put them into {LAYOUTS}, or add labels.csv with path,label."
        )


def _refuse_copies(root: str, folders: Folders) -> None:
    """Raise where one folder holds what lies beside it again: archives are often packed twice over."""
    tops = {likeness(top): top for top in folders.files}
    for top, inner in folders.inside.items():
        again = [name for name in inner if likeness(name) in tops and likeness(name) != likeness(top)]
        if len(again) > 1:
            raise InputError(
                f"{root}: the folder '{top}' holds {_listed(again)}, which lie beside it too: a copy? Remove it, or "
                f"name the classes in data.classes={_as_list(again)}."
            )


def _refuse_equal(root: str, folders: Folders) -> None:
    """Raise where all folders hold the same ones, and those look like the classes."""
    tops = list(folders.files)
    if len(tops) < 2 or not _equal_inside(folders, tops):
        return
    inner = sorted(folders.inside[tops[0]])
    # Numbers are batches as well as classes; nought and one are classes.
    neutral = all(is_neutral(name) for name in inner) and set(inner) != {"0", "1"}
    # Numbers count folders (fold_0, fold_1; patients 1, 2, 3), but for nought and one.
    words = tops if set(tops) == {"0", "1"} else [re.sub(r"[\W_]*\d+$", "", top) for top in tops]
    if neutral or any(word and (is_negative(word) or _is_finding(word)) for word in words):
        return
    raise InputError(
        f"{root}: the {len(tops):,} folders {_listed(tops)} all hold the same ones ({_listed(inner)}), which are "
        f"likely the classes. The layout is {LAYOUTS}; where {tops[0]} is a patient or a site, labels.csv with "
        f"path,label,group says so; where it is a class, name the classes in data.classes={_as_list(tops)}."
    )


def _equal_inside(folders: Folders, tops: Sequence[str]) -> bool:
    """Return whether several folders hold mostly the same ones, two or more."""
    sets = [{likeness(name) for name in folders.inside[top]} for top in tops]
    if len(sets) < 2 or min(map(len, sets)) < 1 or max(map(len, sets)) < 2:
        return False
    shared, every = set.intersection(*sets), set.union(*sets)
    if len(shared) >= 2 and len(shared) >= 0.5 * len(every):
        return True
    # Of many patients a few have images of one class alone.
    return len(sets) > 4 and len(every) <= 10 and sum(own == every for own in sets) > 0.5 * len(sets)


def is_neutral(name: str) -> bool:
    """Return whether a folder is named for a kind of file, a view or a number, which no class is."""
    return bool(re.fullmatch(r"\d+x|x\d+", name.lower())) or all(
        {word, re.sub(r"\d+$", "", word)} & _NEUTRAL or re.fullmatch(r"\d+x|x\d+|\d+(px|mm|um|nm)?|[a-z]?\d+x\d+", word)
        for word in words_of(name)
    )


def _is_finding(name: str) -> bool:
    words = words_of(name)
    return "".join(words) in _FINDINGS or any(word in _FINDINGS for word in words)


def _listed(names: Sequence[str]) -> str:
    """Return names for a message: ``train and test``, ``a, b, c, d and 12 more``."""
    shown = [visible(name)[:60] for name in names[:_SHOWN]]
    if len(names) > _SHOWN:
        return f"{', '.join(shown)} and {len(names) - _SHOWN:,} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)


def _as_list(names: Sequence[str]) -> str:
    """Return names as a value for the command line: ``'[no,yes]'``."""
    inside = ",".join(visible(name) for name in names[:_SHOWN]) + (",..." if len(names) > _SHOWN else "")
    return f"'[{inside}]'"
