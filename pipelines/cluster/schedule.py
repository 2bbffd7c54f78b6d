"""Retraining on a schedule: what shall be is said, and made so without losing a run in flight.

A recurring run of Kubeflow cannot be changed, only replaced, and whoever deletes one deletes the workflows of its runs
with it: they belong to it in Kubernetes. A run that had not ended is then left on the server as it was, for ever. So
the new one is made first, the old one is switched off, and it is deleted only once its last run has ended.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from assay.config import RunConfig
from assay.errors import AssayError, InputError
from assay.hashing import hash_json
from pipelines.cluster.client import Cluster, PipelineVersion
from pipelines.cluster.cron import Cron, parse_cron
from pipelines.cluster.runs import FINISHED, cancel, state_of
from pipelines.cluster.submit import describe, for_cluster, parameters, reference, upload_graph

PREFIX = "assay "
# Begins the description of our schedules; the digest is of all that one is made from.
MARK = re.compile(r"schedule ([0-9a-f]{12}): ")
# Kubeflow's column holds no more.
DESCRIPTION_LENGTH = 255
# A run shows in Kubeflow's list some seconds after its schedule has fired.
JUST_FIRED = timedelta(minutes=2)
# A run that is being ended takes its pods' grace, then what its exit does.
END_SECONDS = 300.0
END_POLL_SECONDS = 3.0
# Of calls that change the same schedule at a time.
ATTEMPTS = 20


@dataclass(frozen=True)
class Schedule:
    """A recurring run on the server that was made here."""

    schedule_id: str
    name: str
    cron: str
    enabled: bool
    digest: str
    experiment_id: str
    created_at: datetime

    def just_fired(self, now: datetime) -> bool:
        """Whether a run of it may have started that does not show yet."""
        return self.enabled and next(parse_cron(self.cron).firings(now - JUST_FIRED)) <= now


@dataclass(frozen=True)
class Retired:
    """What has become of schedules that shall not be any more.

    Attributes:
        deleted: Ids of those that are gone.
        waiting: Ids of those that are switched off, each with its runs in flight (none: one that just starts).
    """

    deleted: tuple[str, ...]
    waiting: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Outcome:
    """What setting a schedule has come to.

    Attributes:
        schedule_id: The schedule that holds now.
        change: ``created``, ``enabled`` or, where it was there already, ``none``.
        version: The pipeline version that it runs.
        retired: Those that it replaces.
    """

    schedule_id: str
    change: str
    version: PipelineVersion
    retired: Retired


def set_schedule(cluster: Cluster, config: RunConfig, cron: Cron, *, force: bool = False) -> Outcome:
    """Make sure that just this schedule runs a config; the same again changes nothing.

    The server swaps nothing under a condition. So what is there is looked at again at the end, until exactly one
    schedule of the config is on: of several that were made at a time the last one stays, and where each of two calls
    has switched off the other's, both begin anew.

    Args:
        cluster: Where.
        config: The resolved config; its name is that of the schedule.
        cron: When.
        force: Train even where neither data, config nor code have changed.

    Raises:
        InputError: The config names what only this machine has, or an image whose tag can change.
        AssayError: The server refuses or does not answer. What was there before still is, unless the new one was made.
    """
    config = for_cluster(config, cluster.settings)
    version = upload_graph(cluster, config, skip_unchanged=not force)
    outcome = _put(cluster, config, cron, version)
    for _ in range(ATTEMPTS):
        on = sorted(
            (schedule for schedule in list_schedules(cluster, config.name) if schedule.enabled),
            key=lambda schedule: (schedule.created_at, schedule.schedule_id),
        )
        if len(on) == 1:
            return outcome
        if on:
            retired = _retire(cluster, on[:-1])
            both = Retired(outcome.retired.deleted + retired.deleted, {**outcome.retired.waiting, **retired.waiting})
            outcome = replace(outcome, retired=both)
        else:
            outcome = _put(cluster, config, cron, version)
    raise AssayError(
        f"the schedule of {config.name} is changed by others all the time. Look at `assay schedule list` and try again."
    )


def _put(cluster: Cluster, config: RunConfig, cron: Cron, version: PipelineVersion) -> Outcome:
    """Make the schedule, or find it or switch it on, and retire the others that are there."""
    import kfp_server_api

    values = parameters(config)
    experiment, account = cluster.experiment(), cluster.settings.service_account
    digest = hash_json([cron.expression, version.version_id, values, experiment, account])[:12]
    found = list_schedules(cluster, config.name)
    # An enabled one first. A disabled one is a former schedule that is wanted again, or was switched off by someone.
    same = sorted(
        (schedule for schedule in found if schedule.digest == digest), key=lambda schedule: not schedule.enabled
    )
    recurring = cluster.kfp.recurring_runs
    if not same:
        wanted = kfp_server_api.V2beta1RecurringRun(
            display_name=f"{PREFIX}{config.name}",
            description=f"schedule {digest}: {describe(config)}"[:DESCRIPTION_LENGTH],
            experiment_id=experiment,
            pipeline_version_reference=reference(version),
            runtime_config=kfp_server_api.V2beta1RuntimeConfig(parameters=values),
            service_account=account,
            trigger=kfp_server_api.V2beta1Trigger(
                cron_schedule=kfp_server_api.V2beta1CronSchedule(cron=cron.expression)
            ),
            mode=kfp_server_api.RecurringRunMode.ENABLE,
            max_concurrency="1",
            no_catchup=True,
        )
        made = cluster.change(recurring.recurring_run_service_create_recurring_run, recurring_run=wanted)
        kept, change = str(made.recurring_run_id), "created"
    elif same[0].enabled:
        kept, change = same[0].schedule_id, "none"
    else:
        kept, change = same[0].schedule_id, "enabled"
        with _if_there():  # else another is made when what is there is looked at again
            cluster.change(recurring.recurring_run_service_enable_recurring_run, recurring_run_id=kept)
    return Outcome(
        kept, change, version, _retire(cluster, [schedule for schedule in found if schedule.schedule_id != kept])
    )


def delete_schedule(cluster: Cluster, name: str, *, now: bool = False) -> Retired:
    """Delete a config's schedule.

    Args:
        cluster: Where.
        name: The config's name.
        now: End its runs in flight and wait for their end; else it is switched off, and deleted by the same call
            once they have ended.

    Raises:
        InputError: There is none.
        AssayError: The server refuses or does not answer.
    """
    found = list_schedules(cluster, name)
    if not found:
        there = ", ".join(sorted({schedule.name for schedule in list_schedules(cluster)})) or "none"
        raise InputError(f"no schedule of that name. Received: {name}. There are: {there}.")
    return _retire(cluster, found, now=now)


def list_schedules(cluster: Cluster, name: str | None = None) -> list[Schedule]:
    """Return the schedules that were made here, of one config or of all."""
    found = cluster.every(
        cluster.kfp.recurring_runs.recurring_run_service_list_recurring_runs, "recurring_runs", **cluster.scope
    )
    ours = (
        (recurring, MARK.match(recurring.description or ""))
        for recurring in found
        if recurring.display_name.startswith(PREFIX)
    )
    schedules = (
        Schedule(
            str(recurring.recurring_run_id),
            recurring.display_name.removeprefix(PREFIX),
            recurring.trigger.cron_schedule.cron,
            recurring.status == "ENABLED",
            mark.group(1),
            recurring.experiment_id,
            recurring.created_at,
        )
        for recurring, mark in ours
        if mark
    )
    return [schedule for schedule in schedules if name in (None, schedule.name)]


def runs_of(cluster: Cluster, schedule: Schedule) -> Iterator[Any]:
    """Yield a schedule's runs, the newest first."""
    # Not every server can filter by the schedule. None of its runs is older than it is, which bounds the search.
    newest_first = cluster.every(
        cluster.kfp.runs.run_service_list_runs,
        "runs",
        experiment_id=schedule.experiment_id,
        sort_by="created_at desc",
        **cluster.scope,
    )
    since = itertools.takewhile(lambda run: run.created_at >= schedule.created_at, newest_first)
    return (run for run in since if run.recurring_run_id == schedule.schedule_id)


