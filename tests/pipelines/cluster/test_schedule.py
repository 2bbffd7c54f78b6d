"""Retraining on a schedule: one schedule for a config, replaced without losing a run in flight."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from assay.config import RunConfig, apply_overrides, parse_config
from assay.errors import AssayError, InputError
from pipelines.cluster.client import Cluster, connect
from pipelines.cluster.cron import Cron, parse_cron
from pipelines.cluster.runs import state_of
from pipelines.cluster.schedule import Outcome, delete_schedule, list_schedules, runs_of, set_schedule
from pipelines.graphs.training import config_of
from pipelines.settings import Settings

pytestmark = pytest.mark.usefixtures("compiled_once")

# Far from now whenever the tests run: nothing has just fired.
NIGHTLY = parse_cron("0 0 3 29 2 *")
WEEKLY = parse_cron("0 0 4 29 2 *")


def config_with(*overrides: str, name: str = "tiny") -> RunConfig:
    base = {"version": 1, "name": name, "data": {"source": "gs://bucket/images"}}
    return parse_config(apply_overrides(base, list(overrides)), "test")


def put(cluster: Cluster, cron: Cron = NIGHTLY, *overrides: str, force: bool = False) -> Outcome:
    return set_schedule(cluster, config_with(*overrides), cron, force=force)


def states(kubeflow: Any) -> dict[str, str]:
    return {name: one["status"] for name, one in kubeflow.state.schedules.items()}


def graph_of(kubeflow: Any, schedule: dict[str, Any]) -> Any:
    """The graph that a schedule runs."""
    return kubeflow.state.graphs[schedule["pipeline_version_reference"]["pipeline_version_id"]]


def changes(kubeflow: Any) -> list[str]:
    """The requests about schedules that change something."""
    return [asked for asked in kubeflow.state.requests if "recurringruns" in asked and not asked.startswith("GET")]


def test_a_schedule_runs_the_config_and_skips_a_source_that_has_not_changed(kubeflow: Any, cluster: Cluster) -> None:
    outcome = put(cluster)
    (made,) = kubeflow.state.schedules.values()
    given = made["runtime_config"]["parameters"]
    assert outcome.change == "created"
    assert made["display_name"] == "assay tiny"
    assert made["trigger"] == {"cron_schedule": {"cron": "0 0 3 29 2 *"}}
    assert (made["mode"], int(made["max_concurrency"]), made["no_catchup"]) == ("ENABLE", 1, True)
    assert made["service_account"] == "assay-pipeline"
    assert made["pipeline_version_reference"]["pipeline_version_id"] == outcome.version.version_id
    assert config_of(given).data.source == "gs://bucket/images"
    assert given["system_storage_root"] == "gs://bucket/assay"
    assert given["system_code_version"]
    assert "condition-1" in str(graph_of(kubeflow, made))


def test_force_trains_a_source_that_has_not_changed(kubeflow: Any, cluster: Cluster) -> None:
    put(cluster, force=True)
    (made,) = kubeflow.state.schedules.values()
    assert "condition-1" not in str(graph_of(kubeflow, made))


def test_the_same_again_changes_nothing(kubeflow: Any, cluster: Cluster) -> None:
    first = put(cluster)
    before = changes(kubeflow)
    again = put(cluster)
    assert (again.change, again.schedule_id) == ("none", first.schedule_id)
    assert changes(kubeflow) == before
    assert len(kubeflow.state.versions) == 2  # the pipeline's own first one, and the named one


@pytest.mark.parametrize(
    "differently",
    [
        {"cron": WEEKLY},
        {"force": True},
        {"override": "finetune.epochs=3"},  # a parameter
        {"override": "search.enabled=false"},  # another graph
        {"settings": {"service_account": "other"}},
        {"settings": {"experiment": "other"}},
        {"settings": {"images": {"cpu": "r/assay:abcdef012345", "gpu": "r/gpu:abcdef012345"}}},
    ],
    ids=str,
)
def test_whatever_differs_replaces_it(kubeflow: Any, cluster: Cluster, differently: dict[str, Any]) -> None:
    first = put(cluster)
    settings = cluster.settings.model_dump(exclude={"auth"}) | differently.get("settings", {})
    cluster.settings = type(cluster.settings).model_validate(settings)
    override = [differently["override"]] if "override" in differently else []
    second = put(cluster, differently.get("cron", NIGHTLY), *override, force=differently.get("force", False))
    assert second.retired.deleted == (first.schedule_id,)
    assert states(kubeflow) == {second.schedule_id: "ENABLED"}


def test_the_new_one_is_made_before_the_old_one_is_touched(kubeflow: Any, cluster: Cluster) -> None:
    first = put(cluster)
    put(cluster, WEEKLY)
    path = "/apis/v2beta1/recurringruns"
    assert [asked.replace("//", "/") for asked in changes(kubeflow)[1:]] == [
        f"POST {path}",
        f"POST {path}/{first.schedule_id}:disable",
        f"DELETE {path}/{first.schedule_id}",
    ]


def test_a_failed_creation_touches_nothing(kubeflow: Any, cluster: Cluster) -> None:
    first = put(cluster)
    kubeflow.state.fail("POST .*recurringruns$", 500)
    with pytest.raises(AssayError, match="failed with 500"):
        put(cluster, WEEKLY)
    assert states(kubeflow) == {first.schedule_id: "ENABLED"}


def test_a_replaced_schedule_stays_until_its_run_has_ended(kubeflow: Any, cluster: Cluster) -> None:
    first = put(cluster)
    run = kubeflow.fire(first.schedule_id)["run_id"]
    second = put(cluster, WEEKLY)
    assert second.retired.waiting == {first.schedule_id: (run,)}
    assert states(kubeflow) == {first.schedule_id: "DISABLED", second.schedule_id: "ENABLED"}
    assert kubeflow.state.runs[run]["state"] == "RUNNING"

    assert put(cluster, WEEKLY).retired.waiting == {first.schedule_id: (run,)}
    kubeflow.change(run, "SUCCEEDED")
    third = put(cluster, WEEKLY)
    assert (third.change, third.retired.deleted) == ("none", (first.schedule_id,))
    assert states(kubeflow) == {second.schedule_id: "ENABLED"}
    assert kubeflow.state.runs[run]["state"] == "SUCCEEDED"


def test_a_schedule_that_fired_just_now_stays_for_the_run_that_does_not_show_yet(
    kubeflow: Any, cluster: Cluster
) -> None:
    first = put(cluster, parse_cron("*/30 * * * * *"))
    second = put(cluster, WEEKLY)
    assert second.retired.waiting == {first.schedule_id: ()}
    assert states(kubeflow) == {first.schedule_id: "DISABLED", second.schedule_id: "ENABLED"}
    assert put(cluster, WEEKLY).retired.deleted == (first.schedule_id,)


def test_a_former_schedule_that_is_wanted_again_is_switched_on(kubeflow: Any, cluster: Cluster) -> None:
    first = put(cluster)
    run = kubeflow.fire(first.schedule_id)["run_id"]
    second = put(cluster, WEEKLY)
    back = put(cluster)
    assert (back.change, back.schedule_id) == ("enabled", first.schedule_id)
    assert back.retired.deleted == (second.schedule_id,)
    assert states(kubeflow) == {first.schedule_id: "ENABLED"}
    assert kubeflow.state.runs[run]["state"] == "RUNNING"


@pytest.mark.parametrize("broken", ["POST .*:disable$", "DELETE .*recurringruns", "GET .*/runs$"])
def test_what_broke_off_in_the_middle_is_mended_by_the_next_call(kubeflow: Any, cluster: Cluster, broken: str) -> None:
    first = put(cluster)
    kubeflow.state.fail(broken, 403)
    with pytest.raises(AssayError, match="not allowed"):
        put(cluster, WEEKLY)
    assert len(kubeflow.state.schedules) == 2
    mended = put(cluster, WEEKLY)
    assert (mended.change, mended.retired.deleted) == ("none", (first.schedule_id,))
    assert states(kubeflow) == {mended.schedule_id: "ENABLED"}


def test_two_that_are_alike_become_one(kubeflow: Any, cluster: Cluster) -> None:
    first = put(cluster)
    twin = {**kubeflow.state.schedules[first.schedule_id], "recurring_run_id": "twin"}
    kubeflow.state.schedules["twin"] = twin
    assert put(cluster).retired.deleted == ("twin",)


@pytest.mark.parametrize("seed", range(2))
def test_of_many_calls_at_a_time_one_schedule_comes_and_it_is_on(
    kubeflow: Any, cluster: Cluster, cluster_settings: Settings, seed: int
) -> None:
    put(cluster, NIGHTLY)  # uploads the graph that all take
    dice, crons = random.Random(seed), [parse_cron(f"0 0 {hour} 29 2 *") for hour in (3, 4, 5)]

    def call(cron: Cron) -> Outcome:
        mine = connect(cluster_settings)
        mine.pause_seconds = 0.0
        return put(mine, cron)

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(call, dice.choices(crons, k=16)))
    assert len(outcomes) == 16
    assert [status for status in states(kubeflow).values() if status == "ENABLED"] == ["ENABLED"]


def test_schedules_of_other_configs_and_of_other_makers_are_left_alone(kubeflow: Any, cluster: Cluster) -> None:
    set_schedule(cluster, config_with(name="tiny-other"), NIGHTLY)
    made_by_hand = {**next(iter(kubeflow.state.schedules.values())), "recurring_run_id": "hand"}
    kubeflow.state.schedules["hand"] = {**made_by_hand, "display_name": "assay tiny", "description": "by hand"}
    put(cluster)
    put(cluster, WEEKLY)
    assert len(kubeflow.state.schedules) == 3
    assert [one.name for one in list_schedules(cluster)] == ["tiny-other", "tiny"]


def test_it_works_over_pages_and_for_many_users(kubeflow: Any, cluster: Cluster) -> None:
    kubeflow.state.page_limit = 1
    kubeflow.state.multi_user = cluster.multi_user = True
    for name in ("a", "b"):
        set_schedule(cluster, config_with(name=name), NIGHTLY)
    first = put(cluster)
    runs = [kubeflow.fire(first.schedule_id)["run_id"] for _ in range(2)]
    kubeflow.change(runs[1], "SUCCEEDED")
    assert [run.run_id for run in runs_of(cluster, list_schedules(cluster, "tiny")[0])] == runs[::-1]
    assert put(cluster, WEEKLY).retired.waiting == {first.schedule_id: (runs[0],)}


def test_the_description_fits_where_the_source_has_a_long_name(kubeflow: Any, cluster: Cluster) -> None:
    long = f"data.source=gs://bucket/{'x' * 300}"
    first = put(cluster, NIGHTLY, long)
    (made,) = kubeflow.state.schedules.values()
    assert len(made["description"]) == 255
    assert put(cluster, NIGHTLY, long).schedule_id == first.schedule_id


def test_deleting_waits_for_a_run_in_flight(kubeflow: Any, cluster: Cluster) -> None:
    made = put(cluster)
    run = kubeflow.fire(made.schedule_id)["run_id"]
    assert delete_schedule(cluster, "tiny").waiting == {made.schedule_id: (run,)}
    assert states(kubeflow) == {made.schedule_id: "DISABLED"}
    kubeflow.change(run, "FAILED")
    assert delete_schedule(cluster, "tiny").deleted == (made.schedule_id,)
    assert not kubeflow.state.schedules
    assert run in kubeflow.state.runs


def test_deleting_now_ends_the_run_in_flight_and_waits_for_its_end(kubeflow: Any, cluster: Cluster) -> None:
    kubeflow.state.script = ["RUNNING"]
    made = put(cluster)
    run = kubeflow.fire(made.schedule_id)["run_id"]
    assert delete_schedule(cluster, "tiny", now=True).deleted == (made.schedule_id,)
    assert not kubeflow.state.schedules
    # On a real server a run whose schedule goes before its end is CANCELING for ever.
    assert [change["state"] for change in kubeflow.state.runs[run]["state_history"]][-2:] == ["CANCELING", "FAILED"]
    assert state_of(cluster.run(run)) == "CANCELED"


def test_a_run_that_does_not_end_keeps_its_schedule(kubeflow: Any, cluster: Cluster) -> None:
    made = put(cluster)
    run = kubeflow.fire(made.schedule_id)["run_id"]
    kubeflow.state.runs[run]["abandoned"] = True
    assert delete_schedule(cluster, "tiny", now=True).waiting == {made.schedule_id: (run,)}
    assert states(kubeflow) == {made.schedule_id: "DISABLED"}


def test_a_run_that_cannot_be_ended_keeps_its_schedule_for_the_same_command_again(
    kubeflow: Any, cluster: Cluster
) -> None:
    kubeflow.state.script = ["RUNNING"]
    made = put(cluster)
    kubeflow.fire(made.schedule_id)
    kubeflow.state.fail("POST .*:terminate$", 500)
    with pytest.raises(AssayError, match="failed with 500"):
        delete_schedule(cluster, "tiny", now=True)
    assert states(kubeflow) == {made.schedule_id: "DISABLED"}
    assert delete_schedule(cluster, "tiny", now=True).deleted == (made.schedule_id,)


def test_deleting_what_is_not_there_says_what_there_is(cluster: Cluster) -> None:
    with pytest.raises(InputError, match=r"Received: tinny\. There are: none\."):
        delete_schedule(cluster, "tinny")
    put(cluster)
    with pytest.raises(InputError, match=r"Received: tinny\. There are: tiny\."):
        delete_schedule(cluster, "tinny")


def test_a_source_on_this_machine_is_refused_before_anything_is_made(kubeflow: Any, cluster: Cluster) -> None:
    with pytest.raises(InputError, match=r"data\.source: pods cannot see"):
        put(cluster, NIGHTLY, "data.source=./images")
    assert not kubeflow.state.pipelines
    assert not kubeflow.state.schedules
