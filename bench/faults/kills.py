"""Steps that are killed at random instants and run again, against the same steps left alone.

Every attempt is a process of its own, forked from one that has imported TensorFlow and done nothing with it, so that a
kill costs little. When it is killed is drawn from the processor's seconds that the step takes when it is left alone.
What a step wrote outside of storage is thrown away with it, as Kubeflow does.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import signal
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from assay.config import RunConfig, parse_config
from assay.registry.versions import ModelRegistry
from assay.storage.open import open_store
from bench.faults.transfers import draw_source

NAME = "killed"
MOST_ATTEMPTS = 50
# What differs between two runs that nothing has disturbed.
NOT_COMPARED = ("seconds", "_second", "memory", "cores", "cost", "cpu")
SECTIONS: dict[str, Any] = {
    "data": {"image_size": [16, 16], "near_duplicates": False},
    "augment": {"preview_images": 1, "policy": {"horizontal_flip": True}},
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
    "finetune": {"enabled": False},
    "evaluate": {"resamples": 100, "gradcam_images": 1},
    "runtime": {"deterministic": True, "precision": "float32", "workers": 1},
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
        orphans: Processes that were there two seconds after the one that began them had been killed.
        leftovers: Objects and files in storage that an undisturbed run does not leave.
        failures: Attempts that ended by themselves, and not well.
    """

    kills: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    lost_cpu_seconds: float = 0.0
    largest_difference: float = 0.0
    differing: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    leftovers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


