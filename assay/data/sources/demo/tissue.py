"""demo://tissue: patches that look like tissue stained with haematoxylin and eosin, normal or tumour.

The class shows in the nuclei around the patch's centre, as in PatchCamelyon: a tumour's are large, of many
sizes and irregular shapes, crowded, with cleared chromatin and prominent nucleoli. What a mean-colour rule
could use is taken away: each slide has stains of its own, and the amount and the contrast of haematoxylin in
a patch are drawn without regard to its class. Shapes are rounded to sixteenths of a pixel and colours come
from integer tables, so that the pixels do not depend on the processor.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from assay.data.sources.demo.query import Parameter

PARAMETERS = {
    "images": Parameter(1200, 1, 10_000_000, "number of patches"),
    "size": Parameter(64, 16, 4096, "side in pixels"),
    "slides": Parameter(40, 1, 1_000_000, "number of slides; a patch's group is its slide"),
    "difficulty": Parameter(0.5, 0.0, 1.0, "0: obvious, 1: hardly to be told apart"),
    "seed": Parameter(0, 0, 2**31 - 1, "another seed gives other slides and patches"),
}

# Optical density of the two stains in red, green and blue (Ruifrok and Johnston, 2001).
HAEMATOXYLIN = np.array([0.650, 0.704, 0.286])
EOSIN = np.array([0.072, 0.990, 0.105])

SUBPIXEL_BITS = 4

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]

_ANGLES = np.arange(16) * (2 * np.pi / 16)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=-1).round(6)
_HARMONICS = np.concatenate(
    [[share * np.cos(k * _ANGLES), share * np.sin(k * _ANGLES)] for k, share in ((2, 1.0), (3, 0.7), (4, 0.4))]
).round(6)
_TURNS = np.stack([np.cos(np.arange(256) * np.pi / 128), np.sin(np.arange(256) * np.pi / 128)], axis=-1).round(6)


_STEPS = np.linspace(-0.8, 0.8, 9)
_SHADES = (45, 125, 165, 200)


class Tissue:
    """The generator; see `PARAMETERS` for the arguments."""

    classes: tuple[str, ...] = ("normal", "tumor")

    def __init__(self, images: int, size: int, slides: int, difficulty: float, seed: int) -> None:
        self._images = images
        self._size = size
        self._slides = slides
        self._difficulty = difficulty
        self._seed = seed

    def __len__(self) -> int:
        return self._images

    def label(self, number: int) -> int:
        """Return 1 for tumour: every second patch, on every slide."""
        return (number // self._slides + number % self._slides) % 2

    def group(self, number: int) -> str:
        """Return the name of the patch's slide."""
        return f"slide-{number % self._slides:03d}"

    def example(self, number: int) -> Image:
        """Return patch ``number``: RGB uint8 (size, size, 3)."""
        stain = _stain(self._seed, number % self._slides)
        random = np.random.default_rng([self._seed, 2, number])
        direction = int(random.integers(256))
        eosin = _stroma(self._size, direction, random)
        haematoxylin = np.zeros_like(eosin)
        cells = _epithelium(self.label(number), self._difficulty, random)
        _bodies(eosin, cells.place)
        _join(_spindles(direction, random), cells, _lymphocytes(random)).draw(haematoxylin)
        return _develop(haematoxylin, eosin, stain, random)


@dataclass(frozen=True)
class _Nuclei:
    """Some nuclei in units of the patch's side and grey levels of haematoxylin; every field has one row a nucleus."""

    place: Floats  # (K, 2)
    axes: Floats  # (K, 2): half lengths
    turn: npt.NDArray[np.int64]  # (K,): of 256
    irregular: Floats  # (K,): standard deviation of the outline
    fill: Floats  # (K,)
    rim: Floats  # (K,)
    nucleolus: Floats  # (K,): radius, 0 for none
    wobble: Floats  # (K, 6): the outline's harmonics

    def draw(self, haematoxylin: Image) -> None:
        """Draw the nuclei, later ones over earlier ones."""
        size = len(haematoxylin)
        outline = 1 + self.irregular[:, None] * (self.wobble @ _HARMONICS)
        points = _CIRCLE * np.maximum(outline, 0.35)[..., None] * self.axes[:, None, :]
        cosine, sine = _TURNS[self.turn].T
        x = cosine[:, None] * points[..., 0] - sine[:, None] * points[..., 1] + self.place[:, :1]
        y = sine[:, None] * points[..., 0] + cosine[:, None] * points[..., 1] + self.place[:, 1:]
        polygons = _subpixels(np.stack([x, y], axis=-1), size)
        centres = _subpixels(self.place, size).tolist()
        fills, rims = self.fill.astype(int).tolist(), self.rim.astype(int).tolist()
        spots = _subpixels(self.nucleolus, size).tolist()
        width = max(1, round(size / 80))
        for polygon, centre, fill, rim, spot in zip(polygons, centres, fills, rims, spots, strict=True):
            cv2.fillPoly(haematoxylin, [polygon], fill, cv2.LINE_8, SUBPIXEL_BITS)
            cv2.polylines(haematoxylin, [polygon], True, rim, width, cv2.LINE_8, SUBPIXEL_BITS)
            if spot:
                cv2.circle(haematoxylin, centre, spot, 250, -1, cv2.LINE_8, SUBPIXEL_BITS)


