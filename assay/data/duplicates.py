"""Exact and near duplicates, found in about linear time, and the groups that they extend.

A near duplicate is the same picture saved again: recompressed, resized, slightly brightened. Two images are near
duplicates where their perceptual hashes differ in few of 64 bits *and* small grey sketches of them agree; the
hash finds candidates fast, the sketch keeps look-alikes apart. Images without detail (blank patches) look
alike without being the same: only their exact copies count.

On 3,000 patches of PatchCamelyon, within 4 bits: 99.5% of the copies saved as JPEG of quality 50 are found,
99.7% of those halved in size, and none of 4.5 million pairs of different patches is.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

THUMBNAIL_SIDE = 32
SKETCH_SIDE = 16
_HASH_SIDE = 8
# Grey levels: what compression, resizing and a little brightness change on average in a sketch. In images of
# low contrast less is allowed, so that it stays well below their own variation.
_MAX_DIFFERENCE = 5.0
_MAX_DIFFERENCE_OF_CONTRAST = 1 / 3
_MIN_CONTRAST = 3.0
# Different images of the very same hash: beyond this number the hash says nothing of them.
_MAX_LEADERS = 64
_BLOCK = 2048

_frequencies = np.arange(_HASH_SIDE)[:, None]
_positions = np.arange(THUMBNAIL_SIDE)[None, :]
_COSINES = np.cos(np.pi * (2 * _positions + 1) * _frequencies / (2 * THUMBNAIL_SIDE)).astype(np.float32)


@dataclass(frozen=True)
class Signatures:
    """What is kept of each image to find its near duplicates: 264 bytes.

    Attributes:
        hashes: uint64 (N,), perceptual hashes.
        sketches: uint8 (N, 16, 16), grey.
    """

    hashes: npt.NDArray[np.uint64]
    sketches: npt.NDArray[np.uint8]


def signatures(thumbnails: npt.NDArray[np.uint8]) -> Signatures:
    """Return perceptual hashes (the signs of 64 low frequencies against their median) and sketches.

    Args:
        thumbnails: uint8 (N, 32, 32), grey, averaged over area.
    """
    low = _COSINES @ thumbnails.astype(np.float32) @ _COSINES.T
    low = low.reshape(len(thumbnails), _HASH_SIDE * _HASH_SIDE)
    bits = low > np.median(low, axis=1, keepdims=True)
    hashes = np.packbits(bits, axis=1).view(np.uint64)[:, 0]
    step = THUMBNAIL_SIDE // SKETCH_SIDE
    tiles = thumbnails.reshape(-1, SKETCH_SIDE, step, SKETCH_SIDE, step).mean(axis=(2, 4))
    return Signatures(hashes, tiles.round().astype(np.uint8))


def exact_pairs(digests: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return pairs that join all examples of equal digest.

    Args:
        digests: One hash of the content an example.

    Returns:
        int64 (M, 2), indices into ``digests``; each copy is joined to the first.
    """
    values = np.asarray(digests, dtype=object)
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    leaders = first[inverse]
    copies = np.flatnonzero(leaders != np.arange(len(values)))
    return np.stack([leaders[copies], copies], axis=1).astype(np.int64)


def near_pairs(images: Signatures, bits: int) -> npt.NDArray[np.int64]:
    """Return pairs of near duplicates that join all of them into their sets (not every pair that there is).

    Args:
        images: Signatures of N images.
        bits: Hashes may differ in so many of 64 bits.

    Returns:
        int64 (M, 2), indices into ``images``.
    """
    contrast = _contrast(images.sketches)
    detailed = np.flatnonzero(contrast >= _MIN_CONTRAST)
    allowed = np.minimum(_MAX_DIFFERENCE, contrast * _MAX_DIFFERENCE_OF_CONTRAST)
    same_hash, leaders = _within_equal_hashes(images, detailed, allowed)
    candidates = _similar_hashes(images.hashes[leaders], bits)
    between = leaders[candidates]
    return np.concatenate([same_hash, between[_alike(images, between, allowed)]])