class Run:
    """The steps of one run below a folder, each to be called any number of times.

    Args:
        folder: Gets the store and what the steps hand to one another.
        source: Folder of the images.
    """

    def __init__(self, folder: Path, source: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.store = folder / "store"
        self.config = _config(source, self.store)
        self.steps: dict[str, Callable[[], None]] = {
            "ingest": self._ingest,
            "preprocess": self._preprocess,
            "augment": self._augment,
            "baseline": lambda: self._train("baseline"),
            "search": lambda: self._train("search"),
            "evaluate": self._evaluate,
            "promote": self._promote,
        }

    def outputs(self, step: str) -> Path:
        """Return the folder of what a step hands on."""
        return self.folder / "outputs" / step

    def _at(self, step: str, name: str = "output") -> str:
        return str(self.outputs(step) / name)

    def _common(self) -> dict[str, Any]:
        given = self._given
        runtime = given.get("system_runtime", "")
        return {"runtime": runtime, "seed": 0, "dataset_path": self._at("preprocess")}

    @property
    def _given(self) -> dict[str, Any]:
        from pipelines.graphs.training import pipeline_arguments

        return pipeline_arguments(self.config)

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
            candidates={name: self._at(name) for name in ("baseline", "search")},
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


def _config(source: Path, store: Path) -> RunConfig:
    sections = {**SECTIONS, "data": {**SECTIONS["data"], "source": str(source)}}
    return parse_config({"version": 1, "name": NAME, "storage": {"root": str(store)}, **sections})


def attempt(run: Run, step: str, kill_at: float | None, outcome: Outcome) -> tuple[bool, float]:
    """Call a step once in a process of its own.

    Args:
        run: Of the step.
        step: Its name.
        kill_at: Kill it once it has used so many seconds of the processor; None: never.
        outcome: Gets kills, orphans and failures.

    Returns:
        Whether the step ended well, and the processor's seconds that it used.
    """
    shutil.rmtree(run.outputs(step), ignore_errors=True)
    run.outputs(step).mkdir(parents=True)
    log = run.folder / f"{step}.log"
    pid = os.fork()
    if pid == 0:
        _become(run.steps[step], log)
    begun, killed, young = psutil.Process(pid), False, []
    while True:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            break
        if kill_at is not None and not killed:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = begun.cpu_times()
                if times.user + times.system >= kill_at:
                    young = begun.children(recursive=True)
                    os.kill(pid, signal.SIGKILL)
                    killed = True
        time.sleep(0.01)
    if killed and os.WIFSIGNALED(status):
        outcome.kills[step] += 1
        _, alive = psutil.wait_procs(young, timeout=2.0)
        outcome.orphans += [f"{step}: {process.pid}" for process in alive]
    elif status:
        lines = log.read_text(errors="replace").strip().splitlines()
        outcome.failures.append(f"{step}: {lines[-1][:300] if lines else status}")
    return status == 0, usage.ru_utime + usage.ru_stime


def _become(step: Callable[[], None], log: Path) -> None:
    code = 1
    try:
        with log.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        step()
        code = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        sys.stdout.flush()
        os._exit(code)


def undisturbed(folder: Path, source: Path) -> tuple[Run, dict[str, float]]:
    """Run all steps and let them be; return the run and the processor's seconds of each step."""
    run, outcome = Run(folder, source), Outcome()
    seconds = {step: attempt(run, step, None, outcome)[1] for step in run.steps}
    if outcome.failures:
        raise RuntimeError(f"without any kill: {outcome.failures}")
    return run, seconds


def killed_runs(
    folder: Path,
    kills: int,
    seed: int,
    most_a_step: int = 3,
    *,
    minutes: float | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Do runs whose steps are killed until so many kills are counted, and compare each with one left alone.

    Args:
        folder: For all of it.
        kills: How many, at least.
        seed: Of the instants.
        most_a_step: A step is killed up to so many times, and then left to end.
        minutes: Begin no run after so long; None: whatever it takes.
        say: Is told how far it is.
    """
    started = time.monotonic()
    import_first()
    source = draw_source(folder / "images", 60)
    whole, seconds = undisturbed(folder / "whole", source)
    expected, kept = figures(whole), _files(whole.store)
    outcome, random_ = Outcome(), random.Random(seed)
    while outcome.kills.total() < kills and (minutes is None or time.monotonic() - started < 60 * minutes):
        run = Run(folder / f"run{outcome.runs}", source)
        for step in run.steps:
            planned, used = random_.randint(1, most_a_step), 0.0
            for number in range(MOST_ATTEMPTS):
                instant = random_.uniform(0.0, seconds[step]) if number < planned else None
                ended, cpu = attempt(run, step, instant, outcome)
                used += cpu
                if ended:
                    break
            outcome.lost_cpu_seconds += used - seconds[step]
            if not ended:
                outcome.differing.append(f"run {outcome.runs}: {step} did not end")
                return outcome
        compare(expected, figures(run), outcome, f"run {outcome.runs}")
        outcome.leftovers.update(_kind(name) for name in _files(run.store) - kept)
        outcome.differing += [f"run {outcome.runs}: {name} is missing" for name in sorted(kept - _files(run.store))]
        outcome.runs += 1
        say(f"kills: {outcome.kills.total()}, {len(outcome.differing)} differences, {len(outcome.failures)} failures")
        shutil.rmtree(run.folder)
    return outcome


def import_first() -> None:
    """Import what steps import, before anything is forked, and let nothing of it run."""
    from assay.observability.quiet import silence_tensorflow

    silence_tensorflow()
    import keras_tuner  # noqa: F401
    import tensorflow  # noqa: F401

    import assay.evaluation.evaluate
    import assay.registry.promote
    import assay.search.search
    import assay.training.baseline  # noqa: F401


def figures(run: Run) -> dict[str, Any]:
    """Return what must be the same of two runs: weights, metrics, histories, trials, and what the registry holds."""
    found: dict[str, Any] = {}
    for candidate in ("baseline", "search"):
        model = Path(run._at(candidate))
        found |= {f"{candidate} {name}": value for name, value in weights(model / "model.keras").items()}
        found[f"{candidate} metrics"] = json.loads((model / "metrics.json").read_text())
        found[f"{candidate} history"] = _table(model / "history.csv")
        with np.load(model / "validation.npz") as file:
            found[f"{candidate} validation"] = file["probabilities"]
    found["trials"] = _table(Path(run._at("search")) / "trials.csv")
    comparison = json.loads((Path(run._at("evaluate")) / "comparison.json").read_text())
    found["best"] = comparison["best"]
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
    import csv

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
            outcome.differing.append(f"{name}: {str(expected)[:60]} and {str(found)[:60]}")


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


def _files(store: Path) -> set[str]:
    return {_stable(path.relative_to(store).as_posix()) for path in store.rglob("*") if path.is_file()}


def _stable(name: str) -> str:
    """Return a name without what no two runs have alike: times and hashes."""
    import re

    return re.sub(r"[0-9a-f]{8,}|\d{4}-\d\d-\d\dT[\d.+]+-?", "#", name)


def _kind(name: str) -> str:
    return name if "/" not in name else "/".join(name.split("/")[:1] + name.split("/")[-1:])
