"""The table: seeds aggregated, the best row marked, differences with intervals, only changed cells filled."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from assay.data.dataset import Dataset
from assay.data.shards import write_dataset
from assay.sweep.runs import FAILED, Record
from assay.sweep.table import Table, columns, tabulate, to_csv, to_markdown
from assay.sweep.table_page import to_page

LABELS = np.arange(200) % 2


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    images = np.zeros((200, 8, 8, 3), np.uint8)
    splits = {name: (images[:count], LABELS[:count], None) for name, count in (("train", 8), ("test", 8))}
    splits["valid"] = (images, LABELS, None)
    return write_dataset(tmp_path_factory.mktemp("table") / "dataset", splits, ["a", "b"])


def record(seed: int, signal: float, **metrics: float) -> Record:
    """A run whose scores tell the classes apart by so many standard deviations."""
    random = np.random.default_rng([seed, round(10 * signal)])
    scores = 1 / (1 + np.exp(-(random.standard_normal(200) + signal * (LABELS - 0.5))))
    auc = float((scores[LABELS == 1][:, None] > scores[LABELS == 0][None]).mean())
    measured = {"val_auc": auc, "val_accuracy": 0.5, "auc_gap": 0.0, "parameters": 10.0}
    measured |= {"train_seconds": 3.0, "epochs_run": 2.0, "best_epoch": 2.0, **metrics}
    probabilities = np.stack([1 - scores, scores], axis=1).astype(np.float32)
    return Record(f"key-{seed}-{signal}", seed, "done", measured, "", probabilities)


@pytest.fixture
def table(dataset: Dataset, make_sweep) -> Table:  # type: ignore[no-untyped-def]
    rows = [{"reported": 0.7}, {"batch_size": 16, "label": "small | batch"}, {"optimizer.learning_rate": 0.1}]
    sweep = make_sweep(rows=rows, reported_by="notes")
    lost = Record("key", 1, FAILED, note="diverged")
    records = [[record(0, 0.5), record(1, 0.6)], [record(0, 2.0), record(1, 2.1)], [record(0, 3.0), lost]]
    return tabulate(sweep, records, dataset)


def test_the_best_row_is_the_best_of_those_whose_seeds_all_ended(table: Table) -> None:
    assert [line.best for line in table.lines] == [False, True, False]


def test_seeds_are_averaged_and_their_spread_is_given(table: Table) -> None:
    line = table.lines[0]
    values = [record.metrics["val_auc"] for record in line.records]
    assert line.mean == pytest.approx(np.mean(values))
    assert line.spread == (min(values), max(values))
    assert line.auc.low < line.auc.value < line.auc.high


def test_the_difference_to_the_best_has_an_interval_that_excludes_0_where_it_is_plain(
    dataset: Dataset,
    make_sweep,  # type: ignore[no-untyped-def]
) -> None:
    sweep = make_sweep(rows=[{}, {"epochs": 2}, {"epochs": 3}], seeds=[0, 1, 2, 3])
    records = [[record(seed, signal) for seed in range(4)] for signal in (0.5, 2.5, 2.4)]
    plain, best, close = tabulate(sweep, records, dataset).lines
    assert plain.behind.low < plain.behind.value < plain.behind.high < 0
    assert best.best and not best.behind.defined
    assert close.behind.low < 0 < close.behind.high


def test_a_failed_seed_is_told_and_the_row_still_shown(table: Table) -> None:
    assert table.lines[2].note == "1 of 2 seeds failed; diverged"
    assert table.lines[2].auc.defined


def test_only_changed_cells_are_filled(table: Table) -> None:
    head, lines = columns(table)
    changed = [dict(zip(head, line, strict=True)) for line in lines]
    assert [line["batch_size"] for line in changed] == ["", "16", ""]
    assert [line["learning_rate"] for line in changed] == ["", "", "0.1"]
    assert changed[0]["notes accuracy"] == "0.700"


def test_markdown_is_a_table_with_the_best_row_marked(table: Table) -> None:
    lines = [line for line in to_markdown(table).splitlines() if line.startswith("|")]
    assert len(lines) == 5
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert [line.startswith("| **") for line in lines[2:]] == [False, True, False]


def test_csv_reads_back_with_each_seed(table: Table) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert float(rows[1]["val_auc_seed_0"]) == pytest.approx(table.lines[1].metric[0], abs=1e-5)
    assert rows[2]["val_auc_seed_1"] == ""
    assert [row["best"] for row in rows] == ["", "*", ""]


def test_the_page_stands_alone_and_escapes_what_users_wrote(dataset: Dataset, make_sweep) -> None:  # type: ignore[no-untyped-def]
    sweep = make_sweep(rows=[{"label": "<script>"}], seeds=[0])
    page = to_page(tabulate(sweep, [[record(0, 1.0)]], dataset))
    assert "<script>" not in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_a_sweep_of_which_nothing_is_done_has_a_table_too(dataset: Dataset, make_sweep) -> None:  # type: ignore[no-untyped-def]
    table = tabulate(make_sweep(rows=[{}, {"epochs": 2}]), [[], []], dataset)
    assert table.best is None
    assert "not run yet" in to_markdown(table)
    assert "no row has all its seeds yet" in to_page(table)


def test_by_loss_the_lowest_is_best(dataset: Dataset, make_sweep) -> None:  # type: ignore[no-untyped-def]
    sweep = make_sweep(rows=[{}, {"epochs": 2}], seeds=[0], metric="val_loss")
    records = [[record(0, 1.0, val_loss=0.4)], [record(0, 2.0, val_loss=0.6)]]
    assert [line.best for line in tabulate(sweep, records, dataset).lines] == [True, False]


def test_several_classes_are_compared_too(tmp_path: Path, make_sweep) -> None:  # type: ignore[no-untyped-def]
    images, labels = np.zeros((90, 8, 8, 3), np.uint8), np.arange(90) % 3
    splits = dict.fromkeys(("train", "valid", "test"), (images, labels, None))
    three = write_dataset(tmp_path / "three", splits, ["a", "b", "c"])
    random = np.random.default_rng(0)
    probabilities = random.dirichlet([1, 1, 1], 90).astype(np.float32)
    done = Record("key", 0, "done", {**record(0, 1.0).metrics, "val_auc": 0.5}, "", probabilities)
    (line,) = tabulate(make_sweep(rows=[{}], seeds=[0]), [[done]], three).lines
    assert 0.3 < line.auc.low < 0.5 < line.auc.high < 0.7
