"""Durations as people say them."""

from __future__ import annotations


def format_seconds(seconds: float) -> str:
    """Return a duration as people say it: 8 s, 3 min 20 s, 1 h 5 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