_FIELDS = [field.name for field in dataclasses.fields(_Nuclei)]


def _join(*parts: _Nuclei) -> _Nuclei:
    """Return all nuclei in order: drawing them at once costs less than part by part."""
    return _Nuclei(*(np.concatenate([getattr(part, name) for part in parts]) for name in _FIELDS))


def _bodies(eosin: Image, places: Floats) -> None:
    """Draw the cells' cytoplasm, which covers as much of the patch however many cells there are."""
    if not len(places):
        return
    dots = np.repeat(_subpixels(places, len(eosin))[:, None], 2, axis=1)
    width = max(1, round(len(eosin) / len(places) ** 0.5))
    cv2.polylines(eosin, list(dots), False, 120, width, cv2.LINE_8, SUBPIXEL_BITS)


def _subpixels(lengths: Floats, size: int) -> Ints:
    return np.rint(lengths * (size << SUBPIXEL_BITS)).astype(np.int32)


def _epithelium(label: int, difficulty: float, random: np.random.Generator) -> _Nuclei:
    """The cells whose nuclei tell the class: by their malignancy, 0 like normal tissue and 1 like a tumour."""
    separation = 1 - 0.8 * difficulty
    centre = 0.5 + (label - 0.5) * separation + (0.04 + 0.16 * difficulty) * random.standard_normal()
    around = (1 - difficulty) * centre + difficulty * random.random()

    cells = 9
    grid = np.stack(np.divmod(np.arange(cells * cells), cells), axis=-1)
    place = (grid + random.random(2) + 0.75 * random.random((cells * cells, 2)) - 1.3) / (cells - 2)
    inside = ((place - 0.5) ** 2).sum(axis=-1) < 0.36**2
    malignancy = np.clip(np.where(inside, centre, around), 0.0, 1.0)

    radius = 0.046 + 0.036 * malignancy
    covered = random.uniform(0.22, 0.40) + 0.12 * malignancy
    likely = covered / (np.pi * (radius * (cells - 2)) ** 2)
    visible = (np.abs(place - 0.5) < 0.5 + radius[:, None]).all(axis=-1)
    kept = visible & (random.random(len(place)) < likely)
    place, malignancy, radius = place[kept], malignancy[kept], radius[kept]
    count = len(place)
    # One block of random numbers for all properties: many small draws would cost more than the drawing.
    normal = np.clip(random.standard_normal((count, 9)), -2.5, 2.5)
    uniform = random.random((count, 3))
    radius = radius * (1 + (0.08 + 0.22 * malignancy) * normal[:, 0])
    stretch = 1 + (0.15 + 0.35 * malignancy) * uniform[:, 0]
    fill = 165 - 45 * malignancy + 20 * normal[:, 1]
    return _Nuclei(
        place=place,
        axes=np.stack([radius * stretch, radius / stretch], axis=-1),
        turn=(uniform[:, 1] * 256).astype(np.int64),
        irregular=0.02 + 0.08 * malignancy,
        fill=fill,
        rim=fill + 20 + 25 * malignancy,
        nucleolus=np.where(uniform[:, 2] < 0.9 * malignancy, radius * (0.22 + 0.05 * np.abs(normal[:, 2])), 0.0),
        wobble=normal[:, 3:],
    )


def _lymphocytes(random: np.random.Generator) -> _Nuclei:
    """Small, round, dark nuclei in any tissue."""
    count = int(random.integers(0, 8))
    radius = random.uniform(0.036, 0.044, count)
    return _Nuclei(
        place=random.random((count, 2)),
        axes=np.stack([radius, radius], axis=-1),
        turn=np.zeros(count, np.int64),
        irregular=np.full(count, 0.03),
        fill=random.uniform(185, 225, count),
        rim=np.full(count, 225.0),
        nucleolus=np.zeros(count),
        wobble=np.clip(random.standard_normal((count, 6)), -2.5, 2.5),
    )


def _spindles(direction: int, random: np.random.Generator) -> _Nuclei:
    """The thin nuclei of fibroblasts, which lie along the fibres."""
    count = int(random.integers(0, 7))
    length = random.uniform(0.06, 0.10, count)
    fill = random.uniform(140, 190, count)
    return _Nuclei(
        place=random.random((count, 2)),
        axes=np.stack([length, length * random.uniform(0.16, 0.26, count)], axis=-1),
        turn=(direction + random.integers(-12, 13, count)) % 256,
        irregular=np.full(count, 0.04),
        fill=fill,
        rim=fill + 15,
        nucleolus=np.zeros(count),
        wobble=np.clip(random.standard_normal((count, 6)), -2.5, 2.5),
    )


