"""The comparison of runs: what differs in them, what they reached and cost, and which made the champion."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

from assay.config import CANDIDATES
from assay.errors import InputError, did_you_mean
from assay.registry.records import CandidateRecord, RunRecord, list_records, read_record
from assay.registry.versions import ModelRegistry, UnreadableRecord
from assay.storage.files import ObjectNotFound
from assay.storage.objects import TRANSFERS_AT_A_TIME
from assay.storage.open import open_store
from assay.sweep.parts import TABLES
from pipelines.cluster.ids import pick
from pipelines.cluster.runs import ended_as, state_of, title_of

if TYPE_CHECKING:
    from pipelines.cluster.client import Cluster

SYSTEM, SWEEP_PARAMETER = "system_", "system_sweep"
CONFIG_PARAMETER, ROOT_PARAMETER, CODE_PARAMETER = "system_config", "system_storage_root", "system_code_version"
LISTED = "`make compare` lists the latest."


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        run_id: On a cluster Kubeflow's, else the name of the run's folder.
        title: What it is shown as beside its id; empty: nothing.
        state: In Kubeflow's words, in small letters.
        when: Its start on a cluster, else its end; UTC.
        parameters: By dotted name, as in ``--set``; those of candidates that it did not train are left out.
        storage: Root of its object storage.
        record: What came of it; None where it has not come to an end, or trained nothing.
    """

    run_id: str
    title: str
    state: str
    when: datetime
    parameters: Mapping[str, Any]
    storage: str
    record: RunRecord | None

    @property
    def best(self) -> CandidateRecord | None:
        """The candidate that validation chose."""
        return None if self.record is None else self.record.candidates[self.record.best]

    def total(self, name: str) -> float | None:
        """Return the sum of a training metric over the candidates; None where one of them has none."""
        of_each = (
            [candidate.training.get(name) for candidate in self.record.candidates.values()] if self.record else [None]
        )
        return None if None in of_each else sum(filter(None, of_each))


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes:
        runs: The latest first.
        differing: Names of the parameters that differ among those runs that have them.
        champions: Version that is champion now, by storage root and name of the model.
        splits: A letter for each test split, by fingerprint, that of the latest run first.
        problems: Records that could not be read, a line each.
        sweeps: What sweeps on the cluster came to, a line each.
    """

    runs: Sequence[Run]
    differing: Sequence[str]
    champions: Mapping[tuple[str, str], str]
    splits: Mapping[str, str]
    problems: Sequence[str]
    sweeps: Sequence[str] = ()

    def split(self, run: Run) -> str:
        """Return the letter of a run's test split; empty where it has none, or all have the same."""
        return self.splits[run.record.test_fingerprint] if run.record and len(self.splits) > 1 else ""

    def is_champion(self, run: Run) -> bool:
        """Return whether the champion of now came out of a run."""
        record = run.record
        return (
            record is not None
            and bool(record.decision.version)
            and record.decision.version == self.champions.get((run.storage, record.name))
            # A run that meets its own model as champion has made none.
            and record.decision.version != record.decision.champion_before
        )

    def standing(self, run: Run) -> str:
        """Return how a run stands to the champion of now: champion, was champion, v3 not promoted..."""
        if run.record is None:
            return ""
        decision = run.record.decision
        if self.is_champion(run):
            return f"champion {decision.version}"
        if not decision.version:
            return "not kept"
        if decision.version == decision.champion_before:
            return f"same as {decision.version}"
        return f"{decision.version}, was champion" if decision.promoted else f"{decision.version}, not promoted"

    def changes(self, run: Run) -> dict[str, str]:
        """Return what a run has of the parameters that differ, as text."""
        return {name: text(run.parameters[name]) for name in self.differing if name in run.parameters}


