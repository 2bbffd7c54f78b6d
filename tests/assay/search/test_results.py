"""The table and the page of trials: the best is marked, failures say why, the page needs nothing else."""

from __future__ import annotations

import csv
import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from assay.search.results import TrialRow, best_row, epochs_spent, progress_note, write_csv
from assay.search.trials_page import parallel_chart, write_page

FIELDS = ("width", "pooling", "learning_rate")


def row(trial: str, score: float | None, **values: object) -> TrialRow:
    defaults = {"width": 8, "pooling": "average", "learning_rate": 0.01}
    status = "failed" if score is None else "completed"
    known = {key: value for key, value in values.items() if key in TrialRow.__dataclass_fields__}
    rest = {key: value for key, value in values.items() if key not in known}
    return TrialRow(trial=trial, values={**defaults, **rest}, status=status, score=score, **known)  # type: ignore[arg-type]


ROWS = [
    row("0000", 0.71, width=16, epochs=2, total_epochs=2, best_epoch=1, seconds=1.25, parameters=1234),
    row("0001", None, note="out of memory: <b>", learning_rate=0.1),
    row("0002", 0.82, pooling="flatten", epochs=2, total_epochs=2, best_epoch=2),
    row("0003", 0.9, pooling="flatten", epochs=4, total_epochs=6, best_epoch=5, continues="0002"),
]


def test_the_best_depends_on_the_objective_and_of_equals_on_the_loss() -> None:
    assert best_row(ROWS, "val_auc") is ROWS[3]
    assert best_row(ROWS, "val_loss") is ROWS[0]
    assert best_row([row("0", 0.5), row("1", 0.5)], "val_auc").trial == "0"  # type: ignore[union-attr]
    losses = [row("0", 0.5, metrics={"val_loss": 0.6}), row("1", 0.5, metrics={"val_loss": 0.4})]
    assert best_row(losses, "val_auc") is losses[1]
    assert best_row([ROWS[1]], "val_auc") is None


def test_the_table_has_a_row_a_trial_and_marks_the_best(tmp_path: Path) -> None:
    write_csv(tmp_path / "trials.csv", ROWS, "val_auc", FIELDS)
    with (tmp_path / "trials.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [line["best"] for line in lines] == ["", "", "", "*"]
    assert [line["val_auc"] for line in lines] == ["0.710000", "", "0.820000", "0.900000"]
    assert [line["status"] for line in lines] == ["completed", "failed", "completed", "completed"]
    assert lines[1]["note"] == "out of memory: <b>"
    assert (lines[3]["continues"], lines[3]["epochs"], lines[3]["total_epochs"]) == ("0002", "4", "6")
    assert (lines[0]["width"], lines[0]["parameters"], lines[0]["seconds"]) == ("16", "1234", "1.2")


def test_epochs_are_those_that_were_trained_and_not_those_continued() -> None:
    assert epochs_spent(ROWS) == 8


def test_progress_says_the_best_and_the_failures() -> None:
    assert progress_note(ROWS, "val_auc") == "best val_auc 0.9000 (trial 0003), 1 failed"
    assert progress_note(ROWS[1:2], "val_auc") == "no score yet, 1 failed"
    assert progress_note([], "val_auc") == "no score yet"


def test_a_row_is_read_back_as_it_was_written() -> None:
    assert [TrialRow.from_json(one.to_json()) for one in ROWS] == ROWS


def test_the_page_shows_every_configuration_and_needs_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "trials.html"
    write_page(page, ROWS, "val_auc", FIELDS, budget=9, remarks=["search.space.depth: 6 removed"])
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=|@import|url\(", text), "the page must be self-contained"
    assert "8 of 9 epochs" in text and "search.space.depth: 6 removed" in text
    assert "<strong>Best val_auc 0.9000</strong> in trial 0003" in text
    assert "out of memory: &lt;b&gt;" in text and "memory: <b>" not in text
    lines, curve = (ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", text, re.S))
    shown = [line.attrib["class"] for line in lines.findall("polyline")]
    # A trial that another one continues is not a configuration of its own.
    assert shown == ["line s5 dashed", "line s1 faint1", "line s2 main"]
    assert len(curve.findall("circle")) == 3
    steps = [tuple(map(float, point.split(","))) for point in curve.find("polyline").attrib["points"].split()]  # type: ignore[union-attr]
    assert [x for x, _ in steps] == sorted(x for x, _ in steps)
    assert steps[0][1] > steps[-1][1], "up is better"
    table = re.findall(r'<tr class="(.*?)"><td>(.*?)</td>', text)
    assert table == [("best", "0003"), ("completed", "0002"), ("completed", "0000"), ("failed", "0001")]


def test_rates_lie_on_a_scale_and_choices_on_even_steps() -> None:
    rows = [row(str(number), 0.5, learning_rate=rate) for number, rate in enumerate((0.001, 0.01, 0.1))]
    text = "".join(ElementTree.fromstring(parallel_chart(rows, "val_auc", ("learning_rate",))).itertext())
    assert "0.001" in text and "0.1" in text and "0.01;" not in text
    rates = [row(str(number), 0.1 * number, learning_rate=10.0**-number) for number in range(1, 10)]
    chart = ElementTree.fromstring(parallel_chart(rates, "val_auc", ("learning_rate",)))
    starts = [line.attrib["points"].split()[0].split(",") for line in chart.findall("polyline")]
    heights = sorted(float(y) for _, y in starts)
    gaps = [high - low for low, high in pairwise(heights)]
    assert max(gaps) - min(gaps) < 0.3, "powers of ten are as far apart from each other"


@pytest.mark.parametrize("rows", [[], ROWS[:1], ROWS[1:2]], ids=["none", "one", "a failure"])
def test_a_page_of_hardly_any_trials_is_whole(tmp_path: Path, rows: list[TrialRow]) -> None:
    write_page(tmp_path / "trials.html", rows, "val_loss", FIELDS, budget=1, remarks=[])
    text = (tmp_path / "trials.html").read_text(encoding="utf-8")
    assert re.findall(r'<tr class=".*?"><td>(.*?)</td>', text) == [row.trial for row in rows]
    # A line for each configuration, and a curve where any trial has a score.
    lines, curve = (ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", text, re.S))
    assert len(lines.findall("polyline")) == len(rows)
    assert len(curve.findall("polyline")) == any(row.completed for row in rows)
