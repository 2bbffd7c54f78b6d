"""Comparisons: which runs, what differs, who is champion, and how the table, the files and the page say it."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from assay.config import parse_config
from assay.errors import AssayError, InputError
from assay.models.info import ModelInfo
from assay.registry.records import RunRecord, write_record
from assay.registry.versions import ModelRegistry, Version
from assay.storage.open import open_store
from pipelines.cluster.client import Cluster
from pipelines.compare.page import to_page
from pipelines.compare.runs import Comparison, compare_on_cluster, compare_stored, flatten
from pipelines.compare.table import print_comparison, to_csv, to_markdown
from pipelines.graphs.training import pipeline_arguments


def put_champion(storage: str, number: str = "v1") -> None:
    """Make a version, and make it champion."""
    store = open_store(storage)
    info = ModelInfo(name="cnn", classes=("a", "b"), input_shape=(16, 16, 3))
    version = Version(version=number, id=number, created="", info=info, metadata={}, identity=number, files={})
    store.write_bytes(f"models/tiny/versions/{number}/version.json", version.to_bytes())
    registry = ModelRegistry(store, "tiny")
    registry.set_champion(number, registry.champion(), reason="for a test")


def another(record: RunRecord, run_id: str, finished: str, **changes: Any) -> RunRecord:
    """A record like a real one, whose challenger was not promoted."""
    decision = record.decision.model_copy(update={"promoted": False, "version": "v2", "champion_before": "v1"})
    return record.model_copy(update={"run_id": run_id, "finished": finished, "decision": decision, **changes})


@pytest.fixture
def storage(tmp_path: Path, recorded: RunRecord) -> str:
    """A store with the record of a run, a later one with more epochs, and the latest on other test images."""
    root = str(tmp_path / "store")
    longer = {**recorded.config, "baseline": {**recorded.config["baseline"], "epochs": 9}}
    write_record(open_store(root), recorded)
    write_record(open_store(root), another(recorded, "run-2", "2998-01-01T00:00:00+00:00", config=longer))
    later = another(recorded, "run-3", "2999-01-01T00:00:00+00:00", seed=3, test_fingerprint="another")
    write_record(open_store(root), later)
    put_champion(root)
    return root


def printed(comparison: Comparison, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    print_comparison(console, comparison)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_runs_come_latest_first_with_what_differs_and_nothing_else(storage: str) -> None:
    comparison = compare_stored(storage, [], 20)
    assert [run.run_id for run in comparison.runs] == ["run-3", "run-2", "run-1"]
    assert set(comparison.differing) == {"seed", "baseline.epochs"}
    assert comparison.changes(comparison.runs[1]) == {"seed": "0", "baseline.epochs": "9"}
    assert [run.run_id for run in compare_stored(storage, [], 2).runs] == ["run-3", "run-2"]
    assert [run.run_id for run in compare_stored(storage, ["run-1", "run-2"], 1).runs] == ["run-2", "run-1"]


def test_the_champion_of_now_is_marked_also_after_a_rollback(storage: str) -> None:
    comparison = compare_stored(storage, [], 20)
    standings = {run.run_id: comparison.standing(run) for run in comparison.runs}
    assert standings == {"run-1": "champion v1", "run-2": "v2, not promoted", "run-3": "v2, not promoted"}
    put_champion(storage, "v2")
    comparison = compare_stored(storage, ["run-1", "run-2"], 20)
    assert [comparison.standing(run) for run in comparison.runs] == ["champion v2", "v1, was champion"]


def test_a_run_that_met_its_own_model_as_champion_made_none(storage: str, recorded: RunRecord) -> None:
    decision = recorded.decision.model_copy(update={"promoted": False, "version": "v1", "champion_before": "v1"})
    write_record(open_store(storage), recorded.model_copy(update={"run_id": "again", "decision": decision}))
    comparison = compare_stored(storage, ["again"], 20)
    assert comparison.standing(comparison.runs[0]) == "same as v1"
    assert not comparison.is_champion(comparison.runs[0])


def test_other_test_images_are_marked_and_said(storage: str) -> None:
    comparison = compare_stored(storage, [], 20)
    assert [comparison.split(run) for run in comparison.runs] == ["A", "B", "B"]
    for said in (printed(comparison, 120), to_markdown(comparison), to_page(comparison)):
        assert "different test splits (A, B)" in " ".join(said.split())
    same = compare_stored(storage, ["run-1", "run-2"], 20)
    assert [same.split(run) for run in same.runs] == ["", ""]
    assert "different test splits" not in printed(same, 120)


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_numbers_are_never_cut_and_what_is_left_out_is_named(storage: str, recorded: RunRecord, width: int) -> None:
    said = printed(compare_stored(storage, [], 20), width)
    assert max(map(len, said.splitlines())) <= width
    metrics = recorded.candidates["baseline"].metrics
    left_out = re.search(r"Left out for want of width: (.*)\.", said)
    for name in ("auc", "accuracy", "sensitivity", "specificity"):
        shown = f"[{metrics[f'test_{name}_low']:.3f}, {metrics[f'test_{name}_high']:.3f}]" in said
        assert shown != (left_out is not None and name in left_out[1].split(", "))
    assert "run-1" in said
    assert "Champion: v1 (baseline) is the new champion of tiny" in said


def test_the_csv_has_a_line_a_candidate_with_all_numbers(storage: str, recorded: RunRecord) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(compare_stored(storage, [], 20)))))
    assert [(row["run"], row["candidate"], row["champion"]) for row in rows] == [
        ("run-3", "baseline", "False"),
        ("run-2", "baseline", "False"),
        ("run-1", "baseline", "True"),
    ]
    candidate = recorded.candidates["baseline"]
    assert float(rows[2]["test_auc_low"]) == candidate.metrics["test_auc_low"]
    assert float(rows[2]["cost"]) == candidate.training["cost"]
    assert rows[1]["baseline.epochs"] == "9"


def test_the_page_needs_nothing_else_and_has_curves(storage: str) -> None:
    page = to_page(compare_stored(storage, [], 20))
    assert "http" not in page
    assert "src=" not in page
    assert page.count('class="forest"') == 3
    # Validation AUC and loss; the three runs have the same history and share a line.
    assert page.count('class="chart"') == 2
    assert "run-3, run-2, run-1" in page


def test_markdown_has_a_column_for_each_parameter_that_differs(storage: str) -> None:
    head = to_markdown(compare_stored(storage, [], 20)).splitlines()[2]
    assert "| seed |" in head
    assert "| baseline.epochs |" in head


def test_unknown_runs_and_an_empty_store_are_refused_with_the_way_out(storage: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run run-9: not among .* Did you mean 'run-"):
        compare_stored(storage, ["run-9"], 20)
    with pytest.raises(InputError, match=r"run run-: 3 of .* begin so"):
        compare_stored(storage, ["run-"], 20)
    with pytest.raises(InputError, match="no run has left a record here yet"):
        compare_stored(str(tmp_path / "absent"), [], 20)


def test_a_damaged_record_is_named_and_the_rest_compared(storage: str) -> None:
    open_store(storage).write_bytes("runs/run-2.json", b"{}")
    comparison = compare_stored(storage, [], 20)
    assert [run.run_id for run in comparison.runs] == ["run-3", "run-1"]
    assert "runs/run-2.json: not a run record" in " ".join(printed(comparison, 160).split())


def test_of_a_candidate_that_is_off_only_that_counts() -> None:
    sections = {
        "seed": 0,
        "search": {"enabled": False, "trials": 3},
        "baseline": {"enabled": True, "model": {"name": "cnn"}},
    }
    assert flatten(sections) == {
        "seed": 0,
        "search.enabled": False,
        "baseline.enabled": True,
        "baseline.model.name": "cnn",
    }


def start(kubeflow: Any, cluster: Cluster, storage: str, state: str, **changes: Any) -> str:
    """Put a training run on the server, with the parameters that submit gives."""
    config = parse_config({"version": 1, "name": "tiny", "storage": {"root": storage}, **changes})
    run = kubeflow.add_run(
        display_name=f"tiny {state}",
        experiment_id=cluster.experiment(),
        state=state,
        runtime_config={"parameters": pipeline_arguments(config)},
    )
    return str(run["run_id"])


def test_runs_on_a_cluster_are_joined_with_their_records(
    kubeflow: Any, cluster: Cluster, storage: str, recorded: RunRecord
) -> None:
    done = start(kubeflow, cluster, storage, "SUCCEEDED")
    failed = start(kubeflow, cluster, storage, "FAILED", seed=5, search={"enabled": False})
    going = start(kubeflow, cluster, storage, "RUNNING")
    kubeflow.add_run(display_name="of another graph", experiment_id=cluster.experiment())
    write_record(open_store(storage), recorded.model_copy(update={"run_id": done}))
    comparison = compare_on_cluster(cluster, [], None, 20)
    assert [(run.run_id, run.state) for run in comparison.runs] == [
        (going, "running"),
        (failed, "failed"),
        (done, "succeeded"),
    ]
    assert [comparison.standing(run) for run in comparison.runs] == ["", "", "champion v1"]
    assert set(comparison.differing) == {"seed", "search.enabled"}
    said = printed(comparison, 200)
    assert all(word in said for word in (done[:8], failed[:8], "failed", "running", "search.enabled false"))
    for text in (to_markdown(comparison), to_page(comparison), to_csv(comparison)):
        assert failed in text
        assert "tiny FAILED" in text


def test_runs_of_a_schedule_are_named_in_the_narrowest_terminal(kubeflow: Any, cluster: Cluster, storage: str) -> None:
    run_id = start(kubeflow, cluster, storage, "FAILED")
    kubeflow.state.runs[run_id] |= {"display_name": "assaytinyx5gmx-1-2519218537", "recurring_run_id": "a-schedule"}
    comparison = compare_on_cluster(cluster, [], None, 20)
    for text in (printed(comparison, 80), to_markdown(comparison), to_page(comparison), to_csv(comparison)):
        assert "scheduled tiny" in text
        assert "assaytiny" not in text


def test_a_run_whose_record_is_gone_is_not_called_unfinished(kubeflow: Any, cluster: Cluster, storage: str) -> None:
    lost = start(kubeflow, cluster, storage, "SUCCEEDED")
    said = " ".join(printed(compare_on_cluster(cluster, [], None, 20), 200).split())
    assert f"Without numbers although they succeeded: {lost[:8]}." in said
    assert "come to its end" not in said


def test_sweeps_on_a_cluster_are_told_with_their_best_row(kubeflow: Any, cluster: Cluster, storage: str) -> None:
    about = {"sweep": "depths: 2 rows, 1 seeds, baseline", "system_sweep": "{}", "system_storage_root": storage}
    put = {"experiment_id": cluster.experiment(), "runtime_config": {"parameters": about}}
    done = kubeflow.add_run(display_name="depths", state="SUCCEEDED", **put)["run_id"]
    going = kubeflow.add_run(display_name="depths", state="RUNNING", **put)["run_id"]
    table = "row,best,label,model.name,val_auc_mean,val_auc,parameters\n1,,,cnn3,0.7,0.7,9\n2,*,,cnn6,0.8,0.81,9\n"
    open_store(storage).write_bytes(f"sweeps/tables/depths/{done}/table.csv", table.encode())
    running, succeeded = compare_on_cluster(cluster, [], None, 20).sweeps
    assert running.endswith(": running.")
    assert going[:8] in running
    assert "best row 2 (model.name cnn6), validation AUC 0.810." in succeeded
    assert f"sweeps/tables/depths/{done}" in succeeded


def test_runs_on_a_cluster_are_picked_by_the_beginning_of_their_ids(
    kubeflow: Any, cluster: Cluster, storage: str
) -> None:
    ids = [start(kubeflow, cluster, storage, "FAILED", seed=seed) for seed in range(3)]
    comparison = compare_on_cluster(cluster, [ids[0], ids[2][:12]], None, 1)
    assert [run.run_id for run in comparison.runs] == [ids[2], ids[0]]
    said = printed(comparison, 80)
    assert "No run has come to its end yet" in said
    # In the narrowest terminal, too, a run has its name.
    assert said.count("tiny FAILED") == 2
    assert len(compare_on_cluster(cluster, [], None, 2).runs) == 2
    with pytest.raises(InputError, match=r"run zzz: not among the training runs of experiment 'assay'"):
        compare_on_cluster(cluster, ["zzz"], None, 20)


def test_an_unknown_experiment_and_one_without_runs_are_refused(cluster: Cluster) -> None:
    cluster.experiment()
    with pytest.raises(InputError, match=r"experiment 'asay': .* Did you mean 'assay'"):
        compare_on_cluster(cluster, [], "asay", 20)
    with pytest.raises(InputError, match="it has no training runs yet"):
        compare_on_cluster(cluster, [], None, 20)


def test_a_server_that_fails_is_one_line(kubeflow: Any, cluster: Cluster, storage: str) -> None:
    start(kubeflow, cluster, storage, "SUCCEEDED")
    kubeflow.state.fail(r"GET .*/runs$", 500, times=10)
    with pytest.raises(AssayError, match="the server failed with 500"):
        compare_on_cluster(cluster, [], None, 20)