def compare_stored(storage: str, wanted: Sequence[str], limit: int) -> Comparison:
    """Compare the runs that have a record in a store.

    Args:
        storage: A folder or ``gs://bucket/prefix``.
        wanted: Ids, or beginnings of ids; none: the latest runs.
        limit: At most so many, where none is named.

    Raises:
        InputError: There is no run, or none of that id.
    """
    known = list_records(open_store(storage))
    if not known:
        raise InputError(
            f"{storage}: no run has left a record here yet. `make run` leaves one in runs/store; for another place "
            "give --storage, for runs on a cluster KFP_HOST."
        )
    ids = [
        pick(prefix, known, f"the runs with a record in {storage}", str, way_out=LISTED) for prefix in wanted
    ] or known
    records, problems = _read([(storage, run_id) for run_id in ids])
    runs = [
        Run(
            run_id=record.run_id,
            title="",
            state="succeeded",
            when=datetime.fromisoformat(record.finished),
            parameters=flatten(
                {"name": record.name, "seed": record.seed, **record.config, "code_version": record.code_version}
            ),
            storage=storage,
            record=record,
        )
        for record in records.values()
    ]
    runs.sort(key=lambda run: run.when, reverse=True)
    return _compare(runs if wanted else runs[:limit], problems)


def compare_on_cluster(cluster: Cluster, wanted: Sequence[str], experiment: str | None, limit: int) -> Comparison:
    """Compare runs on a cluster, those without a record included.

    Args:
        cluster: Where they ran.
        wanted: Ids, or beginnings of ids; none: the latest training runs of the experiment.
        experiment: Its name; None: that of the settings.
        limit: At most so many, where none is named.

    Raises:
        InputError: There is no such experiment, no run, or none of that id.
        AssayError: The server or the storage does not answer, or refuses.
    """
    name = experiment or cluster.settings.experiment
    services = cluster.kfp.experiments
    experiment_id = cluster.find_experiment(name)
    if experiment_id is None:
        listed = cluster.every(services.experiment_service_list_experiments, "experiments", **cluster.scope)
        hint = (
            did_you_mean(name, [str(experiment.display_name) for experiment in listed]) or " `make submit` makes one."
        )
        raise InputError(f"experiment '{name}': there is none of this name at {cluster.host}.{hint}")
    sweeps: list[Any] = []
    listed = _training_runs(
        cluster.every(
            cluster.kfp.runs.run_service_list_runs,
            "runs",
            experiment_id=experiment_id,
            sort_by="created_at desc",
            **cluster.scope,
        ),
        sweeps,
    )
    if wanted:
        known = list(listed)
        found = [
            pick(prefix, known, f"the training runs of experiment '{name}'", lambda run: run.run_id, way_out=LISTED)
            for prefix in wanted
        ]
    else:
        found = list(islice(listed, limit))
    if not found and not sweeps:
        raise InputError(f"experiment '{name}': it has no training runs yet. `make submit` starts one.")
    roots = {run.run_id: str(_given(run).get(ROOT_PARAMETER, "")) for run in found}
    records, problems = _read([(root, run_id) for run_id, root in roots.items()])
    runs = [
        Run(
            run_id=run.run_id,
            title=title_of(run),
            state=ended_as(cluster, run).lower(),
            when=run.created_at,
            parameters=flatten(_sections(_given(run))),
            storage=roots[run.run_id],
            record=records.get(run.run_id),
        )
        for run in found
    ]
    compared = _compare(sorted(runs, key=lambda run: run.when, reverse=True), problems)
    return replace(compared, sweeps=[_sweep(run) for run in ([] if wanted else sweeps[:limit])])


def _training_runs(listed: Iterable[Any], sweeps: list[Any]) -> Iterator[Any]:
    """Yield the training runs of a list, and put the sweeps that are met on the way beside."""
    for run in listed:
        given = _given(run)
        if CONFIG_PARAMETER in given:
            yield run
        elif SWEEP_PARAMETER in given:
            sweeps.append(run)


