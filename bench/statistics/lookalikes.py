"""Sets of pictures that look alike without being the same, copies planted among them, and what is found of both."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from assay.data.duplicates import detail, near_pairs

Picture = npt.NDArray[np.uint8]
Draw = Callable[[np.random.Generator], Picture]
SIDE = 160


def scan(random: np.random.Generator) -> Picture:
    """Draw a registered slice of a head: one anatomy, a little other in size, a lesion in half of them, noise."""
    image = np.full((SIDE, SIDE), 8, np.float32)
    centre = (SIDE // 2, SIDE // 2)
    large, small = random.normal(1, 0.015, 2)
    cv2.ellipse(image, centre, (int(62 * large), int(72 * large)), 0, 0, 360, 200, -1, cv2.LINE_AA)
    cv2.ellipse(image, centre, (int(56 * large), int(66 * large)), 0, 0, 360, 95, -1, cv2.LINE_AA)
    folds = cv2.GaussianBlur(np.random.default_rng(5).normal(0, 1, image.shape).astype(np.float32), (0, 0), 5)
    image += 12 * folds / folds.std() * (np.abs(image - 95) < 1)
    for side in (-1, 1):
        at = (SIDE // 2 + side * 14, SIDE // 2 - 4)
        cv2.ellipse(image, at, (int(8 * small), int(22 * small)), side * 12, 0, 360, 30, -1, cv2.LINE_AA)
    if random.random() < 0.5:
        angle, radius = random.uniform(0, 2 * np.pi), random.uniform(15, 45)
        at = (int(SIDE / 2 + radius * np.cos(angle)), int(SIDE / 2 + radius * np.sin(angle)))
        cv2.circle(image, at, int(random.integers(3, 9)), float(random.integers(130, 170)), -1, cv2.LINE_AA)
    return _finished(image * random.normal(1, 0.02), random, 5)


def cell(random: np.random.Generator) -> Picture:
    """Draw a stained cell in the middle of its picture."""
    image = np.full((SIDE, SIDE), 215, np.float32)
    centre, turn = (SIDE // 2, SIDE // 2), float(random.uniform(0, 180))
    axes = (int(random.uniform(44, 58)), int(random.uniform(40, 52)))
    cv2.ellipse(image, centre, axes, turn, 0, 360, float(random.integers(150, 170)), -1, cv2.LINE_AA)
    inner = tuple(int(axis * random.uniform(0.45, 0.6)) for axis in axes)
    at = tuple(int(SIDE / 2 + offset) for offset in random.normal(0, 5, 2))
    cv2.ellipse(image, at, inner, turn + float(random.normal(0, 20)), 0, 360, 80, -1, cv2.LINE_AA)
    grain = cv2.GaussianBlur(random.normal(0, 1, image.shape).astype(np.float32), (0, 0), 3)
    return _finished(image + 7 * grain / grain.std() * (image < 200), random, 3)


def fundus(random: np.random.Generator) -> Picture:
    """Draw the back of an eye: a disc, a bright spot where the nerve enters, vessels that branch from there."""
    image = np.full((SIDE, SIDE), 6, np.float32)
    cv2.circle(image, (SIDE // 2, SIDE // 2), 74, 120, -1, cv2.LINE_AA)
    nerve = np.array([SIDE * 0.68, SIDE * 0.5]) + random.normal(0, 3, 2)
    for up in (-1, 1):
        for _ in range(3):
            ends = np.array([SIDE * random.uniform(0.15, 0.6), SIDE * (0.5 + up * random.uniform(0.1, 0.42))])
            middle = (nerve + ends) / 2 + np.array([random.normal(0, 6), up * random.uniform(6, 20)])
            along = np.linspace(0, 1, 30)[:, None]
            line = (1 - along) ** 2 * nerve + 2 * along * (1 - along) * middle + along**2 * ends
            points = (line * 8).round().astype(np.int32).reshape(-1, 1, 2)
            cv2.polylines(image, [points], False, 70, int(random.integers(1, 4)), cv2.LINE_AA, 3)
    cv2.circle(image, tuple(int(value) for value in nerve), int(random.integers(9, 13)), 210, -1, cv2.LINE_AA)
    return _finished(image, random, 2)


def _finished(image: npt.NDArray[np.floating], random: np.random.Generator, noise: float) -> Picture:
    return np.clip(image + random.normal(0, noise, image.shape), 0, 255).round().astype(np.uint8)


def jpeg(image: Picture, quality: int) -> Picture:
    """Return a picture as JPEG gives it back."""
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), np.uint8)


def cropped(image: Picture, random: np.random.Generator) -> Picture:
    """Return a picture without 2% of its height and width, taken off anywhere."""
    height, width = (round(side * 0.98) for side in image.shape[:2])
    top, left = int(random.integers(image.shape[0] - height + 1)), int(random.integers(image.shape[1] - width + 1))
    return np.ascontiguousarray(image[top : top + height, left : left + width])


CHANGES: dict[str, Callable[[Picture, np.random.Generator], Picture]] = {
    "JPEG 50": lambda image, random: jpeg(image, 50),
    "JPEG 75": lambda image, random: jpeg(image, 75),
    "JPEG 95": lambda image, random: jpeg(image, 95),
    "mirrored": lambda image, random: np.ascontiguousarray(image[:, ::-1]),
    "turned": lambda image, random: np.ascontiguousarray(np.rot90(image, int(random.integers(1, 4)))),
    "cropped": cropped,
    "mirrored, JPEG 75": lambda image, random: jpeg(np.ascontiguousarray(image[::-1]), 75),
}


@dataclass(frozen=True)
class Found:
    """What came of a set.

    Attributes:
        kind: Of pictures.
        images: How many different ones.
        false: Share of the images that are joined with another one, in the set without copies.
        false_among_copies: The same, with the copies in it.
        found: Share of the planted copies that are joined with their original, by change.
        seconds: Of processor time, of the search in the set without copies.
    """

    kind: str
    images: int
    false: float
    false_among_copies: float
    found: dict[str, float]
    seconds: float


def search(kind: str, pictures: list[Picture], bits: int = 4, share: float = 0.2, seed: int = 0) -> Found:
    """Look for near duplicates in a set, then in the same set with changed copies of a share planted."""
    random = np.random.default_rng([seed, 3])
    originals = np.stack([detail(picture) for picture in pictures])
    started = time.process_time()
    alone = near_pairs(originals, bits)
    seconds = time.process_time() - started
    # One copy of each: were copies the rule, they would say what chance does.
    chosen = random.choice(len(pictures), max(len(CHANGES), int(share * len(pictures))), replace=False)
    planted, of, change = [], [], []
    for number, (name, changed) in zip(chosen.tolist(), itertools.cycle(CHANGES.items()), strict=False):
        planted.append(detail(changed(pictures[number], random)))
        of.append(number)
        change.append(name)
    joined = near_pairs(np.concatenate([originals, np.stack(planted)]), bits)
    sets = _components(joined, len(originals) + len(planted))
    source = np.concatenate([np.arange(len(originals)), of])
    hits = {
        name: float(np.mean([sets[len(originals) + n] == sets[of[n]] for n in range(len(of)) if change[n] == name]))
        for name in CHANGES
    }
    wrong = {int(row) for pair in joined if source[pair[0]] != source[pair[1]] for row in pair}
    return Found(
        kind,
        len(pictures),
        len(np.unique(alone)) / len(pictures),
        len({int(source[row]) for row in wrong}) / len(pictures),
        hits,
        seconds,
    )


KINDS: dict[str, Draw] = {"scans": scan, "cells": cell, "eyes": fundus}


def search_drawn(kind: str, count: int, seed: int = 0) -> Found:
    """Draw so many pictures of a kind, and do what `search` does."""
    random = np.random.default_rng([seed, count])
    return search(kind, [KINDS[kind](random) for _ in range(count)], seed=seed)


def _components(pairs: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int32]:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1]
