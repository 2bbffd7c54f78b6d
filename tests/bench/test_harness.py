"""The arithmetic of measuring: rounds in turn, ratios within a round, the table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.harness import Check, Finding, Measurement, Outcome, Timed, combine, interleave, ratio
from bench.report import figure, machine, read_json, to_json, to_markdown, to_text


class Clock:
    """Time that passes only where a way says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_every_way_runs_once_a_round_and_every_second_round_backwards() -> None:
    clock, order = Clock(), []

    def way(name: str, units: float, seconds: float):
        def work() -> float:
            order.append(name)
            clock.now += seconds
            return units

        return work

    rates = interleave({"slow": way("slow", 10, 5), "fast": way("fast", 10, 0.5)}, 3, "images/s", clock=clock)
    assert order == ["slow", "fast", "fast", "slow", "slow", "fast"]
    assert rates["slow"].values == pytest.approx((2, 2, 2))
    assert rates["fast"].values == pytest.approx((20, 20, 20))
    assert ratio("gain", rates["fast"], rates["slow"]).median == pytest.approx(10)


def test_work_may_time_itself() -> None:
    rates = interleave({"own": lambda: Timed(100, 4)}, 1, "images/s", clock=Clock())
    assert rates["own"].values == (25,)


def test_no_round_is_no_measurement() -> None:
    with pytest.raises(ValueError, match="at least one round"):
        interleave({"any": lambda: 1.0}, 0, "x")


def test_ratios_are_taken_within_a_round() -> None:
    """Load that halves the speed of a whole round leaves its ratio as it is."""
    one, other = Measurement("one", "images/s", (20, 10, 40)), Measurement("other", "images/s", (10, 5, 20))
    gain = ratio("gain", one, other)
    assert (gain.values, gain.low, gain.median, gain.high) == ((2, 2, 2), 2, 2, 2)
    assert combine("sum", "s", lambda a, b: 1 / a + 1 / b, one, other).values == pytest.approx((0.15, 0.3, 0.075))


def _outcome(median: float = 3.0, difference: float = 0.0) -> Outcome:
    measured = Measurement("gain", "x", (median - 1, median, median + 1))
    return Outcome(
        "speed",
        "Speed",
        findings=(Finding(1, "gain", measured, 3), Finding(1, "loss", measured, 3.5, "at most", note="of few")),
        checks=(Check(1, "pixels", difference, 0.5),),
        rates=(Measurement("one way", "images/s", (1234.5,)),),
        notes=("A note.",),
    )


def test_a_target_is_reached_by_the_median_on_the_wanted_side() -> None:
    assert [found.reached for found in _outcome(3.0).findings] == [True, True]
    assert [found.reached for found in _outcome(2.9).findings] == [False, True]
    assert [found.reached for found in _outcome(3.6).findings] == [True, False]
    assert not Check(1, "nothing came back", float("nan"), 1).holds


def test_the_tables_say_what_was_reached_and_what_differs() -> None:
    text = to_text([_outcome(2.0, difference=1.0)])
    assert "2x (1 to 3)" in text and "at least 3x" in text and "missed" in text and "DIFFERS" in text
    about = {**machine(), "processor": "some processor"}
    page = to_markdown([_outcome()], about, quick=True)
    assert "| 1 | gain | 3x (2 to 4) | at least 3x | reached |" in page
    assert "| 1 | loss (of few) |" in page and "some processor" in page and "- A note." in page
    assert "| one way | 1,234 | 1,234 | 1,234 | images/s |" in page and "quick run" in page
    assert "quick run" not in to_markdown([_outcome()], about, quick=False)
    kept = json.loads(to_json([_outcome()], about, quick=True))
    assert kept["machine"]["processor"] == "some processor"
    assert kept["outcomes"][0]["findings"][0]["measured"]["values"] == [2, 3, 4]
    assert kept["outcomes"][0]["findings"][0]["reached"] and kept["outcomes"][0]["checks"][0]["holds"]


def test_results_are_read_back_where_machine_and_kind_of_run_are_the_same(tmp_path: Path) -> None:
    about, file = {**machine(), "processor": "some processor"}, tmp_path / "results.json"
    assert read_json(file, about, quick=False) == []
    file.write_text(to_json([_outcome()], about, quick=False), encoding="utf-8")
    assert read_json(file, about, quick=False) == [_outcome()]
    assert read_json(file, about, quick=True) == []
    assert read_json(file, {**about, "cores": 1_000}, quick=False) == []


def test_figures_have_three_digits() -> None:
    assert [figure(value) for value in (0.01234, 1.5, 24.91, 12345.6)] == ["0.0123", "1.5", "24.9", "12,346"]