def _sweep(run: Any) -> str:
    """Return what a sweep came to, in a line: its best row and where its tables are."""
    given, state = _given(run), state_of(run).lower()
    about = f"Sweep {given.get('sweep') or run.display_name} (run {run.run_id[:8]}, {run.created_at:%Y-%m-%d %H:%M})"
    name = str(given.get("sweep", "")).partition(":")[0]
    if state != "succeeded":
        return f"{about}: {state}."
    store, at = open_store(str(given.get(ROOT_PARAMETER, ""))), f"{TABLES}/{name}/{run.run_id}"
    try:
        rows = list(csv.DictReader(io.StringIO(store.read_bytes(f"{at}/table.csv").decode())))
    except (ObjectNotFound, UnicodeDecodeError):
        return f"{about}: succeeded, but its tables are not in {store.uri(at)} any more."
    best = next((row for row in rows if row["best"]), None)
    if best is None:
        return f"{about}: no row has a model. Tables: {store.uri(at)}"
    changed = ", ".join(f"{field} {best[field]}" for field in _fields(best) if best[field])
    auc = f"validation AUC {float(best['val_auc']):.3f}" if best.get("val_auc") else "no AUC"
    return f"{about}: best row {best['row']} ({best['label'] or changed or 'as the config'}), {auc}. {store.uri(at)}"


def _fields(row: Mapping[str, str]) -> list[str]:
    """Return the names of the fields that a sweep changed: between its label and the mean of its metric."""
    names = list(row)
    first = names.index("label") + 1
    return names[first : next(index for index, name in enumerate(names) if name.endswith("_mean") and index >= first)]


def flatten(sections: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config's values by dotted name; of a candidate that is off, only that it is off."""
    found: dict[str, Any] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, Mapping) and value:
            for name, inner in value.items():
                walk(f"{prefix}.{name}" if prefix else name, inner)
        else:
            found[prefix] = value

    off = {name: {"enabled": False} for name in CANDIDATES if sections.get(name, {}).get("enabled") is False}
    walk("", {**sections, **off})
    return found


def text(value: Any) -> str:
    """Return a value as one would write it after ``--set name=``."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _given(run: Any) -> dict[str, Any]:
    return (run.runtime_config.parameters if run.runtime_config else None) or {}


def _sections(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a graph as the sections of a config; those of another Assay's graph as they are."""
    from pipelines.graphs.training import config_of

    try:
        sections = config_of(given).model_dump(mode="json", exclude={"version"})
    except InputError:
        sections = {name: value for name, value in given.items() if not name.startswith(SYSTEM)}
    return {**sections, "code_version": given.get(CODE_PARAMETER, "")}


def _read(places: Iterable[tuple[str, str]]) -> tuple[dict[str, RunRecord], list[str]]:
    """Return the records at (storage root, run id) by id, and what is wrong with those that cannot be read."""

    def read(place: tuple[str, str]) -> RunRecord | str | None:
        root, run_id = place
        try:
            return read_record(open_store(root), run_id)
        except UnreadableRecord as error:
            return str(error)

    with ThreadPoolExecutor(TRANSFERS_AT_A_TIME) as executor:
        found = list(executor.map(read, places))
    records = [record for record in found if isinstance(record, RunRecord)]
    return {record.run_id: record for record in records}, [record for record in found if isinstance(record, str)]


def _compare(runs: Sequence[Run], problems: Sequence[str]) -> Comparison:
    names = dict.fromkeys(name for run in runs for name in run.parameters)
    models = {(run.storage, run.record.name) for run in runs if run.record}
    champions = {model: ModelRegistry(open_store(model[0]), model[1]).champion() for model in models}
    splits = dict.fromkeys(run.record.test_fingerprint for run in runs if run.record)
    return Comparison(
        runs=runs,
        differing=[
            name for name in names if len({text(run.parameters[name]) for run in runs if name in run.parameters}) > 1
        ],
        champions={model: champion.version for model, champion in champions.items() if champion},
        splits={split: ascii_uppercase[index % 26] * (index // 26 + 1) for index, split in enumerate(splits)},
        problems=problems,
    )
