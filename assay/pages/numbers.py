"""Numbers as pages and reports show them."""

from __future__ import annotations

import math
from collections.abc import Callable

from assay.measures.interval import Interval


def score(value: float) -> str:
    """Return 0.933, or a dash for what is undefined."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def signed(value: float) -> str:
    """Return +0.012 or −0.012."""
    return "–" if math.isnan(value) else f"{value:+.3f}".replace("-", "−")


def percent(value: float) -> str:
    """Return 86.2%."""
    return "–" if math.isnan(value) else f"{100 * value:.1f}%"


def interval_of(interval: Interval, form: Callable[[float], str] = score) -> str:
    """Return 0.917–0.948 or 91.7–94.8%, or nothing where there is no interval."""
    return f"{form(interval.low).removesuffix('%')}–{form(interval.high)}" if interval.defined else ""


def p_value(value: float) -> str:
    """Return p = 0.03, or p < 0.001."""
    if math.isnan(value):
        return ""
    if value < 0.001:
        return "p < 0.001"
    return f"p = {value:.3f}" if value < 0.1 else f"p = {value:.2f}"
