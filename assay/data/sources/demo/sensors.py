"""demo://sensors: windows of a body-worn accelerometer, 80 steps (4 s at 20 Hz) by 3 channels, six activities."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from assay.data.sources.demo.query import Parameter

PARAMETERS = {
    "windows": Parameter(1800, 1, 10_000_000, "number of windows"),
    "persons": Parameter(36, 1, 1_000_000, "number of persons; a window's group is its person"),
    "steps": Parameter(80, 8, 100_000, "time steps in a window, 20 a second"),
    "channels": Parameter(3, 1, 64, "channels: axes of the sensor"),
    "missing": Parameter(0.0, 0.0, 0.9, "fraction of the values that are missing (NaN), in bursts"),
    "difficulty": Parameter(0.5, 0.0, 1.0, "0: obvious, 1: hardly to be told apart"),
    "seed": Parameter(0, 0, 2**31 - 1, "another seed gives other persons and windows"),
}

STEPS_A_SECOND = 20
BURST = 8  # steps that go missing together, on average

Floats = npt.NDArray[np.float64]

# For each activity: steps a second of the body, swing in g, share of the second and third harmonic.
MOTION = {
    "downstairs": (1.95, 0.62, 0.55, 0.30),
    "jogging": (2.60, 1.10, 0.35, 0.20),
    "sitting": (0.30, 0.02, 0.00, 0.00),
    "standing": (0.35, 0.03, 0.00, 0.00),
    "upstairs": (1.60, 0.42, 0.45, 0.10),
    "walking": (1.85, 0.50, 0.30, 0.15),
}
RESTING_TILT = {"sitting": 0.9}  # how far gravity leans away from the first channel, radians


class Activities:
    """The generator; see `PARAMETERS` for the arguments."""

    classes: tuple[str, ...] = tuple(MOTION)

    def __init__(
        self, windows: int, persons: int, steps: int, channels: int, missing: float, difficulty: float, seed: int
    ) -> None:
        self._windows = windows
        self._persons = persons
        self._steps = steps
        self._channels = channels
        self._missing = missing
        self._difficulty = difficulty
        self._seed = seed

    def __len__(self) -> int:
        return self._windows

    def label(self, number: int) -> int:
        """Return the activity's class index; every person does all in turn."""
        return (number // self._persons + number % self._persons) % len(self.classes)

    def group(self, number: int) -> str:
        """Return the name of the window's person."""
        return f"person-{number % self._persons:03d}"

    def example(self, number: int) -> npt.NDArray[np.float32]:
        """Return window ``number``: acceleration in g, float32 (steps, channels), NaN where missing."""
        person = np.random.default_rng([self._seed, 1, number % self._persons])
        random = np.random.default_rng([self._seed, 2, number])
        signal = self._signal(self.classes[self.label(number)], person, random)
        # Steps of 1/1024 g, which a sensor has too: the last bit of a sine depends on the processor.
        window = (np.rint(signal * 1024) / 1024).astype(np.float32)
        if self._missing:
            window[self._gaps(random)] = np.nan
        return window

    def _signal(self, activity: str, person: np.random.Generator, random: np.random.Generator) -> Floats:
        hard = self._difficulty
        pace, swing, second, third = MOTION[activity]
        pace *= 1 + 0.25 * hard * person.uniform(-1, 1) + 0.1 * hard * random.uniform(-1, 1)
        swing *= np.exp(0.6 * hard * person.uniform(-1, 1) + 0.3 * hard * random.uniform(-1, 1))
        seconds = np.arange(self._steps) / STEPS_A_SECOND
        phase = random.uniform(0, 2 * np.pi)
        axes = person.uniform(0.3, 1.0, (3, self._channels))
        lags = person.uniform(0, 2 * np.pi, (3, self._channels))
        signal = np.zeros((self._steps, self._channels))
        for harmonic, share in enumerate((1.0, second, third)):
            angle = (harmonic + 1) * (2 * np.pi * pace * seconds + phase)
            signal += swing * share * axes[harmonic] * np.sin(angle[:, None] + lags[harmonic])
        lean = RESTING_TILT.get(activity, 0.15) + 0.7 * hard * person.uniform(-1, 1)
        signal[:, 0] += np.cos(lean)
        signal[:, 1:] += np.sin(lean) / np.sqrt(max(1, self._channels - 1))
        return signal + (0.02 + 0.1 * hard) * random.standard_normal(signal.shape)

    def _gaps(self, random: np.random.Generator) -> npt.NDArray[np.bool_]:
        """Return where values are missing: bursts, each in one channel."""
        gaps = np.zeros((self._steps, self._channels), np.bool_)
        wanted = int(random.binomial(gaps.size, self._missing))
        while gaps.sum() < wanted:
            channel, start = int(random.integers(self._channels)), int(random.integers(self._steps))
            length = min(int(random.integers(1, 2 * BURST)), wanted - int(gaps.sum()))
            gaps[start : start + length, channel] = True
        return gaps
