"""What a look at one thing of the cluster has shown."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """What a look has shown: the mark of its line, and its colour."""

    THERE = ("✓", "green")
    MISSING = ("✗", "red")
    NOTE = ("·", "yellow")


@dataclass(frozen=True)
class Finding:
    """What a look at one thing has shown, in words; with the way out where the thing is missing."""

    subject: str
    state: State
    said: str
