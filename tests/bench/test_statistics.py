"""The page of simulations: every kind of data set stands on it, with what was measured."""

from __future__ import annotations

from pathlib import Path

from bench.statistics.__main__ import main
from bench.statistics.page import replaced
from bench.statistics.simulate import cells, false_promotions, power


def test_the_page_has_a_figure_for_every_kind_of_data_set(tmp_path: Path) -> None:
    page = tmp_path / "statistics.md"
    page.write_text("", encoding="utf-8")
    assert main(["--rounds", "2", "--workers", "1", "--page", str(page), "--only", "coverage"]) == 0
    text = page.read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith(("| 8 |", "| 20 |", "| 60 |"))]
    shown = sum(cell.count(", ") for row in rows for cell in row.split("|"))
    assert shown == len(cells())


def test_sections_are_added_to_the_page_one_by_one(tmp_path: Path) -> None:
    page = tmp_path / "statistics.md"
    page.write_text("", encoding="utf-8")
    for section in ("offsets", "learning"):
        assert main(["--rounds", "1", "--workers", "1", "--page", str(page), "--only", section]) == 0
    text = page.read_text(encoding="utf-8")
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert headings == ["## Decisions among several classes", "## Runs stopped because they do not learn"]
    assert "| 5% | 1,000 | 50 | 30 | shuffled | 1 of 1 |" in text


def test_a_level_spent_over_looks_holds_where_the_whole_level_each_time_does_not() -> None:
    found = false_promotions(52, 4000, one_test_set=False)
    assert found["spent over looks"] <= 0.05 < 0.8 < found["at each look"]


def test_a_larger_gain_is_found_more_often_and_an_early_look_finds_more() -> None:
    assert power(0.03, 0.9, 400, 1, 200) > power(0.0, 0.9, 400, 1, 200)
    assert power(0.03, 0.9, 400, 1, 200) >= power(0.03, 0.9, 400, 52, 200)


def test_one_section_is_written_anew_and_the_others_stay() -> None:
    page = replaced("methods\n\n## A\n\nold\n\n## B\n\nstays\n", "new methods\n", ["## A\n\nnew\n", "## C\n\nmore\n"])
    assert page == "new methods\n\n## A\n\nnew\n\n## B\n\nstays\n\n## C\n\nmore\n"
