"""Cron expressions: what fires when, and what is refused with the way out."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest

from assay.errors import InputError
from pipelines.cluster.cron import parse_cron

# A Saturday.
NOW = datetime(2026, 11, 21, 12, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "first", "second"),
    [
        ("0 0 3 * * *", "2026-11-22 03:00:00", "2026-11-23 03:00:00"),
        ("30 0 12 * * *", "2026-11-22 12:00:30", "2026-11-23 12:00:30"),  # strictly after
        ("*/20 * * * * *", "2026-11-21 12:00:40", "2026-11-21 12:01:00"),
        ("5/50 0 * * * *", "2026-11-21 12:00:55", "2026-11-21 13:00:05"),
        ("0 15,45 12-14/2 * * *", "2026-11-21 12:15:00", "2026-11-21 12:45:00"),
        ("0 0 0 1 jan ?", "2027-01-01 00:00:00", "2028-01-01 00:00:00"),
        ("0 0 0 ? * Mon-FRI", "2026-11-23 00:00:00", "2026-11-24 00:00:00"),
        ("0 0 0 ? * 0", "2026-11-22 00:00:00", "2026-11-29 00:00:00"),
        ("0 0 0 29 2 *", "2028-02-29 00:00:00", None),
        # Both days are given: either will do. A star in one: both must hold.
        ("0 0 0 1 * tue", "2026-11-24 00:00:00", "2026-12-01 00:00:00"),
        ("0 0 0 */10 * tue", "2026-12-01 00:00:00", "2027-05-11 00:00:00"),
        ("@daily", "2026-11-22 00:00:00", "2026-11-23 00:00:00"),
        (" @Weekly ", "2026-11-22 00:00:00", "2026-11-29 00:00:00"),
    ],
)
def test_it_fires_as_the_controller_would(expression: str, first: str, second: str | None) -> None:
    found = [f"{one:%Y-%m-%d %H:%M:%S}" for one in itertools.islice(parse_cron(expression).firings(NOW), 2)]
    assert found[0] == first
    if second is not None:
        assert found[1] == second


def test_a_word_and_spaces_become_the_six_fields_that_the_server_is_given() -> None:
    assert parse_cron("@midnight").expression == "0 0 0 * * *"
    assert parse_cron("  0 0  3 * * MON ").expression == "0 0 3 * * MON"


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("0 3 * * *", 'five fields; .* seconds first. Say "0 0 3 \\* \\* \\*"'),
        ("0 25 * * *", "the hour takes 0 to 23.*Received: 25"),
        ("0 0 3 * *" + " * *", "needs six fields"),
        ("", "needs six fields"),
        ("@every 1h", "needs six fields.*@daily"),
        ("@fortnightly", "needs six fields.*@daily"),
        ("60 0 3 * * *", "the second takes 0 to 59.*Received: 60"),
        ("0 0 3 0 * *", "the day of the month takes 1 to 31.*Received: 0"),
        ("0 0 3 * 13 *", "the month takes 1 to 12 or jan to dec.*Received: 13"),
        ("0 0 3 * * 7", "the day of the week takes 0 to 6 or sun to sat.*Received: 7"),
        ("0 0 3 * mon *", "the month.*Received: mon"),
        ("0 0 5-3 * * *", "the hour.*Received: 5-3"),
        ("0 */0 3 * * *", "the minute.*Received: \\*/0"),
        ("0 0 3 L * *", "the day of the month.*Received: L"),
        ("0 0 1,,3 * * *", "the hour.*Received: \\."),
        ("0 0 -1 * * *", "the hour.*Received: -1"),
        ("0 0 3 30 2 *", "never fires"),
    ],
)
def test_what_kubeflow_would_take_wrongly_or_not_at_all_is_refused_in_one_line(expression: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        parse_cron(expression)
    assert "\n" not in str(refused.value)
