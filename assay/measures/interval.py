"""A confidence interval, and what made it."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """A confidence interval.

    Attributes:
        low: Lower end; nan where no interval can be given.
        high: Upper end.
        method: What made it, such as ``wilson by groups``; none: there is none.
    """

    low: float
    high: float
    method: str

    @property
    def defined(self) -> bool:
        """Whether there is an interval at all."""
        return not (math.isnan(self.low) or math.isnan(self.high))


NO_INTERVAL = Interval(math.nan, math.nan, "none")
