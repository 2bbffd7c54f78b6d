"""Segmentation masks among the images to classify: known by name, by the image they belong to, and by grey levels."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# A mask holds a number for each kind of tissue; a picture saved with so few levels is rare.
FEW_SHADES = 16
_SAMPLE = 512
_WORD = r"(?:masks?|seg|segs|segmentations?|gt|ground[\s_-]?truths?|labels?|labelmaps?|annotations?|contours?|rois?)"
_BEHIND = re.compile(rf"^(.*?)[\s_.-]+({_WORD})(?:[\s_.-]*\(?\d+\)?)?$", re.IGNORECASE)
_BEFORE = re.compile(rf"^({_WORD})[\s_.-]+(.+)$", re.IGNORECASE)
_FOLDER = re.compile(rf"(?:^|.*[\s_-]){_WORD}$", re.IGNORECASE)


@dataclass(frozen=True)
class Masks:
    """What looks like masks.

    Attributes:
        chosen: Which of the images, bool (N,).
        pattern: What leaves them out, for `data.exclude`; empty where there are none.
    """

    chosen: npt.NDArray[np.bool_]
    pattern: str


def count_shades(pixels: npt.NDArray[np.uint8]) -> int:
    """Return how many of the 256 values occur in an image, counted on a sample of its pixels.

    Args:
        pixels: uint8 (H, W, C).
    """
    height, width = pixels.shape[:2]
    sample = pixels[:: -(-height // _SAMPLE), :: -(-width // _SAMPLE)]
    return int(np.count_nonzero(np.bincount(sample.ravel(), minlength=256)))


def find_masks(ids: Sequence[str], shades: Sequence[int]) -> Masks:
    """Return which images are likely masks: named as such, and beside the image of that name or of few grey levels.

    Args:
        ids: Names of the images, with ``/`` between folders.
        shades: Grey levels of each; see `count_shades`.
    """
    stems = {posixpath.splitext(name)[0].casefold() for name in ids}
    by_parent: dict[str, set[str]] = {}
    for stem in stems:
        folder, name = posixpath.split(stem)
        if not _FOLDER.match(posixpath.basename(folder)):
            by_parent.setdefault(posixpath.dirname(folder), set()).add(name)
    chosen = np.zeros(len(ids), bool)
    patterns: dict[str, int] = {}
    for place, (name, count) in enumerate(zip(ids, shades, strict=True)):
        folder, file = posixpath.split(posixpath.splitext(name)[0].casefold())
        behind, before = _BEHIND.match(file), _BEFORE.match(file)
        in_folder = "/" in folder and bool(_FOLDER.match(posixpath.basename(folder)))
        bare = behind[1] if behind else before[2] if before else file
        paired = bare != file and posixpath.join(folder, bare) in stems
        if in_folder:
            beside = by_parent.get(posixpath.dirname(folder), set())
            paired = paired or bool({bare, file} & beside)
        if not (in_folder or behind or before) or not (paired or count <= FEW_SHADES):
            continue
        chosen[place] = True
        if in_folder:
            pattern = f"*/{posixpath.basename(folder)}/*"
        else:
            pattern = f"*{file[len(bare)]}{behind[2]}*" if behind else f"{before[1] if before else ''}*"
        patterns[pattern] = patterns.get(pattern, 0) + 1
    return Masks(chosen, max(patterns, key=patterns.__getitem__, default=""))
