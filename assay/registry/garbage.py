"""What is kept and nothing refers to any more: snapshots, checkpoints, versions that were never champion, caches.

Nothing younger than a number of days is named, so that what a run in flight uses stays: ingest writes its snapshot
anew in every run, a training its checkpoints at every epoch, and a cache moves on the time of what it hands out.
Checkpoints stay, whatever their age, while a training holds their lease.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path

from assay.errors import AssayError
from assay.registry.versions import KEPT, MODELS, NAME, ModelRegistry
from assay.storage.cache import cache_folder
from assay.storage.files import disk_errors
from assay.storage.objects import ObjectStore, Stored
from assay.training.checkpoint import remove_checkpoints
from assay.training.lease import hold_lease

SECONDS_A_DAY = 86_400.0
CHECKPOINTS, SNAPSHOTS, FOLDS = "checkpoints", "snapshots", "folds"
CLAIM_FILE, VERSION_FILE, DECISIONS = "claim.json", "version.json", "decisions"
UNFINISHED = "its upload was never finished"
# Weights are few, small and may be hard to come by: they stay.
CACHES = {"features": "cached features", "models": "downloaded version", "tfds": "downloaded data set"}


@dataclass(frozen=True)
class Leftover:
    """One thing that can go.

    Attributes:
        kind: What it is, in a word or two.
        place: Its address.
        size: Bytes.
        age_days: Days since anything of it was last written or used.
        why: Why nothing needs it.
        remove: Removes it, if nothing has come to need it since.
    """

    kind: str
    place: str
    size: int
    age_days: float
    why: str
    remove: Callable[[], None] = field(repr=False, compare=False)


def find_leftovers(store: ObjectStore, older_than_days: float, now: float | None = None) -> list[Leftover]:
    """Return what can go from an object storage.

    Args:
        store: The storage root of runs.
        older_than_days: What has been written to since then stays.
        now: Seconds since 1970; None: now.

    Raises:
        AssayError: A record of the registry is damaged: what it refers to is not known then, and nothing is named.
    """
    at = time.time() if now is None else now
    versions, kept = _versions(store, older_than_days, at)
    found = [*versions]
    for name, age, entries in _folders(store, SNAPSHOTS, at):
        if age > older_than_days and name not in kept:
            found.append(
                _of_objects(store, "snapshot", f"{SNAPSHOTS}/{name}", age, entries, "no version was made of it")
            )
    for name, age, entries in _folders(store, CHECKPOINTS, at):
        if age > older_than_days:
            place, size = store.uri(f"{CHECKPOINTS}/{name}"), sum(entry.size for entry in entries)
            why = "no training has written here since"
            found.append(Leftover("checkpoints", place, size, age, why, partial(_drop_checkpoints, place)))
    for name, age, entries in _folders(store, FOLDS, at):
        if age > older_than_days:
            # The model that is kept holds them: only a run of the same config would look here, and trains anew.
            why = "of a cross-validation that is over"
            found.append(_of_objects(store, "model of a fold", f"{FOLDS}/{name}", age, entries, why))
    return found


def find_cached(older_than_days: float, now: float | None = None) -> list[Leftover]:
    """Return what can go from the caches of this machine; all of it is fetched or computed again when needed."""
    at = time.time() if now is None else now
    found = []
    for kind, words in CACHES.items():
        folder = cache_folder(kind)
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            size, last = measure_path(path)
            age = (at - last) / SECONDS_A_DAY
            if age > older_than_days:
                found.append(Leftover(words, str(path), size, age, "not used since", partial(remove_path, path)))
    return found


def measure_path(path: Path) -> tuple[int, float]:
    """Return the bytes of a file or folder, and when anything of it was last written or read."""
    size, last = 0, path.lstat().st_mtime
    for file in [path] if path.is_file() else path.rglob("*"):
        try:
            status = file.lstat()
        except FileNotFoundError:
            continue
        size += status.st_size
        last = max(last, status.st_mtime, status.st_atime if file.is_file() else 0.0)
    return size, last


def remove_path(path: Path) -> None:
    """Remove a file or folder; what is gone already is no error."""
    with disk_errors(path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _versions(store: ObjectStore, older_than_days: float, now: float) -> tuple[list[Leftover], set[str]]:
    """Return the versions that can go, and the fingerprints of the snapshots of those that stay."""
    found: list[Leftover] = []
    kept: set[str] = set()
    models = {entry.name.split("/")[1] for entry in store.entries(MODELS)}
    for model in sorted(filter(NAME.fullmatch, models)):
        registry = ModelRegistry(store, model)
        served, identities = _ever_champion(registry), registry.identities()
        referred = {registry.version(version).at for version in registry.versions()}
        for name, age, entries in _folders(store, f"{MODELS}/{model}/{KEPT}", now):
            if age > older_than_days and f"{KEPT}/{name}" not in referred:
                place = f"{MODELS}/{model}/{KEPT}/{name}"
                found.append(_of_objects(store, "model", place, age, entries, "it became no version"))
        for version, age, entries in _folders(store, f"{MODELS}/{model}/versions", now):
            whole = any(entry.name.endswith(f"/{version}/{VERSION_FILE}") for entry in entries)
            # What says that its number is taken, and what was decided about it, is small and stays.
            large = [entry for entry in entries if not _stays(entry, version)]
            if version in served or age <= older_than_days or not large:
                if whole:
                    kept.add(str(registry.version(version).metadata.get("snapshot_fingerprint", "")))
                continue
            if whole and (at := registry.version(version).at):
                large += store.entries(f"{MODELS}/{model}/{at}")
            why = "never champion" if whole else UNFINISHED
            place = f"{MODELS}/{model}/versions/{version}"
            before = partial(_withdraw, registry, version, identities.get(version))
            found.append(_of_objects(store, "version", place, age, large, why, before))
    return found, kept


def _ever_champion(registry: ModelRegistry) -> set[str]:
    champion = registry.champion()
    changes = [*registry.history(), *([champion.change] if champion else [])]
    return {name for change in changes for name in (change.version, change.previous) if name}


def _stays(entry: Stored, version: str) -> bool:
    below = entry.name.partition(f"/{version}/")[2]
    return below == CLAIM_FILE or below.startswith(f"{DECISIONS}/")


def _drop_checkpoints(location: str) -> None:
    """Remove checkpoints that no training holds: of a search the step holds those of all its workers."""
    with hold_lease(location, wait=False) as lease:
        if lease is None:
            raise AssayError(f"{location}: a training holds these checkpoints now, and they stay.")
        remove_checkpoints(location)


def _withdraw(registry: ModelRegistry, version: str, identity: str | None) -> None:
    """Let nobody find a version any more under what it is, so that the same model is published anew."""
    if version in _ever_champion(registry):
        raise AssayError(f"{registry.name} {version}: it has become champion meanwhile, and stays.")
    if identity is not None:
        registry.store.delete(identity)


def _folders(store: ObjectStore, prefix: str, now: float) -> Iterator[tuple[str, float, list[Stored]]]:
    """Yield the name, age in days and objects of each folder right below a prefix."""
    start = len(prefix) + 1
    inside = sorted((e for e in store.entries(prefix) if "/" in e.name[start:]), key=lambda entry: entry.name)
    for name, group in groupby(inside, key=lambda entry: entry.name[start:].partition("/")[0]):
        entries = list(group)
        yield name, (now - max(entry.modified for entry in entries)) / SECONDS_A_DAY, entries


def _of_objects(
    store: ObjectStore,
    kind: str,
    place: str,
    age: float,
    entries: Iterable[Stored],
    why: str,
    check: Callable[[], None] = lambda: None,
) -> Leftover:
    # What says that the rest is whole goes first: what is half removed is seen by nobody.
    order = sorted(entries, key=lambda entry: (not entry.name.endswith((VERSION_FILE, "snapshot.json")), entry.name))

    def remove() -> None:
        check()
        for entry in order:
            store.delete(entry.name)

    return Leftover(kind, store.uri(place), sum(entry.size for entry in order), age, why, remove)
