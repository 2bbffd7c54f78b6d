"""Steps that are killed at random instants and run again, against the same steps left alone.

Every attempt is a process of its own, forked by a server that has imported what steps import (`bench.faults.preload`)
and runs nothing, so that a kill costs little; what it is compared with can have run in processes that began with
nothing. When it is killed is drawn from the processor's seconds that the step takes when it is left alone. What a step
wrote outside of storage is thrown away with it, as Kubeflow does.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from assay.config import parse_config
from assay.registry.versions import ModelRegistry
from assay.storage.arrays import DamagedFile, load_arrays
from assay.storage.open import open_store
from assay.training.checkpoint import STATE
from bench.faults.tiny import LAST, TINY
from bench.faults.transfers import collect_unfinished, draw_source

NAME = "killed"
STEPS = ("ingest", "preprocess", "augment", "baseline", "search", "finetune", "evaluate", "promote")
CANDIDATES = ("baseline", "search", "finetune")
MOST_ATTEMPTS = 50
POLL_SECONDS = 0.01
# Of these a kill costs little.
SHORT, SHORT_FACTOR = ("ingest", "preprocess", "augment", "promote"), 4
# A trial whose process dies three times without a step of progress is given up, and that is no loss.
MOST_OF_A_SEARCH = 2
# What differs between two runs that nothing has disturbed.
NOT_COMPARED = ("seconds", "_second", "memory", "cores", "cost", "cpu", "created")
SECTIONS: dict[str, Any] = {
    "data": {"image_size": [16, 16], "near_duplicates": False},
    "augment": {"preview_images": 1, "policy": {"horizontal_flip": True, "views": 2}},
    "baseline": {
        "model": {"name": "cnn", "options": {"width": 4, "depth": 1}},
        "epochs": 4,
        "batch_size": 16,
        "optimizer": {"learning_rate": 0.01},
    },
    "search": {
        "tuner": "hyperband",
        "trials": 2,
        "epochs": 3,
        "space": {"width": [4], "depth": [1], "kernel": [3], "dense": [0, 4], "batch_size": [16]},
    },
    "finetune": {
        "model": {"name": TINY},
        "weights": "none",
        "frozen": {"epochs": 2, "batch_size": 16},
        "unfreeze_from": LAST,
        "epochs": 2,
        "batch_size": 16,
        "cache": "always",
    },
    "evaluate": {"resamples": 100, "gradcam_images": 1},
    # So short a time between checkpoints is none: there is one after every step.
    "runtime": {"deterministic": True, "precision": "float32", "workers": 1, "checkpoint_minutes": 1e-6},
}


@dataclass
class Outcome:
    """What came of the kills.

    Attributes:
        kills: By step.
        runs: Whole runs that were compared.
        lost_cpu_seconds: What attempts that were killed and what came after them took beyond the undisturbed steps.
        largest_difference: Between weights, and between figures of the same name.
        differing: What was not the same, in words.
        checkpoints: Checkpoints that were read after a kill.
        unfinished: Versions whose number was claimed by a promote that was killed; `assay gc` takes their files.
        orphans: Processes that were there two seconds after the one that began them had been killed.
        leftovers: Objects and files in storage that an undisturbed run does not leave.
        failures: Attempts that ended by themselves, and not well.
    """

    kills: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    lost_cpu_seconds: float = 0.0
    largest_difference: float = 0.0
    differing: list[str] = field(default_factory=list)
    checkpoints: int = 0
    unfinished: int = 0
    orphans: list[str] = field(default_factory=list)
    leftovers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


class Run:
    """The steps of one run below a folder, each to be called any number of times, in any process.

    Args:
        folder: Gets the store, the cache and what the steps hand to one another.
        source: Folder of the images.
        steps: That are part of it, in their order.
    """

    def __init__(self, folder: Path, source: Path, steps: Sequence[str] = STEPS) -> None:
        from pipelines.graphs.training import pipeline_arguments

        folder.mkdir(parents=True)
        self.folder, self.steps = folder, tuple(steps)
        self.store, self.cache = folder / "store", folder / "cache"
        self.candidates = tuple(step for step in steps if step in CANDIDATES)
        sections: dict[str, Any] = {
            **SECTIONS,
            **{name: {"enabled": False} for name in CANDIDATES if name not in self.candidates},
            "data": {**SECTIONS["data"], "source": str(source)},
            "runtime": {**SECTIONS["runtime"], "cache_dir": str(self.cache)},
        }
        config = parse_config({"version": 1, "name": NAME, "storage": {"root": str(self.store)}, **sections})
        self._given = pipeline_arguments(config)

    def call(self, step: str) -> None:
        """Call a step in this process."""
        getattr(self, f"_{step}", partial(self._train, step))()

    def files(self) -> set[str]:
        """Return the names of all files in the store and the cache, without what no two runs have alike."""
        found = {f"cache/{name}" for name in _files(self.cache)}
        return found | _files(self.store)

    def outputs(self, step: str) -> Path:
        """Return the folder of what a step hands on."""
        return self.folder / "outputs" / step

    def _at(self, step: str, name: str = "output") -> str:
        return str(self.outputs(step) / name)

    def _common(self) -> dict[str, Any]:
        runtime = self._given.get("system_runtime", "")
        return {"runtime": runtime, "seed": 0, "dataset_path": self._at("preprocess")}

    def _ingest(self) -> None:
        from assay import steps

        record = steps.ingest(
            data=self._given["data"],
            storage_root=str(self.store),
            name=NAME,
            seed=0,
            config_fingerprint=self._given["system_config"],
            skip_unchanged=False,
            quality_path=self._at("ingest", "quality.html"),
        )
        Path(self._at("ingest")).write_text(record.value)

    def _preprocess(self) -> None:
        from assay import steps

        snapshot = Path(self._at("ingest")).read_text()
        steps.preprocess(data=self._given["data"], snapshot=snapshot, **self._common())

    def _augment(self) -> None:
        from assay import steps

        steps.augment(
            augment=self._given["augment"],
            policy_path=self._at("augment"),
            preview_path=self._at("augment", "preview.html"),
            **self._common(),
        )

    def _train(self, candidate: Any) -> None:
        from assay import steps

        steps.train(
            candidate,
            config=self._given[candidate],
            storage_root=str(self.store),
            policy=self._given.get("system_policy", ""),
            policy_path=self._at("augment"),
            model_path=self._at(candidate),
            page_path=self._at(candidate, "page.html"),
            **self._common(),
        )

    def _evaluate(self) -> None:
        from assay import steps

        steps.evaluate(
            evaluate=self._given["evaluate"],
            name=NAME,
            storage_root=str(self.store),
            candidates={name: self._at(name) for name in self.candidates},
            evaluation_path=self._at("evaluate"),
            report_path=self._at("evaluate", "report.html"),
            leaderboard_path=self._at("evaluate", "leaderboard.md"),
            classification_path=self._at("evaluate", "classification"),
            scores_path=self._at("evaluate", "scores"),
            **self._common(),
        )

    def _promote(self) -> None:
        from assay import steps

        steps.promote(
            promote=self._given.get("promote", ""),
            name=NAME,
            storage_root=str(self.store),
            run_id="run",
            config_fingerprint=self._given["system_config"],
            evaluation_path=self._at("evaluate"),
            decision_path=self._at("promote", "decision.md"),
            **self._common(),
        )


def attempt(
    run: Run, step: str, kill_at: float | None, outcome: Outcome, *, start: str = "forkserver"
) -> tuple[bool, float]:
    """Call a step once in a process of its own.

    Args:
        run: Of the step.
        step: Its name.
        kill_at: Kill it once it has used so many seconds of the processor; None: never.
        outcome: Gets kills, orphans and failures.
        start: How the process comes about, as `multiprocessing` has it; ``spawn``: it begins with nothing imported.

    Returns:
        Whether the step ended well, and the processor's seconds that it used.
    """
    shutil.rmtree(run.outputs(step), ignore_errors=True)
    run.outputs(step).mkdir(parents=True)
    log = run.folder / f"{step}.log"
    context = multiprocessing.get_context(start)
    if start == "forkserver":
        context.set_forkserver_preload(["bench.faults.preload"])
    process = context.Process(target=_become, args=(run, step, log))  # type: ignore[attr-defined]
    process.start()
    used, killed, young = 0.0, False, []
    with contextlib.suppress(psutil.NoSuchProcess):
        begun = psutil.Process(process.pid)
        while not wait([process.sentinel], POLL_SECONDS):
            used = sum(begun.cpu_times()[:4])
            if kill_at is not None and not killed and used >= kill_at:
                # The clock that was read moves on in hundredths: somewhere within the next one.
                time.sleep(random.uniform(0, POLL_SECONDS))
                young = begun.children(recursive=True)
                begun.kill()
                killed = True
    process.join()
    if process.exitcode == -signal.SIGKILL:
        outcome.kills[step] += 1
        _, alive = psutil.wait_procs(young, timeout=2.0)
        outcome.orphans += [f"{step}: {left.pid}" for left in alive]
    elif process.exitcode:
        lines = log.read_text(errors="replace").strip().splitlines()
        outcome.failures.append(f"{step}: {lines[-1][:300] if lines else process.exitcode}")
    return process.exitcode == 0, used


def _become(run: Run, step: str, log: Path) -> None:
    code = 1
    try:
        with log.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        run.call(step)
        code = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        sys.stdout.flush()
        os._exit(code)


def undisturbed(run: Run, *, start: str = "forkserver") -> dict[str, float]:
    """Call all steps of a run and let them be; return the processor's seconds of each."""
    outcome = Outcome()
    seconds = {step: attempt(run, step, None, outcome, start=start)[1] for step in run.steps}
    if outcome.failures:
        raise RuntimeError(f"without any kill: {outcome.failures}")
    return seconds


