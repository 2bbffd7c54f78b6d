"""demo://fhr: fetal heart-rate traces drawn as grey images, 240 rows (beats a minute) by 1201 columns (seconds).

A normal trace has a baseline of 110 to 160 beats a minute, a variability of 6 to 25 and accelerations; a
pathological one has little variability, no accelerations, repeated late decelerations or a baseline out of
range (FIGO consensus guidelines on intrapartum fetal monitoring, 2015). Difficulty mixes the two.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from assay.data.sources.demo.query import Parameter

PARAMETERS = {
    "images": Parameter(600, 1, 1_000_000, "number of traces"),
    "patients": Parameter(100, 1, 1_000_000, "number of patients; a trace's group is its patient"),
    "difficulty": Parameter(0.5, 0.0, 1.0, "0: obvious, 1: hardly to be told apart"),
    "height": Parameter(240, 32, 2048, "rows, which show 50 to 210 beats a minute"),
    "width": Parameter(1201, 32, 8192, "columns, which show 20 minutes"),
    "seed": Parameter(0, 0, 2**31 - 1, "another seed gives other patients and traces"),
}

LOWEST, HIGHEST = 50.0, 210.0  # beats a minute
SECONDS = 1200
SUBPIXEL_BITS = 4

Floats = npt.NDArray[np.float64]


class FetalHeartRate:
    """The generator; see `PARAMETERS` for the arguments."""

    classes: tuple[str, ...] = ("normal", "pathological")

    def __init__(self, images: int, patients: int, difficulty: float, height: int, width: int, seed: int) -> None:
        self._images = images
        self._patients = patients
        self._difficulty = difficulty
        self._height = height
        self._width = width
        self._seed = seed

    def __len__(self) -> int:
        return self._images

    def label(self, number: int) -> int:
        """Return 1 for pathological; all traces of a patient are of one class."""
        return (number % self._patients) % 2

    def group(self, number: int) -> str:
        """Return the name of the trace's patient."""
        return f"patient-{number % self._patients:03d}"

    def example(self, number: int) -> npt.NDArray[np.uint8]:
        """Return trace ``number``: grey uint8 (height, width)."""
        patient = np.random.default_rng([self._seed, 1, number % self._patients])
        random = np.random.default_rng([self._seed, 2, number])
        rate, recorded = self._rate(self.label(number), patient, random)
        return self._draw(rate, recorded, patient, random)

    def _rate(
        self, label: int, patient: np.random.Generator, random: np.random.Generator
    ) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Return beats a minute for each second, and whether the sensor heard them."""
        hard = self._difficulty
        # Each sign of distress is shown more or less by itself: a trace need not have them all.
        illness = 0.5 + (label - 0.5) * (1 - 0.8 * hard) + 0.3 * hard * random.standard_normal(4)
        variability, reactivity, decelerating, shifted = np.clip(illness, 0.0, 1.0)

        seconds = np.arange(SECONDS, dtype=np.float64)
        side = 1 if patient.random() < 0.5 else -1
        baseline = 136 + patient.uniform(-14, 14) + side * 30 * max(0.0, shifted - 0.5)
        rate = np.full(SECONDS, baseline)
        for period, share in ((240, 0.35), (40, 0.3), (12, 0.4), (4, 0.35)):
            knots = random.standard_normal(SECONDS // period + 2)
            rate += (11 - 9 * variability) * share * np.interp(seconds, np.arange(len(knots)) * period, knots)
        for _ in range(int(random.poisson(7 * (1 - reactivity)))):
            rate += _bump(seconds, random.uniform(0, SECONDS), random.uniform(15, 40)) * random.uniform(15, 30)
        contraction = random.uniform(150, 260)
        start = random.uniform(0, contraction)
        depth = 50 * max(0.0, decelerating - 0.35)
        for peak in np.arange(start, SECONDS, contraction):
            if random.random() < 0.85:
                rate -= _bump(seconds, peak + 30, random.uniform(25, 55)) * depth * random.uniform(0.6, 1.3)
        recorded = np.ones(SECONDS, np.bool_)
        for _ in range(int(random.poisson(4))):
            gap = int(random.integers(SECONDS))
            recorded[gap : gap + int(random.integers(3, 40))] = False
        return np.clip(rate, LOWEST, HIGHEST), recorded

    def _draw(
        self,
        rate: Floats,
        recorded: npt.NDArray[np.bool_],
        patient: np.random.Generator,
        random: np.random.Generator,
    ) -> npt.NDArray[np.uint8]:
        height, width = self._height, self._width
        paper = int(patient.integers(235, 253))
        image = np.full((height, width), paper, np.uint8)
        lines = paper - int(patient.integers(12, 30))
        for beats in range(60, 210, 10):
            image[min(height - 1, round((HIGHEST - beats) / (HIGHEST - LOWEST) * height))] = lines
        for minute in range(SECONDS // 60 + 1):
            image[:, min(width - 1, round(minute * 60 / SECONDS * width))] = lines
        columns = np.linspace(0, width - 1, SECONDS)
        rows = (HIGHEST - rate) / (HIGHEST - LOWEST) * (height - 1)
        points = np.rint(np.stack([columns, rows], axis=-1) * (1 << SUBPIXEL_BITS)).astype(np.int32)
        edges = np.flatnonzero(np.diff(recorded)) + 1
        heard = [
            part for part, kept in zip(np.split(points, edges), np.split(recorded, edges), strict=True) if kept.any()
        ]
        ink = int(patient.integers(10, 90))
        thickness = max(1, round(height / 240 * int(patient.integers(1, 3))))
        cv2.polylines(image, heard, False, ink, thickness, cv2.LINE_AA, SUBPIXEL_BITS)
        speckle = random.integers(0, 7, image.shape, np.uint8)
        return np.where(image > speckle, image - speckle, 0).astype(np.uint8)


def _bump(seconds: Floats, centre: float, reach: float) -> Floats:
    """Return a smooth hill of height 1 that ends ``reach`` seconds to each side of its centre."""
    distance = np.minimum(np.abs(seconds - centre) / reach, 1.0)
    return (1 - distance**2) ** 2
