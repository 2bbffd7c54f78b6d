"""The page of what was tried: docs/reliability.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

HEAD = """# Reliability

Faults that were done on purpose, and what came of them. `make test-faults` does them and writes this page;
`make test` does a share of them. A part that is not here was not measured.
"""


def to_page(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page of the figures that are there, by part; see `bench.faults.__main__`."""
    parts = {"storage": _storage, "races": _races}
    sections = [
        f"{write(results[name]['found'])}\n\n{_cost(results[name])}" for name, write in parts.items() if name in results
    ]
    return "\n".join([HEAD, *(f"{section}\n" for section in sections)]).rstrip() + "\n"


def _cost(part: Mapping[str, Any]) -> str:
    return (
        f"Measured on {part['day']} with seed {part['seed']}, in {part['minutes']:.1f} minutes "
        f"({part['cpu_minutes']:.1f} of a core)."
    )


def _table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    lines: list[Sequence[object]] = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def _storage(found: Mapping[str, Mapping[str, Any]]) -> str:
    rows: list[list[object]] = [
        [
            f"{one['patience_seconds']:g} s",
            f"{one['share']:.0%}",
            one["requests"],
            sum(one["faults"].values()),
            f"{one['right']} of {one['runs']}",
            one["stops"],
            one["wrong"] + one["bugs"],
        ]
        for one in found.values()
    ]
    kinds: dict[str, int] = {}
    for one in found.values():
        for kind, count in one["faults"].items():
            kinds[kind] = kinds.get(kind, 0) + count
    listed = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
    head = ["patience", "spoiled", "requests", "faults", "ended right", "stopped with one line, called again", "wrong"]
    return f"""## Storage that fails

A real server of Google Cloud Storage's JSON API behind a proxy that spoils a share of all requests. A run reads a
source, writes and reads the snapshot, makes the dataset, replaces checkpoints, publishes a model, makes it champion and
fetches it; "right" is what a run without faults leaves, byte by byte, with one version and one change of the champion.
Patience is how long the store tries again without getting on (120 s where nothing else is said).

{_table(head, rows)}

Faults by kind: {listed}. `cut`: half of an answer arrives; `flip`: one bit of what is downloaded, `flip sent`: of
what is uploaded; `lost`: the request arrives and its answer does not; `slow`: a third of a second later."""


def _races(found: Mapping[str, Mapping[str, Any]]) -> str:
    names = {"local": "a folder", "gs": "`gs://`, one request in twenty spoiled"}
    rows: list[list[object]] = [
        [
            names[name],
            one["processes"],
            one["paused"],
            one["operations"],
            one["swapped"],
            one["refused"],
            "yes" if one["linearizable"] else "**no**",
            "yes" if one["recorded"] else "**no**",
        ]
        for name, one in found.items()
    ]
    head = ["store", "processes", "stops", "operations", "swaps done", "refused", "linearizable", "record is whole"]
    return f"""## A champion that many change at a time

Processes read the champion and swap it, and are stopped (SIGSTOP) at random instants. What each saw and did is checked:
is there an order, each operation between its call and its return, in which all of it is right? And does the registry's
record hold exactly the swaps that were told done, each after the one that it was to follow?

{_table(head, rows)}"""
