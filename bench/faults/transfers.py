"""What a run does to object storage, behind a proxy that spoils a share of all requests.

The source is read, the snapshot written and read, the dataset made of it, checkpoints replaced and read back, a model
published, made champion and fetched: all by the library's own calls, without the training in between, which storage
has no part in. A run that ends with an error is called again, as its message says; what is there in the end is compared
with what a run without faults leaves.
"""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from assay.config import DataConfig
from assay.data.ingest import ingest
from assay.data.preprocess import preprocess
from assay.errors import AssayError
from assay.hashing import hash_file
from assay.registry.garbage import UNFINISHED, find_leftovers
from assay.registry.versions import ModelRegistry
from assay.storage import gcs
from assay.storage.open import open_store
from assay.training.checkpoint import Checkpoint, TrainingState
from assay.training.lease import hold_lease
from bench.faults.proxy import FaultProxy
from bench.faults.races import write_model

IMAGES, EPOCHS, SIZE = 12, 3, 16
MOST_CALLS = 30
NAME = "moved"


class Wrong(Exception):
    """A run that ended well has left something other than it should."""


@dataclass
class Outcome:
    """What came of runs behind the proxy.

    Attributes:
        runs: How many.
        right: That ended, and left what a run without faults leaves.
        wrong: That ended and left something else.
        bugs: That raised anything but a user's error of one line.
        stops: How often a run stopped with one line and was called again.
        unfinished: Versions whose number was claimed, whose upload stopped, and whose files `assay gc` takes.
        requests: That the proxy saw.
        faults: By kind.
        first: The first thing that was wrong, in words.
    """

    runs: int = 0
    right: int = 0
    wrong: int = 0
    bugs: int = 0
    stops: int = 0
    unfinished: int = 0
    requests: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    first: str = ""


