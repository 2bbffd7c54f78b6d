"""Assay turns a folder of labelled images into a champion classifier that one can defend."""

__version__ = "0.1.0"
