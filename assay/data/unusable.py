"""An example that cannot be used, with the reason that goes into the quarantine list."""

from __future__ import annotations


class Unusable(Exception):
    """A file that cannot be an example; the message is the reason, in a few words."""


class UnusableImage(Unusable):
    """A file that is no image, or one that cannot be shown to a network."""


class UnusableWindow(Unusable):
    """A file that is no window of sensor data, or one whose values cannot be used."""