def draw_source(folder: Path, images: int = IMAGES) -> Path:
    """Draw images of two classes that differ in brightness."""
    pixels = np.random.default_rng(0)
    for label, level in (("bright", 180), ("dark", 60)):
        (folder / label).mkdir(parents=True)
        for number in range(images // 2):
            image = pixels.integers(level - 50, level + 50, (SIZE, SIZE, 3), dtype=np.uint8)
            Image.fromarray(image).save(folder / label / f"{number}.png")
    return folder


def run_once(source: str, root: str, model: Path, work: Path) -> dict[str, str]:
    """Do what a run does to object storage, or go on where a former call of it stopped.

    Args:
        source: Images, in a store.
        root: The storage root.
        model: The files of a model.
        work: A folder of this call's own.

    Returns:
        What it has read back: hashes by what they are of.
    """
    data = DataConfig(source=source, image_size=(8, 8), near_duplicates=False)
    snapshot = ingest(data, root, work / "snapshots")
    dataset = work / "dataset"
    preprocess(data, snapshot.snapshot_uri, dataset, seed=0, workers=4)
    read = {"snapshot": snapshot.fingerprint}
    read |= {path.name: hash_file(path) for path in sorted(dataset.rglob("*.npy"))}
    location = f"{root}/checkpoints/transfers"
    with hold_lease(location) as lease:
        checkpoint = Checkpoint(location, "train", lease)
        state = checkpoint.load()
        for epoch in range(int(state.values["epoch"]) + 1 if state else 0, EPOCHS):
            checkpoint.save(_state(epoch))
        state = checkpoint.load()
        if state is None or not np.array_equal(state.arrays["w"], _state(EPOCHS - 1).arrays["w"]):
            raise Wrong("the checkpoint is not the last one that was saved")
    registry = ModelRegistry(open_store(root), NAME)
    version = registry.publish(model, {"snapshot_fingerprint": snapshot.fingerprint}).version
    champion = registry.champion()
    if champion is None:
        registry.set_champion(version, champion, reason="the first")
    fetched = registry.fetch(registry.resolve(), work / "cache")
    return read | {path.name: hash_file(path) for path in sorted(fetched.rglob("*")) if path.is_file()}


def _state(epoch: int) -> TrainingState:
    return TrainingState({"w": np.random.default_rng(epoch).normal(size=20_000)}, {"epoch": epoch})


def check(root: str) -> None:
    """See that a store holds one version, which is champion, one change, the snapshot, the checkpoint, and no more.

    Raises:
        Wrong: It does not.
    """
    store = open_store(root)
    registry = ModelRegistry(store, NAME)
    versions, changes = registry.versions(), registry.history()
    if len(versions) != 1 or registry.resolve() != versions[0] or len(changes) != 1:
        raise Wrong(f"versions {versions}, {len(changes)} changes of the champion")
    # A number whose claim was answered by nobody stays taken; in a folder the lease is a lock on a file, which stays.
    # What cannot be removed from a disk that is read-only stays, hidden, until `assay gc` takes it.
    names = {
        name
        for name in store.list()
        if not name.endswith(("/claim.json", "/lease.json")) and not name.startswith("snapshots/.")
    }
    folders = Counter("/".join(name.split("/")[:1]) for name in names)
    if folders["checkpoints"] != 1 or len({name.split("/")[1] for name in names if name.startswith("snapshots/")}) != 1:
        raise Wrong(f"left behind: {sorted(names)}")
    stray = {name for name in names if f"/{versions[0]}/" not in name and "/versions/" in name}
    if stray:
        raise Wrong(f"left behind: {sorted(stray)}")


def runs_behind_faults(
    server: str,
    bucket: str,
    folder: Path,
    runs: int,
    share: float,
    *,
    patience_seconds: float,
    away: int = 0,
    seed: int = 0,
    minutes: float | None = None,
) -> Outcome:
    """Do runs behind the proxy, one after another, and return what came of them.

    Args:
        server: A storage server.
        bucket: ``gs://bucket``, which is there and empty.
        folder: For what is made here.
        runs: How many.
        share: Of all requests, how many meet a fault.
        patience_seconds: Of the store; short, so that giving up is seen as well.
        away: So many requests at the beginning of each run are answered that the service is away.
        seed: Of the faults.
        minutes: Begin no run after so long; None: whatever it takes.
    """
    outcome, started = Outcome(), time.monotonic()
    os.environ["STORAGE_EMULATOR_HOST"] = server
    model = write_model(folder / "model", 30_000, seed)
    open_store(bucket).upload_dir(draw_source(folder / "images"), "images")
    expected = run_once(f"{bucket}/images", f"{bucket}/undisturbed", model, folder / "undisturbed")
    defaults = gcs.GCSStore.__init__.__kwdefaults__ or {}
    before = defaults["patience_seconds"], gcs.FIRST_WAIT_SECONDS
    defaults["patience_seconds"], gcs.FIRST_WAIT_SECONDS = patience_seconds, min(0.02, patience_seconds)
    try:
        for number in range(runs):
            if minutes is not None and time.monotonic() - started > 60 * minutes:
                break
            root = f"{bucket}/run{number}"
            with FaultProxy(server, share=share, seed=seed * 100_000 + number) as proxy:
                os.environ["STORAGE_EMULATOR_HOST"] = proxy.url
                proxy.planned.extend(["503"] * away)
                found = _until_it_ends(outcome, f"{bucket}/images", root, model, folder / f"run{number}")
                os.environ["STORAGE_EMULATOR_HOST"] = server
                outcome.requests += proxy.requests
                outcome.faults.update(proxy.done)
            outcome.runs += 1
            try:
                if found is not None:
                    if found != expected:
                        raise Wrong(f"{set(found.items()) ^ set(expected.items())} differ")
                    outcome.unfinished += collect_unfinished(root)
                    check(root)
                    outcome.right += 1
            except Wrong as wrong:
                outcome.wrong += 1
                outcome.first = outcome.first or f"run {number}: {wrong}"
    finally:
        defaults["patience_seconds"], gcs.FIRST_WAIT_SECONDS = before
    return outcome


def collect_unfinished(root: str) -> int:
    """Remove the files of versions that were begun and not finished, as `assay gc` does when they are old enough."""
    began = [leftover for leftover in find_leftovers(open_store(root), 0.0) if leftover.why == UNFINISHED]
    for leftover in began:
        leftover.remove()
    return len(began)


def _until_it_ends(outcome: Outcome, source: str, root: str, model: Path, work: Path) -> dict[str, str] | None:
    for _ in range(MOST_CALLS):
        try:
            return run_once(source, root, model, work)
        except AssayError as error:
            outcome.stops += 1
            if "\n" in str(error):
                outcome.bugs += 1
                outcome.first = outcome.first or f"{root}: more than one line: {error}"
                return None
        except Exception as error:
            outcome.bugs += 1
            outcome.first = outcome.first or f"{root}: {type(error).__name__}: {error}"
            return None
        finally:
            shutil.rmtree(work, ignore_errors=True)
    outcome.wrong += 1
    outcome.first = outcome.first or f"{root}: not ended in {MOST_CALLS} calls"
    return None
