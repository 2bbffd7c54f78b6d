"""What runs on this machine keep for the next: Kubeflow's cache of steps, what is passed over in it, what can go."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import time
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from assay.config import CANDIDATES, RunConfig
from assay.errors import InputError, did_you_mean
from assay.observability.progress import log
from assay.registry.garbage import SECONDS_A_DAY, Leftover, measure_path, remove_path
from assay.storage.files import new_file
from assay.storage.seals import Seal, damaged, seals_of
from pipelines.graphs.order import enabled_steps

# They look at what may have changed outside, and are never taken from the cache.
ALWAYS = ("ingest", "promote")
SEALS = ".seals.json"
# With folds one component trains all candidates: what is not named has its checkpoints still, and is done at once.
PARTS = {
    "preprocess": ("preprocess", "preprocess-shard", "merge-shards"),
    **{candidate: (candidate, "train-fold") for candidate in CANDIDATES},
    "evaluate": ("evaluate", "evaluate-folds"),
}


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
def reusing(cache_root: Path, forced: Collection[str] = ()) -> Iterator[None]:
    """Have a graph that runs in the block take from the cache what it can, and note that it did.

    An entry that is used is as young as a new one: `assay gc` goes by age. Nothing of a forced step is taken, and what
    it gives is kept; what comes after it has other inputs then, and runs again as well. Neither is taken what is no
    longer as it was written: sizes and checksums of outputs are kept beside the cache's entry.

    Args:
        cache_root: Of ``kfp.local.init``.
        forced: Names of steps.
    """
    from kfp.local import cache as kept

    components = {f"comp-{part}" for step in forced for part in PARTS.get(step, (step,))}

    class Reusing(kept.LocalCache):
        """The cache as it is, but for what is forced and what is damaged."""

        def __init__(self) -> None:
            super().__init__(str(cache_root))
            self.passed_over: set[str] = set()

        def compute_key(self, component_name: str, *arguments: Any, **named: Any) -> str:
            key = str(super().compute_key(component_name, *arguments, **named))
            # The same component in another place of the graph has a number at its end.
            if re.sub(r"-\d+$", "", component_name) in components:
                self.passed_over.add(key)
            return key

        def get(self, key: str) -> dict[str, Any] | None:
            if key in self.passed_over or not (cache_root / f"{key}.json").exists():
                return None
            seals = cache_root / f"{key}{SEALS}"
            found: dict[str, Any] | None = None
            problem = _damage(seals, cache_root / f"{key}.json")
            if problem is None:
                found = super().get(key)
                if found is None:  # its outputs are gone
                    return None
                problem = _damage(seals)
            if problem is not None:
                log(f"{problem}: this step is made again")
                return None
            for suffix in (".json", SEALS):
                with contextlib.suppress(OSError):  # another's cache may be read-only to us
                    os.utime(cache_root / f"{key}{suffix}")
            return found

        def put(self, key: str, outputs: dict[str, Any]) -> None:
            super().put(key, outputs)
            # Last, since it is of the entry too: one without seals is never taken.
            entry = cache_root / f"{key}.json"
            with new_file(cache_root / f"{key}{SEALS}") as stage:
                seals = _seals(outputs) | {str(entry): seals_of(entry, ["."])}
                stage.write_text(json.dumps(seals), encoding="utf-8")

    cache, before = Reusing(), kept.get_local_cache
    kept.get_local_cache = lambda: cache
    try:
        yield
    finally:
        kept.get_local_cache = before


def _seals(outputs: dict[str, Any]) -> dict[str, dict[str, Seal]]:
    """Return for each output that lies on this machine the seals of its files; of a single file the name is ``.``."""
    found = {}
    for value in outputs.values():
        for artifact in value if isinstance(value, list) else [value]:
            uri = getattr(artifact, "uri", None)
            if not uri:
                continue  # a value: Path("") would be the folder that one works in
            path = Path(str(uri))
            if path.is_dir():
                names = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
                found[str(path)] = seals_of(path, names)
            elif path.is_file():
                found[str(path)] = seals_of(path, ["."])
    return found


def _damage(file: Path, only: Path | None = None) -> str | None:
    """Return what is wrong with what a file of seals is about, or with one part of it; None where nothing is."""
    try:
        seals = json.loads(file.read_text(encoding="utf-8"))
        for place, files in (seals if only is None else {str(only): seals[str(only)]}).items():
            harm = damaged(Path(place), files)
            if harm is not None:
                return f"{Path(place) / harm[0]} is damaged ({harm[1]})"
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        return f"{file} cannot be read ({' '.join(str(error).split())})"
    return None


@contextlib.contextmanager
def in_use(runs_dir: Path) -> Iterator[None]:
    """Say, until the block ends and however it does, that a run is in flight in a folder of runs."""
    with _mark(runs_dir).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


@contextlib.contextmanager
def undisturbed(runs_dir: Path) -> Iterator[bool]:
    """Keep runs from starting in a folder until the block ends, and give True; give False where one is in flight."""
    if not runs_dir.is_dir():
        yield True
        return
    with _mark(runs_dir).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def find_steps(runs_dir: Path, older_than_days: float, now: float | None = None) -> list[Leftover]:
    """Return the outputs of steps that no run takes up again, and the entries of the cache that name them.

    Args:
        runs_dir: The folder of runs.
        older_than_days: What has been written or used since then stays.
        now: Seconds since 1970; None: now.
    """
    at = time.time() if now is None else now
    entries = sorted((runs_dir / "cache").rglob("*.json"))
    old = {entry for entry in entries if (at - entry.stat().st_mtime) / SECONDS_A_DAY > older_than_days}
    needed = {folder for entry in entries if entry not in old for folder in _outputs(entry, runs_dir)}
    found = []
    for entry in sorted(old):
        age = (at - entry.stat().st_mtime) / SECONDS_A_DAY
        found.append(_leftover("entry of the cache", entry, age, "not used since"))
    for folder in sorted((runs_dir / "steps").glob("*/*")):
        size, last = measure_path(folder)
        age = (at - last) / SECONDS_A_DAY
        if folder not in needed and age > older_than_days:
            found.append(_leftover("outputs of a step", folder, age, "no entry of the cache names them", size))
    return found


def _outputs(entry: Path, runs_dir: Path) -> set[Path]:
    """Return the folders of steps that an entry of Kubeflow's cache names."""
    steps = runs_dir / "steps"
    try:
        text = entry.read_text(encoding="utf-8")
        paths = [Path(value) for value in _strings(json.loads(text))]
    except (OSError, ValueError) as error:
        raise InputError(f"{entry}: cannot be read, so what it names is not known. Remove it.") from error
    inside = [path.relative_to(steps).parts for path in paths if path.is_relative_to(steps)]
    return {steps.joinpath(*parts[:2]) for parts in inside if len(parts) >= 2}


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def _leftover(kind: str, path: Path, age: float, why: str, size: int | None = None) -> Leftover:
    size = measure_path(path)[0] if size is None else size
    return Leftover(kind, str(path), size, age, why, partial(remove_path, path))


def _mark(runs_dir: Path) -> Path:
    return runs_dir / ".in-use"
