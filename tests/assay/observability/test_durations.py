"""Durations as people say them."""

from __future__ import annotations

import pytest

from assay.observability.durations import format_seconds


@pytest.mark.parametrize(("seconds", "text"), [(8.2, "8 s"), (200, "3 min 20 s"), (3900, "1 h 5 min")])
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text