def _stroma(size: int, direction: int, random: np.random.Generator) -> Image:
    """The ground in eosin: uneven cytoplasm, bundles of wavy fibres, clefts without tissue."""
    coarse = random.integers(60, 150, (5, 5), np.uint8)
    eosin: Image = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_LINEAR_EXACT)
    along, across = _TURNS[direction], _TURNS[(direction + 64) % 256]
    places = random.random((len(_SHADES), 1, 4, 1)), random.random((len(_SHADES), 4, len(_STEPS), 1))
    drawn = random.random((len(_SHADES), 2))
    offset = 1.2 * places[0].swapaxes(1, 2) + 0.05 * places[1] - 0.625
    fibres = _subpixels(0.5 + _STEPS[:, None] * along + offset * across, size)
    for shade, bundle, (many, thick) in zip(_SHADES, fibres, drawn.tolist(), strict=True):
        width = max(1, round(size * (0.008 + 0.022 * thick)))
        cv2.polylines(eosin, list(bundle[: 1 + int(4 * many)]), False, shade, width, cv2.LINE_8, SUBPIXEL_BITS)
    for _ in range(int(random.integers(0, 3))):
        wobble = 1 + 0.2 * (np.clip(random.standard_normal(6), -2, 2) @ _HARMONICS)
        reach = random.uniform(0.03, 0.16, 2)
        points = (_CIRCLE * reach * np.maximum(wobble, 0.3)[:, None]) @ np.array([along, across]) + random.random(2)
        cv2.fillPoly(eosin, [_subpixels(points, size)], 6, cv2.LINE_8, SUBPIXEL_BITS)
    return eosin


@dataclass(frozen=True)
class _Stain:
    """How a slide was stained and scanned."""

    haematoxylin: Floats  # (3,) optical density where the stain is full
    eosin: Floats
    light: Floats  # (3,) grey level of the empty slide
    blur: int  # how far out of focus, in steps


@functools.lru_cache(maxsize=256)
def _stain(seed: int, slide: int) -> _Stain:
    random = np.random.default_rng([seed, 1, slide])
    vectors = [
        np.clip(stain + 0.05 * np.clip(random.standard_normal(3), -1.5, 1.5), 0.03, None)
        for stain in (HAEMATOXYLIN, EOSIN)
    ]
    return _Stain(
        haematoxylin=vectors[0] * random.uniform(1.2, 2.0),
        eosin=vectors[1] * random.uniform(0.5, 1.0),
        light=random.uniform(228, 250) + random.uniform(-6, 6, 3),
        blur=int(random.random() < 0.25),
    )


def _develop(haematoxylin: Image, eosin: Image, stain: _Stain, random: np.random.Generator) -> Image:
    """Turn the two maps into the light that passes (Beer and Lambert), with chromatin, blur and a scanner's noise."""
    size = len(eosin)
    coarse = random.integers(96, 161, (size * 2 // 5, size * 2 // 5), np.uint8)
    grain = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_LINEAR_EXACT).astype(np.uint16)
    # Chromatin and cytoplasm are grainy, and where a nucleus is there is little cytoplasm.
    eosin = np.minimum(((256 - grain) * eosin >> 7) * (160 - (haematoxylin >> 1)) >> 7, 255).astype(np.uint8)
    haematoxylin = np.minimum(grain * haematoxylin >> 7, 255).astype(np.uint8)
    side = 2 * (max(1, round(size / 110)) + stain.blur) + 1
    haematoxylin = cv2.GaussianBlur(haematoxylin, (side, side), 0)
    eosin = cv2.GaussianBlur(eosin, (side, side), 0)

    # The amounts of both stains, and the contrast of the blue one, are drawn anew, so that they do not tell the class.
    mean, deviation = (float(value[0, 0]) for value in cv2.meanStdDev(haematoxylin))
    wanted_mean, wanted_deviation, pink = random.uniform((0.24, 0.22, 0.28), (0.40, 0.32, 0.50))
    levels = np.arange(256.0)
    blue = np.maximum(wanted_mean + wanted_deviation / max(deviation, 1.0) * (levels - mean), 0.0)
    pink /= max(cv2.mean(eosin)[0], 1.0)
    passed = 256 * np.exp(-blue[:, None] * stain.haematoxylin)
    passed_too = stain.light * np.exp(-pink * levels[:, None] * stain.eosin)
    image = (_look_up(haematoxylin, passed) * _look_up(eosin, passed_too) >> 8).astype(np.uint8)
    noise = np.frombuffer(random.bytes(image.size), np.uint8).reshape(image.shape) & 7
    return np.asarray(cv2.subtract(image, noise), np.uint8)


def _look_up(levels: Image, table: Floats) -> npt.NDArray[np.uint16]:
    colours = cv2.LUT(cv2.cvtColor(levels, cv2.COLOR_GRAY2RGB), np.rint(table).astype(np.uint16)[None])
    return np.asarray(colours, np.uint16)