def _contrast(sketches: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return the standard deviation of each sketch, a block at a time: as floats they would fill the memory."""
    blocks = [sketches[start : start + _BLOCK].std(axis=(1, 2)) for start in range(0, len(sketches), _BLOCK)]
    return np.concatenate(blocks) if blocks else np.zeros(0)


def _alike(images: Signatures, pairs: npt.NDArray[np.int64], allowed: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Return which pairs have sketches that agree."""
    agree = np.zeros(len(pairs), bool)
    for start in range(0, len(pairs), _BLOCK):
        one, two = pairs[start : start + _BLOCK].T
        difference = np.abs(images.sketches[one].astype(np.int16) - images.sketches[two]).mean(axis=(1, 2))
        agree[start : start + _BLOCK] = difference <= np.minimum(allowed[one], allowed[two])
    return agree


def _within_equal_hashes(
    images: Signatures, chosen: npt.NDArray[np.int64], allowed: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Join images of equal hash to leaders that look like them; return the pairs and the leaders."""
    order = chosen[np.argsort(images.hashes[chosen], kind="stable")]
    hashes = images.hashes[order]
    starts = np.flatnonzero(np.r_[True, hashes[1:] != hashes[:-1]]) if len(order) else np.zeros(0, np.int64)
    ends = np.r_[starts[1:], len(order)]
    single = ends - starts == 1
    leaders = [order[starts[single]]]
    pairs = [np.zeros((0, 2), np.int64)]
    for start, end in zip(starts[~single], ends[~single], strict=True):
        rest = order[start:end]
        for _ in range(_MAX_LEADERS):
            leader, others = rest[0], rest[1:]
            leaders.append(rest[:1])
            to_leader = np.stack([np.full(len(others), leader), others], axis=1)
            alike = _alike(images, to_leader, allowed)
            pairs.append(to_leader[alike])
            rest = others[~alike]
            if not len(rest):
                break
    return np.concatenate(pairs), np.concatenate(leaders)


def _similar_hashes(hashes: npt.NDArray[np.uint64], bits: int) -> npt.NDArray[np.int64]:
    """Return all pairs (i < j) of hashes that differ in at most ``bits`` bits.

    Of ``bits + 1`` bands of the 64 bits, two such hashes agree in one at least: only hashes that share a band
    are compared (multi-index hashing; Norouzi, Punjani, Fleet 2012).
    """
    found = [np.zeros((0, 2), np.int64)]
    edges = np.linspace(0, 64, bits + 2).round().astype(int)
    for low, high in itertools.pairwise(edges):
        mask = (1 << int(high - low)) - 1
        keys = (hashes >> np.uint64(low)) & np.uint64(mask)
        order = np.argsort(keys, kind="stable")
        ordered, ordered_keys = hashes[order], keys[order]
        ends = np.searchsorted(ordered_keys, ordered_keys, side="right")
        found += [order[pairs] for pairs in _compare_runs(ordered, ends, bits)]
    pairs = np.sort(np.concatenate(found), axis=1)
    return np.unique(pairs, axis=0)


def _compare_runs(
    hashes: npt.NDArray[np.uint64], ends: npt.NDArray[np.int64], bits: int
) -> list[npt.NDArray[np.int64]]:
    """Compare each hash with those after it in its run of equal keys, one distance along the run at a time."""
    found: list[npt.NDArray[np.int64]] = []
    positions = np.arange(len(hashes))
    distance = 1
    while True:
        positions = positions[positions + distance < ends[positions]]
        if not len(positions):
            return found
        others = positions + distance
        near = np.bitwise_count(hashes[positions] ^ hashes[others]) <= bits
        if near.any():
            found.append(np.stack([positions[near], others[near]], axis=1))
        distance += 1


def extend_groups(
    ids: Sequence[str], given: Sequence[str], pairs: npt.NDArray[np.int64]
) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Return the groups that result where duplicates must stay together.

    Args:
        ids: One id an example.
        given: The source's group of each, or empty.
        pairs: int64 (M, 2), examples that belong together.

    Returns:
        The group of each example, never empty: the smallest of the given names that were joined, or
        ``image:`` with the smallest id; and int64 (N,), the set of duplicates that each example is in,
        counted from 0, -1 for an example without one.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    def components(edges: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
        graph = coo_array((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(size, size))
        return connected_components(graph, directed=False)[1].astype(np.int64)

    count = len(ids)
    names = {name: number for number, name in enumerate(sorted(set(given) - {""}))}
    membership = np.array([(row, count + names[name]) for row, name in enumerate(given) if name], np.int64)
    component = components(np.concatenate([pairs, membership.reshape(-1, 2)]), count + len(names))
    label: dict[int, str] = {}
    for name, number in names.items():
        label.setdefault(int(component[count + number]), name)
    for row in sorted(range(count), key=ids.__getitem__):
        label.setdefault(int(component[row]), f"image:{ids[row]}")
    groups = [label[int(number)] for number in component[:count]]

    sets = components(pairs, count)
    sizes = np.bincount(sets, minlength=1)
    numbers = np.where(sizes > 1, np.cumsum(sizes > 1) - 1, -1)
    return groups, numbers[sets]
