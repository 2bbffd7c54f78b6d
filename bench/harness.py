"""Measuring on a shared machine: ways of doing the same run in turn, and only ratios within a round count."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Settings:
    """How a benchmark is run.

    Attributes:
        folder: Where it may write; removed by the caller.
        quick: Smaller inputs and fewer repeats; every target is still touched.
        rounds: Rounds of each comparison.
        weights: Of VGG16: imagenet, a path, or none (random ones, which take the same time).
    """

    folder: Path
    quick: bool = False
    rounds: int = 3
    weights: str = "none"


@dataclass(frozen=True)
class Timed:
    """Work that timed itself, where part of the time is no part of the measurement (building, tracing)."""

    units: float
    seconds: float


# Does its work and returns how many units it was; the harness takes the time unless the work did.
Way = Callable[[], "float | Timed"]


@dataclass(frozen=True)
class Measurement:
    """One way's rate in each round.

    Attributes:
        name: Of the way.
        unit: Of the rates.
        values: One a round, in order.
    """

    name: str
    unit: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        """The smallest value."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The largest value."""
        return max(self.values)


@dataclass(frozen=True)
class Finding:
    """A measured figure beside its target.

    Attributes:
        target: Number of the target in the list of targets.
        name: What was measured.
        measured: The figure in each round.
        limit: The target.
        sense: Which side of the limit is wanted.
        note: What else one must know to read it.
    """

    target: int
    name: str
    measured: Measurement
    limit: float
    sense: Literal["at least", "at most"] = "at least"
    note: str = ""

    @property
    def reached(self) -> bool:
        """Whether the median is on the wanted side."""
        median = self.measured.median
        return median >= self.limit if self.sense == "at least" else median <= self.limit


@dataclass(frozen=True)
class Check:
    """That two ways give the same result.

    Attributes:
        target: Number of the target.
        name: What was compared.
        difference: By how much they differ.
        limit: By how much they may.
    """

    target: int
    name: str
    difference: float
    limit: float

    @property
    def holds(self) -> bool:
        """Whether the difference is within the limit; nan is not."""
        return self.difference <= self.limit


@dataclass(frozen=True)
class Outcome:
    """What one benchmark found."""

    name: str
    title: str
    findings: tuple[Finding, ...] = ()
    checks: tuple[Check, ...] = ()
    rates: tuple[Measurement, ...] = ()
    notes: tuple[str, ...] = field(default=())


def interleave(
    ways: Mapping[str, Way], rounds: int, unit: str, *, clock: Callable[[], float] = time.perf_counter
) -> dict[str, Measurement]:
    """Run each way once a round, in turn, so that what else the machine does meets all of them.

    Every second round runs backwards: no way is always the one after the heaviest. Call each way once
    beforehand where its first run differs from the others.

    Args:
        ways: What to run, by name.
        rounds: How often.
        unit: Of what the ways count, a second.
        clock: Seconds.

    Returns:
        The rates by name, in the order of ``ways``.
    """
    if rounds < 1:
        raise ValueError(f"at least one round is needed. Received: {rounds}")
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways)[:: 1 if number % 2 == 0 else -1]:
            started = clock()
            done = ways[name]()
            timed = done if isinstance(done, Timed) else Timed(done, clock() - started)
            rates[name].append(timed.units / max(timed.seconds, 1e-9))
    return {name: Measurement(name, unit, tuple(values)) for name, values in rates.items()}


def combine(name: str, unit: str, of: Callable[..., float], *measured: Measurement) -> Measurement:
    """Return a figure computed from several rates of the same round, round by round."""
    rounds: list[Sequence[float]] = list(zip(*(one.values for one in measured), strict=True))
    return Measurement(name, unit, tuple(of(*values) for values in rounds))


def ratio(name: str, of: Measurement, to: Measurement) -> Measurement:
    """Return how many times as fast one way is as another, round by round."""
    return combine(name, "x", lambda one, other: one / other, of, to)
