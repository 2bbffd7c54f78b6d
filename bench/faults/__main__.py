"""Do faults and write docs/reliability.md: ``python -m bench.faults [kills storage races disk fuzz]``."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from bench.faults import fuzz as fuzzing
from bench.faults.disk import can_mount, runs_on_a_failing_disk
from bench.faults.kills import killed_runs
from bench.faults.page import to_page
from bench.faults.parsers import TARGETS
from bench.faults.proxy import FaultProxy, storage_server
from bench.faults.races import race
from bench.faults.transfers import runs_behind_faults

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
RESULTS = Path(__file__).with_name("results.json")


@contextlib.contextmanager
def bucket() -> Iterator[tuple[str, str]]:
    """Yield the address of a storage server and an empty bucket in it."""
    from google.cloud import storage

    with storage_server() as url:
        os.environ["STORAGE_EMULATOR_HOST"] = url
        name = f"faults-{uuid.uuid4().hex}"
        storage.Client(project="faults").create_bucket(name)
        yield url, f"gs://{name}"


def _plain(outcome: Any) -> dict[str, Any]:
    """Return the fields of an outcome as JSON has them; `dataclasses.asdict` counts the items of a Counter anew."""
    return {name: dict(value) if isinstance(value, Counter) else value for name, value in vars(outcome).items()}


def storage(count: int, minutes: float | None, folder: Path, seed: int) -> dict[str, Any]:
    """Do runs through gs:// behind faults: most with patience, one in five with so little that they stop."""
    found = {}
    for name, runs, share, patience in (("patient", count - count // 5, 0.2, 5.0), ("hasty", count // 5, 0.1, 0.3)):
        with bucket() as (url, root):
            place = folder / name
            outcome = runs_behind_faults(
                url, root, place, runs, share, patience_seconds=patience, seed=seed, minutes=minutes
            )
        found[name] = {**_plain(outcome), "share": share, "patience_seconds": patience}
        print(f"storage, {name}: {outcome.right} of {outcome.runs} right {outcome.first}", file=sys.stderr)
    return found


def races(count: int, folder: Path, seed: int) -> dict[str, Any]:
    """Let processes contend for a champion in a folder, and through gs:// behind faults."""
    (folder / "local").mkdir()
    (folder / "gs").mkdir()
    found = {"local": _plain(race(str(folder / "store"), folder / "local", count, 5, seed))}
    with bucket() as (url, root), FaultProxy(url, share=0.05, seed=seed) as proxy:
        os.environ["STORAGE_EMULATOR_HOST"] = proxy.url
        found["gs"] = {**_plain(race(root, folder / "gs", count, 2, seed)), "faults": sum(proxy.done.values())}
    for name, one in found.items():
        print(f"races, {name}: linearizable {one['linearizable']}, {one['operations']} operations", file=sys.stderr)
    return found


def kills(count: int, minutes: float | None, folder: Path, seed: int) -> dict[str, Any]:
    """Kill steps at random instants, until so many kills are counted or the time is up."""
    say = partial(print, file=sys.stderr, flush=True)
    return _plain(killed_runs(folder, count, seed, fresh=True, minutes=minutes, say=say))


def _cpu_seconds() -> float:
    """Return the processor's seconds of this process and of those that it began, with what they waited for."""
    this = psutil.Process()
    return sum(sum(process.cpu_times()[:4]) for process in (this, *this.children()))


def disk(count: int, folder: Path, seed: int) -> dict[str, Any]:
    """Have the disk fail in the middle of runs."""
    if not can_mount(folder / "probe"):
        sys.exit("disk: mounting a small file system needs root. Name the other parts.")
    return _plain(runs_on_a_failing_disk(folder, count, seed))


def fuzz(seconds: int, folder: Path, seed: int) -> dict[str, Any]:
    """Fuzz every parser for so many seconds."""
    return {target: fuzzing.fuzz(target, seconds, folder / target) for target in TARGETS}


def main(arguments: Sequence[str] | None = None) -> int:
    """Do the parts that are asked for, keep their figures beside those of the others, and write the page of all."""
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__)
    parser.add_argument("parts", nargs="*", help="kills, storage, races, disk, fuzz; none: all")
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument(
        "--minutes", type=float, help="of kills, and of each half of storage: begin nothing after so long"
    )
    parser.add_argument("--runs", type=int, default=100, help="through gs:// behind faults")
    parser.add_argument("--processes", type=int, default=64, help="that contend for a champion")
    parser.add_argument("--disks", type=int, default=60, help="runs whose disk fails")
    parser.add_argument("--seconds", type=int, default=300, help="of fuzzing, for each parser")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args(arguments)
    parts: dict[str, Callable[[Path, int], dict[str, Any]]] = {
        "kills": partial(kills, chosen.kills, chosen.minutes),
        "storage": partial(storage, chosen.runs, chosen.minutes),
        "races": partial(races, chosen.processes),
        "disk": partial(disk, chosen.disks),
        "fuzz": partial(fuzz, chosen.seconds),
    }
    unknown = set(chosen.parts) - set(parts)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: there are {', '.join(parts)}")
    kept = json.loads(chosen.results.read_text()) if chosen.results.exists() else {}
    for name in chosen.parts or parts:
        started, cpu = time.monotonic(), _cpu_seconds()
        with tempfile.TemporaryDirectory() as folder:
            found = parts[name](Path(folder), chosen.seed)
        kept[name] = {
            "found": found,
            "seed": chosen.seed,
            "minutes": (time.monotonic() - started) / 60,
            "cpu_minutes": (_cpu_seconds() - cpu) / 60,
            "day": datetime.datetime.now(datetime.UTC).date().isoformat(),
        }
        chosen.results.write_text(json.dumps(kept, indent=1) + "\n")
        chosen.page.write_text(to_page(kept))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
