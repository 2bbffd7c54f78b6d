"""The steps of a run, in order, as far as they are known without building the graph."""

from __future__ import annotations

from assay.config import CANDIDATES, RunConfig

STEPS = ("ingest", "preprocess", "augment", *CANDIDATES, "evaluate", "promote")


def enabled_candidates(config: RunConfig) -> tuple[str, ...]:
    """Return the names of the candidates that a run trains, in the order of the graph."""
    return tuple(name for name in CANDIDATES if getattr(config, name).enabled)


def enabled_steps(config: RunConfig) -> tuple[str, ...]:
    """Return the names of the steps of a run, in order."""
    skipped = set(CANDIDATES) - set(enabled_candidates(config))
    return tuple(step for step in STEPS if step not in skipped)


def upstream(step: str, steps: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of ``steps`` that have ended, or were reused, when ``step`` starts; candidates run in any order."""
    before = steps[: steps.index(step)]
    return tuple(other for other in before if not (step in CANDIDATES and other in CANDIDATES))
