"""Progress of long work: events for a terminal that draws bars, plain lines everywhere else.

A pipeline step runs in a subprocess or a pod, where no bar can be drawn. It therefore only *reports*:
with ``ASSAY_EVENTS`` set, each report is appended to that file as one JSON line, which the local runner
follows and draws; without it, a plain line is printed at most every few seconds.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

EVENTS_VARIABLE = "ASSAY_EVENTS"
LINE_INTERVAL_SECONDS = 10.0
EVENT_INTERVAL_SECONDS = 0.2


def emit(event: dict[str, Any]) -> bool:
    """Append one event to the file named by ``ASSAY_EVENTS``; return whether that was possible."""
    path = os.environ.get(EVENTS_VARIABLE)
    if not path:
        return False
    try:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": time.time(), **event}, default=str) + "\n")
    except OSError:
        # A full disk ends what writes results; that it is not shown must not.
        return False
    return True


def log(message: str) -> None:
    """Tell the user one line: what a step found or decided."""
    if not emit({"event": "log", "message": message}):
        print(message, flush=True)


class Progress:
    """A counter of work done, reported at most a few times a second.

    Use as a context manager::

        with Progress("decode images", total=6000, unit="images") as progress:
            progress.advance(64)
            progress.note("loss 0.41")

    Args:
        task: What is being done, in a few words.
        total: Units of work in all, or None where that is unknown.
        unit: What is counted.
    """

    def __init__(self, task: str, total: int | None = None, unit: str = "items") -> None:
        self.task = task
        self.total = total
        self.unit = unit
        self.done = 0
        self._note = ""
        self._started = time.monotonic()
        self._last = self._started

    def __enter__(self) -> Progress:
        self._started = self._last = time.monotonic()
        emit({"event": "progress", "task": self.task, "done": 0, "total": self.total, "unit": self.unit})
        return self

    def advance(self, count: int = 1) -> None:
        """Count ``count`` more units as done."""
        self.done += count
        self._report(final=False)

    def note(self, text: str) -> None:
        """Show ``text`` beside the counter, such as the present loss."""
        self._note = text
        self._report(final=False)

    def __exit__(self, *exc: object) -> None:
        self._report(final=True)

    def _report(self, *, final: bool) -> None:
        now = time.monotonic()
        evented = bool(os.environ.get(EVENTS_VARIABLE))
        interval = EVENT_INTERVAL_SECONDS if evented else LINE_INTERVAL_SECONDS
        if not final and now - self._last < interval:
            return
        self._last = now
        if evented:
            emit(
                {
                    "event": "progress",
                    "task": self.task,
                    "done": self.done,
                    "total": self.total,
                    "unit": self.unit,
                    "note": self._note,
                    "final": final,
                }
            )
            return
        seconds = now - self._started
        of_total = f" of {self.total:,}" if self.total is not None else ""
        rate = f", {self.done / seconds:,.0f}/s" if seconds > 0.5 else ""
        note = f" ({self._note})" if self._note else ""
        print(f"{self.task}: {self.done:,}{of_total} {self.unit} in {seconds:.0f} s{rate}{note}", file=sys.stdout)
        sys.stdout.flush()
