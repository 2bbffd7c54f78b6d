"""Steps that run although their outputs are there: Kubeflow's local cache, told to pass over some of its entries."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from assay.config import RunConfig
from assay.errors import InputError, did_you_mean
from pipelines.graphs.order import enabled_steps

# They look at what may have changed outside, and are never taken from the cache.
ALWAYS = ("ingest", "promote")
PARTS = {"preprocess": ("preprocess", "preprocess-shard", "merge-shards")}


def check_forced(config: RunConfig, steps: Collection[str]) -> tuple[str, ...]:
    """Return the steps that are to run again, once each.

    Raises:
        InputError: One of them is none, is not part of this run, or runs in any case.
    """
    there = enabled_steps(config)
    reusable = [step for step in there if step not in ALWAYS]
    for step in steps:
        if step in ALWAYS:
            raise InputError(f"--force {step}: it is never reused, and runs in any case. Leave it out.")
        if step not in reusable:
            raise InputError(
                f"--force {step}: no step of this run.{did_you_mean(step, reusable, count=1)} "
                f"Its steps are {', '.join(there)}."
            )
    return tuple(dict.fromkeys(steps))


@contextlib.contextmanager
def forcing(cache_root: Path, steps: Collection[str]) -> Iterator[None]:
    """Have a graph that runs in the block take nothing of these steps from the cache; what they give is kept in it.

    What comes after them has other inputs then, and runs again as well.

    Args:
        cache_root: Of ``kfp.local.init``.
        steps: Names of steps.
    """
    from kfp.local import cache as kept

    components = {f"comp-{part}" for step in steps for part in PARTS.get(step, (step,))}

    class Forcing(kept.LocalCache):
        """The cache as it is, but for what is forced."""

        def __init__(self) -> None:
            super().__init__(str(cache_root))
            self.passed_over: set[str] = set()

        def compute_key(self, component_name: str, *arguments: Any, **named: Any) -> str:
            key = str(super().compute_key(component_name, *arguments, **named))
            if component_name in components:
                self.passed_over.add(key)
            return key

        def get(self, key: str) -> dict[str, Any] | None:
            return None if key in self.passed_over else super().get(key)

    forced, before = Forcing(), kept.get_local_cache
    kept.get_local_cache = lambda: forced
    try:
        yield
    finally:
        kept.get_local_cache = before
