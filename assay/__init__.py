"""Assay turns a folder of labelled images into a champion classifier that one can defend."""

from assay.observability import quiet as _quiet

__version__ = "0.1.0"

_quiet.silence_tensorflow()
