"""Cron as Kubeflow reads it: six fields, seconds first.

Kubeflow's controller parses with robfig/cron 1.2, whose rules these are. It takes five fields, too, and then the first
for seconds: what was meant for three at night would start a run every hour.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from assay.errors import InputError

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
FIELDS: tuple[tuple[str, range, tuple[str, ...]], ...] = (
    ("second", range(60), ()),
    ("minute", range(60), ()),
    ("hour", range(24), ()),
    ("day of the month", range(1, 32), ()),
    ("month", range(1, 13), MONTHS),
    ("day of the week", range(7), DAYS),
)
DESCRIPTORS = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}
PART = re.compile(r"(?:([*?])|([0-9a-z]+)(?:-([0-9a-z]+))?)(?:/([0-9]+))?", re.IGNORECASE)
# The controller looks no further either.
HORIZON_DAYS = 5 * 366


@dataclass(frozen=True)
class Cron:
    """When something fires.

    Attributes:
        expression: Six fields with one space between them.
        values: Of each field, those at which it fires.
        both_days: Whether the day of the month and that of the week must hold; else either will do.
    """

    expression: str
    values: tuple[frozenset[int], ...]
    both_days: bool

    def firings(self, after: datetime) -> Iterator[datetime]:
        """Yield the times in UTC at which it fires after a time, in order, as far as five years ahead."""
        seconds, minutes, hours, days, months, weekdays = (sorted(values) for values in self.values)
        for offset in range(HORIZON_DAYS):
            day = after.date() + timedelta(days=offset)
            fits = (day.day in days, day.isoweekday() % 7 in weekdays)
            if day.month not in months or not (all(fits) if self.both_days else any(fits)):
                continue
            for clock in itertools.product(hours, minutes, seconds):
                moment = datetime.combine(day, time(*clock), UTC)
                if moment > after:
                    yield moment


def parse_cron(text: str) -> Cron:
    """Read a cron expression, or a word for one such as ``@daily``.

    Raises:
        InputError: It is not one of six fields, a field cannot be read, or it never fires.
    """
    fields = DESCRIPTORS.get(text.strip().lower(), text).split()
    expression = " ".join(fields)
    if len(fields) == 5:
        meant = parse_cron(f"0 {expression}").expression
        raise InputError(f'cron "{expression}": five fields; Kubeflow\'s has six, seconds first. Say "{meant}".')
    if len(fields) != 6:
        raise InputError(
            f'cron "{expression}": needs six fields, second minute hour day month weekday, or one of '
            f'{", ".join(DESCRIPTORS)}. Every night at three is "0 0 3 * * *".'
        )
    values = tuple(_values(expression, field, *rules) for field, rules in zip(fields, FIELDS, strict=True))
    cron = Cron(expression, values, both_days=bool(re.search("[*?]", fields[3] + fields[5])))
    if next(cron.firings(datetime.now(UTC)), None) is None:
        raise InputError(f'cron "{expression}": never fires: no such day is in the next five years.')
    return cron


def _values(expression: str, field: str, name: str, allowed: range, words: tuple[str, ...]) -> frozenset[int]:
    def number(text: str) -> int:
        return words.index(text.lower()) + allowed.start if text.lower() in words else int(text)

    found: set[int] = set()
    for part in field.split(","):
        try:
            match = PART.fullmatch(part)
            star, first, last, step = match.groups() if match else (None, "", None, None)
            low = allowed[0] if star else number(first)
            # A step without an end goes on to the last value.
            high = number(last) if last else allowed[-1] if star or step else low
            reached = range(low, high + 1, int(step or 1))
        except ValueError:  # no number, or a step of nought
            reached = range(0)
        if not reached or low not in allowed or high not in allowed:
            named = f" or {words[0]} to {words[-1]}" if words else ""
            raise InputError(
                f'cron "{expression}": the {name} takes {allowed[0]} to {allowed[-1]}{named}, with ranges (1-5), '
                f"lists (1,3) and steps (*/2). Received: {part}."
            )
        found.update(reached)
    return frozenset(found)
