"""Exact and near duplicates, and the groups that they extend.

A near duplicate is the same picture saved again: recompressed, resized, brightened, mirrored, turned by a quarter,
or without a margin of some percent. Where all pictures of a source look alike (registered scans, centred cells), most
of what two of them share is what all share. So everything is measured against the source itself:

1. Candidates: 64 bits say of each picture where it lies above the median of all pictures, at the frequencies in which
   they differ most. Of each picture in eight positions (mirrored, turned) and some crops, the bits are compared with
   those of all others.
2. A pair of candidates is aligned and compared in 64 x 64 pixels: the correlation of what sets either apart from the
   mean of all, each frequency weighted by how much pictures vary there above what compression does (the matched filter
   of two noisy signals; Turin 1960).
3. The threshold follows from the same correlation of pairs drawn at random, and rises with the number of pairs that
   there are: more pictures make no more false pairs.
4. Sets are joined where every member agrees with every other one (complete linkage).

Pictures without detail (blank patches) look alike without being the same: only their exact copies count.
`bench.statistics` holds what is found, and what is joined by mistake.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

DETAIL_SIDE = 64
# Grey levels; below this standard deviation a picture is blank.
_MIN_CONTRAST = 3.0
# Of nearly blank pictures much is what compression left: more is asked of them.
_FAINT, _ASKED_OF_FAINT = 8.0, 0.8
# What compression at quality 50 changes a pixel of a detail by, in grey levels (root mean square).
_COMPRESSION = 3.0
_LOW, _HIGH = 12, 32
_BLOCK = 1024
# So many pictures are all compared with each other; of more, those of similar hashes.
_ALL = 2500
_DOTS = 2**16
# Of the correlation: never less for a pair, never asked more of one.
_LEAST, _LEAST_OF_FEW, _MOST = 0.45, 0.65, 0.75
_RANDOM_PAIRS = 3000
_TAIL = 0.02
_HEAVY = 1.5
# False pairs that chance may make, for each picture.
_FALSE_PAIRS = 0.0025
# Fewer pictures than that say little of what varies together.
_FEW = 100
_FAR = 0.8
# Below this share of the threshold a pair is not worth aligning.
_WORTH = 0.5
# What the best of many alignments adds to a correlation by chance.
_FOR_ALIGNING = 0.03
# Of the coarse correlation, at the lowest frequencies alone.
_COARSE = 0.5
_LINKED = 0.75
_LARGEST_CHECKED = 12
# Margins that may be missing: fractions of height and width, as (top, bottom, left, right).
_TAKEN_OFF = ((0.01, 0.01), (0.0, 0.02), (0.02, 0.0))
_MARGINS = (
    (0.0, 0.0, 0.0, 0.0),
    (0.02, 0.02, 0.02, 0.02),
    *((*rows, *columns) for rows in _TAKEN_OFF for columns in _TAKEN_OFF),
)
# Beyond this number of pictures only the first so many margins are looked for, or the search would take hours.
_MANY, _MARGINS_OF_MANY = 30_000, 1

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]


def detail(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return what is kept of a picture (H, W) to find its near duplicates: uint8 (64, 64)."""
    smaller = min(grey.shape) < DETAIL_SIDE
    how = cv2.INTER_CUBIC if smaller else cv2.INTER_AREA
    return cv2.resize(grey, (DETAIL_SIDE, DETAIL_SIDE), interpolation=how).astype(np.uint8, copy=False)


def exact_pairs(digests: Sequence[str]) -> Numbers:
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


def near_pairs(details: npt.NDArray[np.uint8], bits: int) -> Numbers:
    """Return pairs of near duplicates that join all of them into their sets (not every pair that there is).

    Args:
        details: uint8 (N, 64, 64), of `detail`.
        bits: Hashes may differ in so many of 64 bits.

    Returns:
        int64 (M, 2), indices into ``details``.
    """
    contrast = _contrast(details)
    rows = np.flatnonzero(contrast >= _MIN_CONTRAST)
    if len(rows) < 2:
        return np.zeros((0, 2), np.int64)
    found = _Search(details, rows, contrast[rows]).sets(bits)
    return rows[found]


