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
    parts = {"kills": _kills, "storage": _storage, "races": _races, "disk": _disk, "fuzz": _fuzz}
    sections = [
        f"{write(results[name]['found'])}\n\n{_cost(results[name])}" for name, write in parts.items() if name in results
    ]
    return "\n".join([HEAD, *(f"{section}\n" for section in sections)]).rstrip() + "\n"


def _cost(part: Mapping[str, Any]) -> str:
    cores = f" ({part['cpu_minutes']:.1f} of a core)" if "cpu_minutes" in part else ""
    return f"Measured on {part['day']} with seed {part['seed']}, in {part['minutes']:.1f} minutes{cores}."


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
            one["unfinished"],
            one["wrong"] + one["bugs"],
        ]
        for one in found.values()
    ]
    kinds: dict[str, int] = {}
    for one in found.values():
        for kind, count in one["faults"].items():
            kinds[kind] = kinds.get(kind, 0) + count
    listed = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
    head = [
        "patience",
        "spoiled",
        "requests",
        "faults",
        "ended right",
        "stopped with one line, called again",
        "uploads given up",
        "wrong",
    ]
    return f"""## Storage that fails

A real server of Google Cloud Storage's JSON API behind a proxy that spoils a share of all requests. A run reads a
source, writes and reads the snapshot, makes the dataset, replaces checkpoints, publishes a model, makes it champion and
fetches it; "right" is what a run without faults leaves, byte by byte, with one version and one change of the champion.
Patience is how long the store tries again without getting on (120 s where nothing else is said). A run that stops
within an upload has claimed the number of a version that it does not write; the files are no one's then, and are
removed here by what `assay gc` does, before the rest is compared. Patience shorter than a request takes is none: with
0.05 s, tried before, any fault ends a call, each call reads its source anew, and 2 of 38 runs had not ended in 30.

{_table(head, rows)}

Faults by kind: {listed}.

`cut`: half of an answer arrives; `flip`: one bit of what is downloaded, `flip sent`: of
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


def _kills(found: Mapping[str, Any]) -> str:
    kills = found["kills"]
    total = sum(kills.values())
    rows: list[list[object]] = [
        ["kills", f"{total:,} ({', '.join(f'{step} {count}' for step, count in kills.items())})"],
        ["runs that were compared", found["runs"]],
        ["largest difference", f"{found['largest_difference']:g}"],
        ["checkpoints that were read after a kill", f"{found['checkpoints']:,}"],
        ["other differences", _listed(found["differing"])],
        ["attempts that ended by themselves, and not well", _listed(found["failures"])],
        ["seconds of the processor lost a kill", f"{found['lost_cpu_seconds'] / max(1, total):.2f}"],
        ["uploads of a version that were given up", found["unfinished"]],
        ["processes left behind", _listed(found["orphans"])],
        ["files left behind in storage", ", ".join(f"{n} {name}" for name, n in found["leftovers"].items()) or "none"],
    ]
    return f"""## Killed at random instants

Each step of a tiny run (a CNN of 4 epochs, a search of short trials, a pretrained network's place taken by three
convolutions and fine-tuned in two phases from cached features, all judged and one promoted; deterministic, float32,
a checkpoint after every step of training) is killed with SIGKILL at random instants of its work, one to four times, the
short steps up to sixteen, and called again. A search is killed once or twice: a trial whose process dies three times
without a step of progress is given up. The run that ends is compared with one that nothing disturbed: weights, metrics,
histories, trials, predictions, the evaluation, versions and changes of the champion. Times are not compared. After each
kill of a training its checkpoints are read: none may be damaged, gone or further back than before. What a killed
process had half written goes when the same is written again; the files of a version whose upload was killed stay until
`assay gc` takes them, as is done here before files are compared.

So that a kill costs a second, processes are forked by one that has imported what steps import and has run nothing of
it. The first of the runs that were compared is one whose steps began as processes with nothing imported: what they gave
and what forked ones give are the same, bit by bit.

{_table(["what", "how it was"], rows)}"""


def _disk(found: Mapping[str, Any]) -> str:
    rows: list[list[object]] = [
        [
            "runs",
            f"{sum(found['faults'].values())} ({', '.join(f'{n} {kind}' for kind, n in found['faults'].items())})",
        ],
        ["stopped with one line", found["stops"]],
        ["ended well all the same", found["through"]],
        ["called again with the disk as before, and right", found["right"]],
        ["anything else", _listed(found["bugs"])],
    ]
    return f"""## A disk that fails

A file system of a few megabytes that fills up, turns read-only or takes its permission back at a random instant of a
run like those above, here without `gs://`.

{_table(["what", "how often"], rows)}"""


def _fuzz(found: Mapping[str, Mapping[str, Any]]) -> str:
    rows: list[list[object]] = [
        [target, f"{one['executions']:,}", f"{one['seconds'] / 60:.1f}", _listed(list(one["findings"].values()))]
        for target, one in found.items()
    ]
    return f"""## What parses the files of others

Coverage-guided fuzzing (Atheris) from files as they should be and the corpus in `bench/faults/corpus`. A parser may
give a value or refuse in one line; anything else is a finding. `make fuzz` does it alone. Found and mended before: a
TIFF whose tag of colours holds several values (`TypeError`), JSON nested some thousands deep (`RecursionError`), a
checkpoint whose checksum fits and that holds no arrays (`EOFError`), a warning of NumPy's at values beyond float32.

{_table(["parser", "inputs", "minutes", "findings"], rows)}"""


def _listed(things: Sequence[str]) -> str:
    shown = "; ".join(thing.replace("|", "\\|") for thing in things[:3])
    return f"{len(things)}: {shown}" if things else "none"