def killed_runs(
    folder: Path,
    kills: int,
    seed: int,
    most_a_step: int = 4,
    *,
    steps: Sequence[str] = STEPS,
    fresh: bool = False,
    minutes: float | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Do runs whose steps are killed until so many kills are counted, and compare each with one left alone.

    Args:
        folder: For all of it.
        kills: How many, at least.
        seed: Of the instants.
        most_a_step: A step is killed up to so many times, and then left to end; one of the short ones up to four
            times as often, and a search no more than twice.
        steps: Of the runs, in their order.
        fresh: Compare with a run each of whose steps began with nothing imported; else all are forked.
        minutes: Begin no run after so long; None: whatever it takes.
        say: Is told how far it is.
    """
    started = time.monotonic()
    make = partial(Run, source=draw_source(folder / "images", 60), steps=steps)
    whole = make(folder / "whole")
    seconds = undisturbed(whole)
    expected, kept, outcome, random_ = figures(whole), whole.files(), Outcome(), random.Random(seed)
    if fresh:
        begun = make(folder / "fresh")
        undisturbed(begun, start="spawn")
        compare(figures(begun), expected, outcome, "forked")
        outcome.runs += 1
    while outcome.kills.total() < kills and (minutes is None or time.monotonic() - started < 60 * minutes):
        run = make(folder / f"run{outcome.runs}")
        if not killed_run(run, (expected, kept, seconds), outcome, random_, most_a_step):
            break
        shutil.rmtree(run.folder)
        say(f"kills: {outcome.kills.total()}, {len(outcome.failures)} failures, differing: {outcome.differing}")
    return outcome


def killed_run(
    run: Run,
    whole: tuple[dict[str, Any], set[str], Mapping[str, float]],
    outcome: Outcome,
    random_: random.Random,
    most_a_step: int,
) -> bool:
    """Do a run whose every step is killed a few times, and compare it; return whether it came to its end.

    Args:
        run: Nothing of it was called yet.
        whole: Of a run that was left alone its figures, files, and the processor's seconds of each step.
        outcome: Gets what came of it.
        random_: Draws how often and when.
        most_a_step: As for `killed_runs`.
    """
    expected, kept, seconds = whole
    for step in run.steps:
        most = most_a_step * (SHORT_FACTOR if step in SHORT else 1)
        planned = random_.randint(1, min(most, MOST_OF_A_SEARCH) if step == "search" else most)
        used, reached = 0.0, dict[Path, tuple[int, ...]]()
        for number in range(MOST_ATTEMPTS):
            instant = random_.uniform(0.0, seconds[step]) if number < planned else None
            ended, cpu = attempt(run, step, instant, outcome)
            used += cpu
            if ended:
                break
            if step in ("baseline", "finetune"):
                reached = _still_there(run, reached, outcome)
        outcome.lost_cpu_seconds += used - seconds[step]
        if not ended:
            outcome.differing.append(f"run {outcome.runs}: {step} did not end")
            return False
    compare(expected, figures(run), outcome, f"run {outcome.runs}")
    outcome.unfinished += collect_unfinished(str(run.store))
    outcome.leftovers.update(_kind(name) for name in run.files() - kept)
    outcome.differing += [f"run {outcome.runs}: {name} is missing" for name in sorted(kept - run.files())]
    outcome.runs += 1
    return True


def _still_there(run: Run, reached: Mapping[Path, tuple[int, ...]], outcome: Outcome) -> dict[Path, tuple[int, ...]]:
    """Read all checkpoints; what an earlier kill has left has to be there, and no further back."""
    found: dict[Path, tuple[int, ...]] = {}
    for path in (run.store / "checkpoints").glob("*/[!.]*.npz"):
        try:
            values = json.loads(load_arrays(path)[STATE].tobytes())
        except DamagedFile as error:
            outcome.differing.append(f"run {outcome.runs}: {error}")
            continue
        found[path] = (values["at"]["epoch"], values["at"]["step"])
        outcome.checkpoints += 1
    outcome.differing += [
        f"run {outcome.runs}: checkpoint {path.name} went from {before} to {found.get(path)}"
        for path, before in reached.items()
        if found.get(path, (-1,)) < before
    ]
    return found


def figures(run: Run) -> dict[str, Any]:
    """Return what must be the same of two runs: weights, metrics, histories, trials, and what the registry holds."""
    found: dict[str, Any] = {}
    for candidate in run.candidates:
        model = Path(run._at(candidate))
        found |= {f"{candidate} {name}": value for name, value in weights(model / "model.keras").items()}
        found[f"{candidate} metrics"] = json.loads((model / "metrics.json").read_text())
        found[f"{candidate} history"] = _table(model / "history.csv")
        with np.load(model / "validation.npz") as file:
            found[f"{candidate} validation"] = file["probabilities"]
    if "search" in run.steps:
        found["trials"] = _table(Path(run._at("search")) / "trials.csv")
    if "evaluate" in run.steps:
        found["comparison"] = json.loads((Path(run._at("evaluate")) / "comparison.json").read_text())
    registry = ModelRegistry(open_store(str(run.store)), NAME)
    champion = registry.champion()
    found["registry"] = {
        "versions": len(registry.versions()),
        "changes": len(registry.history()),
        "champion": bool(champion and champion.version in registry.versions()),
    }
    return found


def weights(model: Path) -> dict[str, Any]:
    """Return the arrays of a ``.keras`` file by their names in it."""
    import h5py

    found: dict[str, Any] = {}
    with zipfile.ZipFile(model) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:

        def take(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                found[name] = np.array(item)

        file.visititems(take)
    return found


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def compare(expected: Any, found: Any, outcome: Outcome, name: str) -> None:
    """Put into an outcome what differs between two structures of mappings, lists, arrays, numbers and texts."""
    if any(part in name.rsplit(" ", 1)[-1] for part in NOT_COMPARED):
        return
    if isinstance(expected, Mapping) and isinstance(found, Mapping) and expected.keys() == found.keys():
        for key in expected:
            compare(expected[key], found[key], outcome, f"{name} {key}")
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for number, (one, other) in enumerate(zip(expected, found, strict=True)):
            compare(one, other, outcome, f"{name} {number}")
    else:
        same = _same(expected, found, outcome)
        if not same:
            outcome.differing.append(f"{name}: {_in_words(expected, found)}")


def _in_words(expected: Any, found: Any) -> str:
    """Return how two things differ: of arrays of one shape how many values and by how much at most."""
    if isinstance(expected, np.ndarray) and isinstance(found, np.ndarray) and expected.shape == found.shape:
        apart = np.abs(expected.astype(np.float64) - found)
        return f"{np.count_nonzero(apart)} of {apart.size} values, by {apart.max():.1e} at most"
    return f"{str(expected)[:60]} and {str(found)[:60]}"


def _same(expected: Any, found: Any, outcome: Outcome) -> bool:
    try:
        one, other = np.asarray(expected, dtype=np.float64), np.asarray(found, dtype=np.float64)
    except (TypeError, ValueError):
        return bool(type(expected) is type(found) and expected == found)
    if one.shape != other.shape:
        return False
    both = np.isfinite(one) & np.isfinite(other)
    outcome.largest_difference = max(outcome.largest_difference, float(np.abs(one - other)[both].max(initial=0.0)))
    return np.array_equal(one, other, equal_nan=True)


def _files(folder: Path) -> set[str]:
    return {_stable(path.relative_to(folder).as_posix()) for path in folder.rglob("*") if path.is_file()}


def _stable(name: str) -> str:
    """Return a name without what no two runs have alike: times, hashes, and numbers of versions."""
    return re.sub(r"[0-9a-f]{8,}|(?<=/versions/)v\d+|\d{4}-\d\d-\d\dT[\d.+]+-?", "#", name)


def _kind(name: str) -> str:
    return name if "/" not in name else "/".join(name.split("/")[:1] + name.split("/")[-1:])
