"""Pipelines: the graphs, where they run, and the command line."""