def _retire(cluster: Cluster, schedules: list[Schedule], *, now: bool = False) -> Retired:
    """Switch schedules off, and delete those that have no run in flight; ``now``: end such runs first."""
    recurring = cluster.kfp.recurring_runs
    deleted, waiting = [], {}
    for schedule in schedules:
        # Off before the look at its runs, so that none starts after it.
        if schedule.enabled:
            with _if_there():
                cluster.change(
                    recurring.recurring_run_service_disable_recurring_run, recurring_run_id=schedule.schedule_id
                )
        running = tuple(str(run.run_id) for run in runs_of(cluster, schedule) if state_of(run) not in FINISHED)
        if now and running:
            for run_id in running:
                cancel(cluster, run_id)
            running = _still_running(cluster, running)
        if running or (schedule.just_fired(datetime.now(UTC)) and not now):
            waiting[schedule.schedule_id] = running
            continue
        with _if_there():
            cluster.change(recurring.recurring_run_service_delete_recurring_run, recurring_run_id=schedule.schedule_id)
        deleted.append(schedule.schedule_id)
    return Retired(tuple(deleted), waiting)


@contextlib.contextmanager
def _if_there() -> Iterator[None]:
    """Take a schedule that another call has deleted meanwhile for done."""
    try:
        yield
    except AssayError as error:
        if getattr(error.__cause__, "status", None) != 404:
            raise


def _still_running(cluster: Cluster, runs: tuple[str, ...]) -> tuple[str, ...]:
    """Wait for runs that are being ended, and return those that have not ended in a reasonable time."""
    waited = 0.0
    while True:
        runs = tuple(run_id for run_id in runs if state_of(cluster.run(run_id)) not in FINISHED)
        if not runs or waited >= END_SECONDS:
            return runs
        time.sleep(END_POLL_SECONDS * cluster.pause_seconds)
        waited += END_POLL_SECONDS
