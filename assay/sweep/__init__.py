"""Sweeps: one table of runs that differ in named fields of the config."""
