"""What a person sees of a run."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from assay.config import parse_config
from pipelines.local.console import EventDisplay


@pytest.fixture
def shown() -> tuple[EventDisplay, io.StringIO]:
    page = io.StringIO()
    return EventDisplay(parse_config({"version": 1}), Console(file=page, width=120, highlight=False)), page


def test_a_step_that_never_started_before_a_later_one_was_reused(shown: tuple[EventDisplay, io.StringIO]) -> None:
    display, page = shown
    display.show({"event": "started", "step": "ingest", "time": 0.0})
    display.show({"event": "finished", "step": "ingest", "time": 1.0, "metrics": {"images": 10.0}})
    display.show({"event": "started", "step": "augment", "time": 2.0})
    assert display.reused == ("preprocess",)
    assert "preprocess reused" in page.getvalue()


def test_candidates_run_in_any_order(shown: tuple[EventDisplay, io.StringIO]) -> None:
    display, _ = shown
    for step in ("ingest", "preprocess", "augment", "finetune"):
        display.show({"event": "started", "step": step, "time": 0.0})
    assert display.reused == ()
    display.show({"event": "started", "step": "baseline", "time": 0.0})
    display.show({"event": "started", "step": "evaluate", "time": 0.0})
    assert display.reused == ("search",)


def test_a_step_done_fold_by_fold_shows_each_and_adds_up_their_time(shown: tuple[EventDisplay, io.StringIO]) -> None:
    display, page = shown
    for number, start in ((1, 0.0), (2, 10.0)):
        display.show({"event": "started", "step": "baseline", "part": f"fold {number}", "time": start})
        assert display.unfinished == ("baseline",)
        display.show({"event": "finished", "step": "baseline", "time": start + 4})
        assert display.unfinished == ()
    assert "baseline, fold 2 (4 of 8)" in page.getvalue()
    assert display.step_seconds == {"baseline": 8.0}


def test_errors_and_results_are_kept_and_unknown_events_pass(shown: tuple[EventDisplay, io.StringIO]) -> None:
    display, _ = shown
    display.show({"event": "something new"})
    display.show({"event": "error", "step": "ingest", "message": "first", "exit_code": 2, "time": 0.0})
    display.show({"event": "error", "step": "ingest", "message": "second", "exit_code": 1, "time": 0.0})
    assert display.error is not None
    assert display.error["message"] == "first"


def test_progress_on_a_terminal_is_drawn_and_removed() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    display = EventDisplay(parse_config({"version": 1}), console)
    event = {"event": "progress", "task": "decode", "done": 1, "total": 4, "unit": "images"}
    with display:
        display.show(event)
        assert len(display._progress.tasks) == 1
        display.show({**event, "done": 4, "final": True})
        assert not display._progress.tasks