def _contrast(details: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return the standard deviation of each picture, a block at a time: as floats they would fill the memory."""
    blocks = [details[start : start + _BLOCK].std(axis=(1, 2)) for start in range(0, len(details), _BLOCK)]
    return np.concatenate(blocks) if blocks else np.zeros(0)


@dataclass(frozen=True)
class _Candidates:
    """Pairs: ``second`` may be ``first`` without a margin, then in another position."""

    first: Numbers
    second: Numbers
    position: Numbers
    margin: Numbers

    def __len__(self) -> int:
        return len(self.first)

    def take(self, chosen: npt.NDArray[np.bool_] | Numbers) -> _Candidates:
        return _Candidates(self.first[chosen], self.second[chosen], self.position[chosen], self.margin[chosen])


class _Search:
    """The pictures of a source, and what they have in common."""

    def __init__(self, details: npt.NDArray[np.uint8], rows: Numbers, contrast: npt.NDArray[np.float64]) -> None:
        self.details = details
        self.rows = rows
        self.contrast = contrast
        self.count = len(rows)
        self.kept: Floats | None = None
        total = np.zeros((_HIGH, _HIGH))
        squares = np.zeros((_HIGH, _HIGH))
        for start in range(0, self.count, _BLOCK):
            block = self._coefficients(np.arange(start, min(start + _BLOCK, self.count)), _HIGH)
            total += block.sum(axis=0, dtype=np.float64)
            squares += (block.astype(np.float64) ** 2).sum(axis=0)
        # Few pictures do not tell what all have in common: little is taken for it then.
        self.mean = (total / (self.count + 2)).astype(np.float32)
        variance = np.maximum(squares / self.count - (total / self.count) ** 2, 0)
        wave = np.add.outer(np.arange(_HIGH) ** 2, np.arange(_HIGH) ** 2)
        falling = 1 / (1.0 + wave)
        falling[0, 0] = 0
        usual = falling * (squares.sum() / self.count) / falling.sum()
        variance = (self.count * variance + 10 * usual) / (self.count + 10)
        noise = (_COMPRESSION / np.median(contrast)) ** 2
        weight = 1 / (variance + noise)
        weight[0, 0] = 0
        self.weight = np.sqrt(weight).astype(np.float32)
        self.whiten = {count: self._whitening(count) for count in (_LOW, _HIGH)}

    def sets(self, bits: int) -> Numbers:
        """Return pairs that join the sets of near duplicates, as indices into ``rows``."""
        asked = self._threshold()
        candidates = self._candidates(bits)
        scores = self._scores(candidates)
        found: list[tuple[float, int, int, int]] = []
        for number in np.flatnonzero(scores >= _WORTH * asked).tolist():
            first, second = int(candidates.first[number]), int(candidates.second[number])
            position, score = int(candidates.position[number]), float(scores[number])
            margin = int(candidates.margin[number])
            if score < asked and margin:
                score = self._aligned(first, second, position, margin) - _FOR_ALIGNING
            faint = min(self.contrast[first], self.contrast[second]) < _FAINT
            if score >= (max(asked, _ASKED_OF_FAINT) if faint else asked):
                found.append((score, first, second, position))
        return self._linked(sorted(found, key=lambda one: (-one[0], *one[1:])), _LINKED * asked)

    def _threshold(self) -> float:
        """Return the correlation that a pair needs: what chance does not reach in all pairs together."""
        random = np.random.default_rng(0)
        first, second = random.integers(0, self.count, (2, _RANDOM_PAIRS))
        other = first != second
        first, second = first[other], second[other]
        none = np.zeros(len(first), np.int64)
        scores = self._scores(_Candidates(first, second, none, none))
        scores = scores[scores < _MOST]  # some pairs drawn may be copies
        if not len(scores):
            return _MOST
        # The tail of chance falls about exponentially, or more slowly.
        edge, middle = np.quantile(scores, [1 - _TAIL, 1 - _TAIL / 2])
        pairs = self.count * (self.count - 1) / 2
        rare = np.log(max(_TAIL * pairs / (_FALSE_PAIRS * self.count), 1.0))
        least = _LEAST if self.count > _FEW else _LEAST_OF_FEW
        return float(np.clip(edge + _HEAVY * (middle - edge) / np.log(2) * rare, least, _MOST))

    def _weighted(self, coefficients: Floats) -> Floats:
        """Return what sets pictures apart from the mean of all (B, K x K), no direction louder than chance."""
        count = coefficients.shape[-1]
        found = (coefficients - self.mean[:count, :count]) * self.weight[:count, :count]
        # Few pictures far from the mean in the same way (a rare size) are no copies of each other for it.
        return np.clip(found.reshape(len(found), -1) @ self.whiten[count], -_FAR, _FAR)

    def _whitening(self, count: int) -> Floats:
        """Return the matrix (K x K, K x K) that quietens directions in which many frequencies vary together.

        What all pictures have in several measures (a size, a turn) moves many frequencies at once, and two pictures
        of about the same size would look like copies of each other.
        """
        together = np.zeros((count**2, count**2))
        weight, mean = self.weight[:count, :count], self.mean[:count, :count]
        for start in range(0, self.count, _BLOCK):
            block = self._coefficients(np.arange(start, min(start + _BLOCK, self.count)), count)
            flat = ((block - mean) * weight).reshape(len(block), -1)
            together += flat.T @ flat
        together /= self.count
        share = self.count / (self.count + _FEW)
        together = share * together + (1 - share) * np.diag(np.diag(together))
        size, directions = np.linalg.eigh(together)
        return (directions / np.sqrt(np.maximum(size, 1.0))).astype(np.float32)

    def _standard(self, rows: Numbers) -> Floats:
        """Return pictures (B, 64, 64) of mean 0 and standard deviation 1."""
        pictures = self.details[self.rows[rows]].astype(np.float32)
        pictures -= pictures.mean(axis=(1, 2), keepdims=True)
        scaled: Floats = pictures / self.contrast[rows].astype(np.float32)[:, None, None]
        return scaled

    def _coefficients(self, rows: Numbers, count: int, margin: int = 0) -> Floats:
        """Return the cosine coefficients (B, count, count) of pictures without a margin, the constant one 0."""
        top, bottom, left, right = _MARGINS[margin]
        high, wide = _cosines(count, top, bottom), _cosines(count, left, right)
        found = np.asarray(high @ self._standard(rows) @ wide.T, np.float32)
        found[:, 0, 0] = 0
        return found

    def _candidates(self, bits: int) -> _Candidates:
        """Return pairs that agree coarsely, each once in each position, with the margin at which they agree best."""
        base = self._all_low(0)
        known = self._unit(base)
        flat = base.reshape(self.count, -1)
        places = np.sort(np.argsort(-flat.std(axis=0), kind="stable")[:64])
        middle = np.median(flat, axis=0)[places]

        def hashed(values: Floats) -> npt.NDArray[np.uint64]:
            above = values.reshape(len(values), -1)[:, places] > middle
            return np.ascontiguousarray(np.packbits(above, axis=1)).view(np.uint64)[:, 0]

        originals = hashed(base)
        margins = len(_MARGINS) if self.count <= _MANY else _MARGINS_OF_MANY
        found, agree = [], []
        for margin in range(margins):
            whole = base if margin == 0 else self._all_low(margin)
            for position in range(8):
                moved = _moved(whole, position)
                of_all = self._unit(moved)
                if self.count <= _ALL:
                    one, two, score = _coarse_pairs(of_all, known)
                else:
                    one, two = similar_hashes(hashed(moved), originals, bits if margin == 0 else bits + 2).T
                    score = np.concatenate(
                        [
                            np.zeros(0, np.float32),
                            *(
                                np.einsum(
                                    "ij,ij->i", of_all[one[start : start + _DOTS]], known[two[start : start + _DOTS]]
                                )
                                for start in range(0, len(one), _DOTS)
                            ),
                        ]
                    )
                    one, two, score = one[score >= _COARSE], two[score >= _COARSE], score[score >= _COARSE]
                ones = np.ones(len(one), np.int64)
                found.append(_Candidates(one, two, ones * position, ones * margin))
                agree.append(score)
        names = ("first", "second", "position", "margin")
        candidates = _Candidates(*(np.concatenate([getattr(part, name) for part in found]) for name in names))
        low, high = np.minimum(candidates.first, candidates.second), np.maximum(candidates.first, candidates.second)
        # Seen from the other picture, a position is undone.
        undone = np.array([_back(position) for position in range(8)])
        seen_from_low = np.where(candidates.first == low, candidates.position, undone[candidates.position])
        order = np.lexsort((-np.concatenate(agree), seen_from_low, high, low))
        key = np.stack([low, high, seen_from_low], axis=1)[order]
        best = np.r_[True, (key[1:] != key[:-1]).any(axis=1)] if len(key) else np.zeros(0, bool)
        return candidates.take(order[best])

    def _all_low(self, margin: int) -> Floats:
        blocks = (np.arange(start, min(start + _BLOCK, self.count)) for start in range(0, self.count, _BLOCK))
        return np.concatenate([self._coefficients(rows, _LOW, margin) for rows in blocks])

    def _unit(self, coefficients: Floats) -> Floats:
        """Return weighted coefficients (B, K x K) of length 1, so that their product is their correlation."""
        found = self._weighted(coefficients)
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)

    def _scores(self, pairs: _Candidates) -> npt.NDArray[np.float64]:
        """Return the weighted correlation of each pair as it stands."""
        scores = np.zeros(len(pairs))
        kinds = pairs.position * len(_MARGINS) + pairs.margin
        for kind in np.unique(kinds):
            position, margin = divmod(int(kind), len(_MARGINS))
            of_kind = np.flatnonzero(kinds == kind)
            of_kind = of_kind[np.argsort(pairs.first[of_kind], kind="stable")]
            rows, starts = np.unique(pairs.first[of_kind], return_index=True)
            ends = np.r_[starts[1:], len(of_kind)]
            for begin in range(0, len(rows), _BLOCK):
                part = rows[begin : begin + _BLOCK]
                one = self._unit(_moved(self._coefficients(part, _HIGH, margin), position))
                at = of_kind[starts[begin] : ends[begin + len(part) - 1]]
                for start in range(0, len(at), _BLOCK):
                    some = at[start : start + _BLOCK]
                    first = one[np.searchsorted(part, pairs.first[some])]
                    scores[some] = np.einsum("ij,ij->i", first, self._high(pairs.second[some]))
        return scores

    def _high(self, rows: Numbers) -> Floats:
        """Return the weighted coefficients of pictures as they stand, of length 1."""
        if self.count > _MANY:
            return self._unit(self._coefficients(rows, _HIGH))
        if self.kept is None:
            blocks = (np.arange(start, min(start + _BLOCK, self.count)) for start in range(0, self.count, _BLOCK))
            self.kept = np.concatenate([self._unit(self._coefficients(block, _HIGH)) for block in blocks])
        return self.kept[rows]

    def _aligned(self, first: int, second: int, position: int, margin: int) -> float:
        """Return the weighted correlation of a pair after alignment to a fraction of a pixel (Evangelidis 2008)."""
        one, two = self._standard(np.array([first, second]))
        one = np.ascontiguousarray(_placed(one, position))
        top, bottom, left, right = _placed_margin(_MARGINS[margin], position)
        side = DETAIL_SIDE
        warp = np.array([[1 - left - right, 0, left * side], [0, 1 - top - bottom, top * side]], np.float32)
        try:
            _, warp = cv2.findTransformECC(
                two, one, warp, cv2.MOTION_AFFINE, (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 30, 1e-4), None, 5
            )
        except cv2.error:  # it does not converge on pictures that have nothing in common
            return -1.0
        if np.abs(warp - np.array([[1, 0, 0], [0, 1, 0]])).max(axis=0) @ [1, 1, 1 / side] > 0.2:
            return -1.0
        moved = cv2.warpAffine(
            one, warp, (side, side), flags=cv2.INTER_LINEAR + cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
        )
        basis = _cosines(_HIGH, 0.0, 0.0)
        found = self._unit(basis @ np.stack([moved, two]) @ basis.T)
        return float(found[0] @ found[1])

    def _linked(self, pairs: Sequence[tuple[float, int, int, int]], asked: float) -> Numbers:
        """Join sets whose members all agree with each other, the best pairs first."""
        head: dict[int, int] = {}
        members: dict[int, list[int]] = {}
        # Of each picture the position in which its set's head has to be put to look like it.
        place: dict[int, int] = {}
        joined: list[tuple[int, int]] = []
        for _, first, second, position in pairs:
            for row in (first, second):
                if row not in head:
                    head[row], members[row], place[row] = row, [row], 0
            one, two = head[first], head[second]
            if one == two:
                continue
            # From the head of one set to that of the other: to `first`, to `second`, back to its head.
            across = _then(_then(place[first], position), _back(place[second]))
            agree = all(
                self._agree(a, b, _then(_then(_back(place[a]), across), place[b]), asked)
                for a in members[one][:_LARGEST_CHECKED]
                for b in members[two][:_LARGEST_CHECKED]
                if (a, b) != (first, second)
            )
            if not agree:
                continue
            joined.append((first, second))
            for row in members.pop(two):
                # From the new head to the old one, then to the picture.
                place[row] = _then(across, place[row])
                head[row] = one
                members[one].append(row)
        return np.array(joined, np.int64).reshape(-1, 2)

    def _agree(self, first: int, second: int, position: int, asked: float) -> bool:
        pair = _Candidates(*(np.array([value]) for value in (first, second, position, 0)))
        if self._scores(pair)[0] >= asked:
            return True
        return self._aligned(first, second, position, 0) >= asked


def _coarse_pairs(asked: Floats, known: Floats) -> tuple[Numbers, Numbers, Floats]:
    """Return all pairs (i, j), i not j, of vectors of length 1 that agree coarsely, with their products."""
    one, two, scores = [], [], []
    for start in range(0, len(asked), _BLOCK):
        product = asked[start : start + _BLOCK] @ known.T
        rows, columns = np.nonzero(product >= _COARSE)
        other = rows + start != columns
        rows, columns = rows[other], columns[other]
        one.append(rows + start)
        two.append(columns)
        scores.append(product[rows, columns])
    return np.concatenate(one), np.concatenate(two), np.concatenate(scores)


@functools.cache
def _cosines(count: int, before: float, after: float) -> Floats:
    """Return the orthonormal cosine basis (count, 64) of a side without a fraction before and after."""
    edges = np.arange(DETAIL_SIDE + 1) / DETAIL_SIDE
    inside = np.clip(np.minimum(edges[1:], 1 - after) - np.maximum(edges[:-1], before), 0, None) * DETAIL_SIDE
    middle = (np.maximum(edges[:-1], before) + np.minimum(edges[1:], 1 - after)) / 2
    place = (middle - before) / (1 - before - after)
    basis = np.cos(np.pi * np.arange(count)[:, None] * place) * inside * np.sqrt(2 / DETAIL_SIDE)
    basis[0] /= np.sqrt(2)
    return (basis / (1 - before - after)).astype(np.float32)


# Positions: 1 mirrors left and right, 2 up and down, 4 swaps the axes before that.
def _placed(picture: npt.NDArray, position: int) -> npt.NDArray:
    """Return a picture (..., H, W) in another position."""
    picture = picture.swapaxes(-1, -2) if position & 4 else picture
    picture = picture[..., ::-1, :] if position & 2 else picture
    return picture[..., ::-1] if position & 1 else picture


def _moved(coefficients: Floats, position: int) -> Floats:
    """Return the coefficients (..., K, K) of pictures in another position."""
    moved = coefficients.swapaxes(-1, -2) if position & 4 else coefficients
    sign = np.where(np.arange(moved.shape[-1]) % 2, -1, 1).astype(np.float32)
    moved = moved * sign[:, None] if position & 2 else moved
    return moved * sign if position & 1 else moved


def _placed_margin(margin: tuple[float, float, float, float], position: int) -> tuple[float, float, float, float]:
    top, bottom, left, right = margin
    if position & 4:
        top, bottom, left, right = left, right, top, bottom
    if position & 2:
        top, bottom = bottom, top
    if position & 1:
        left, right = right, left
    return top, bottom, left, right


@functools.cache
def _table() -> npt.NDArray[np.int64]:
    """Return which position one after another makes (8, 8)."""
    picture = np.arange(4).reshape(2, 2)
    known = {_placed(picture, position).tobytes(): position for position in range(8)}
    return np.array(
        [[known[_placed(_placed(picture, one), two).tobytes()] for two in range(8)] for one in range(8)], np.int64
    )


def _then(one: int, two: int) -> int:
    return int(_table()[one, two])


def _back(position: int) -> int:
    return int(np.flatnonzero(_table()[position] == 0)[0])


def similar_hashes(asked: npt.NDArray[np.uint64], known: npt.NDArray[np.uint64], bits: int) -> Numbers:
    """Return all pairs (i, j), i not j, of an asked and a known hash that differ in at most ``bits`` bits.

    Of ``bits + 1`` bands of the 64 bits, two such hashes agree in one at least: only hashes that share a band
    are compared (multi-index hashing; Norouzi, Punjani, Fleet 2012).

    Args:
        asked: uint64 (N,).
        known: uint64 (M,).
        bits: 0 to 8.

    Returns:
        int64 (P, 2), each pair once.
    """
    found = [np.zeros((0, 2), np.int64)]
    edges = np.linspace(0, 64, bits + 2).round().astype(int)
    for low, high in itertools.pairwise(edges):
        mask = np.uint64((1 << int(high - low)) - 1)
        of_asked, of_known = ((values >> np.uint64(low)) & mask for values in (asked, known))
        order = np.argsort(of_known, kind="stable")
        ordered, keys = known[order], of_known[order]
        starts, ends = (np.searchsorted(keys, of_asked, side=side) for side in ("left", "right"))
        # So many asked hashes at a time that their comparisons fit into memory.
        turns = np.cumsum(ends - starts) // 2**22
        for turn in np.unique(turns):
            rows = np.flatnonzero((turns == turn) & (ends > starts))
            counts = ends[rows] - starts[rows]
            one = np.repeat(rows, counts)
            offset = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            at = np.repeat(starts[rows], counts) + offset
            near = (np.bitwise_count(asked[one] ^ ordered[at]) <= bits) & (one != order[at])
            found.append(np.stack([one[near], order[at[near]]], axis=1))
    return np.unique(np.concatenate(found), axis=0)


def joinable(pairs: Numbers, given: Sequence[str]) -> Numbers:
    """Return pairs that join the same sets, but never two groups that the source tells apart.

    Two patients of the source are two patients, however much their pictures look alike. Of a set that touches several
    groups, each picture without one goes to the first of them.

    Args:
        pairs: int64 (M, 2), near duplicates.
        given: The source's group of each example (N), or empty.

    Returns:
        int64 (P, 2).
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(len(given), len(given)))
    sets: dict[int, list[int]] = {}
    component = connected_components(graph, directed=False)[1]
    for row in np.unique(pairs).tolist():
        sets.setdefault(int(component[row]), []).append(row)
    found: list[tuple[int, int]] = []
    for members in sets.values():
        named = sorted((given[row], row) for row in members if given[row])
        first = named[0][1] if named else members[0]
        found += [(first, row) for row in members if row != first and given[row] in ("", given[first])]
    return np.array(found, np.int64).reshape(-1, 2)


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
