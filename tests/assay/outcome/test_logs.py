"""A step's log without what is printed around it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.outcome.logs import parse_log
from tests.pipelines.recordings import recorded_log


def test_a_steps_own_line_and_exit_code_are_found_in_a_real_log(shared: Path) -> None:
    found = parse_log(recorded_log(shared, "wrong-input-ingest"))
    assert found.lines == ("ingest: gs://assay/nothing: is empty. Name a folder with labelled files.",)
    assert (found.code, found.signal, found.kubeflow) == (2, "", "")


def test_a_traceback_is_found_whole(shared: Path) -> None:
    found = parse_log(recorded_log(shared, "step-failed-evaluate"))
    assert found.lines[0] == "Traceback (most recent call last):"
    assert found.lines[-1] == "TypeError: Cannot instantiate typing.Union"


@pytest.mark.parametrize("lines", [20, 40, 200])
def test_the_end_of_a_log_is_enough_wherever_it_begins(shared: Path, lines: int) -> None:
    text = recorded_log(shared, "wrong-input-ingest").splitlines()[-lines:]
    assert parse_log("\n".join(text)).lines[-1].startswith("ingest: gs://assay/nothing: is empty")


def test_a_signal_and_the_launchers_own_failure_are_told_apart() -> None:
    killed = parse_log(
        "epoch 3\nE1127 07:04:42.1 18 launcher_v2.go:449] Component failed to execute successfully: signal: killed\n"
        "F1127 07:04:42.2 18 main.go:59] failed to execute component: signal: killed\n"
    )
    assert (killed.lines, killed.signal, killed.kubeflow) == (("epoch 3",), "killed", "")
    away = parse_log(
        "done in 12 s\nF1127 07:04:42.2      18 main.go:59] failed to execute component: rpc error: Unavailable\n"
    )
    assert (away.code, away.kubeflow) == (None, "rpc error: Unavailable")


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029")), max_size=6
    )
)
def test_nothing_that_a_step_may_print_breaks_it(printed: list[str]) -> None:
    found = parse_log("\n".join([*printed, "the last line"]))
    assert found.lines[-1:] == ("the last line",)
