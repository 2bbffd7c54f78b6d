"""Do faults and write docs/reliability.md: ``python -m bench.faults [storage races disk kills]``."""

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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from bench.faults.page import to_page
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


def storage(count: int, folder: Path, seed: int) -> dict[str, Any]:
    """Do runs through gs:// behind faults: most with patience, one in five with so little that they stop."""
    found = {}
    for name, runs, share, patience in (("patient", count - count // 5, 0.2, 5.0), ("hasty", count // 5, 0.1, 0.05)):
        with bucket() as (url, root):
            place = folder / name
            outcome = runs_behind_faults(url, root, place, runs, share, patience_seconds=patience, seed=seed)
        found[name] = {**asdict(outcome), "share": share, "patience_seconds": patience}
        print(f"storage, {name}: {outcome.right} of {outcome.runs} right {outcome.first}", file=sys.stderr)
    return found


def races(count: int, folder: Path, seed: int) -> dict[str, Any]:
    """Let processes contend for a champion in a folder, and through gs:// behind faults."""
    (folder / "local").mkdir()
    (folder / "gs").mkdir()
    found = {"local": asdict(race(str(folder / "store"), folder / "local", count, 5, seed))}
    with bucket() as (url, root), FaultProxy(url, share=0.05, seed=seed) as proxy:
        os.environ["STORAGE_EMULATOR_HOST"] = proxy.url
        found["gs"] = {**asdict(race(root, folder / "gs", count, 2, seed)), "faults": sum(proxy.done.values())}
    for name, one in found.items():
        print(f"races, {name}: linearizable {one['linearizable']}, {one['operations']} operations", file=sys.stderr)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Do the parts that are asked for, keep their figures beside those of the others, and write the page of all."""
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__)
    parser.add_argument("parts", nargs="*", help="storage, races; none: all")
    parser.add_argument("--runs", type=int, default=100, help="through gs:// behind faults")
    parser.add_argument("--processes", type=int, default=64, help="that contend for a champion")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args(arguments)
    parts: dict[str, Callable[[Path, int], dict[str, Any]]] = {
        "storage": partial(storage, chosen.runs),
        "races": partial(races, chosen.processes),
    }
    unknown = set(chosen.parts) - set(parts)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: there are {', '.join(parts)}")
    kept = json.loads(chosen.results.read_text()) if chosen.results.exists() else {}
    for name in chosen.parts or parts:
        started, cpu = time.monotonic(), sum(os.times()[:4])
        with tempfile.TemporaryDirectory() as folder:
            found = parts[name](Path(folder), chosen.seed)
        kept[name] = {
            "found": found,
            "seed": chosen.seed,
            "minutes": (time.monotonic() - started) / 60,
            "cpu_minutes": (sum(os.times()[:4]) - cpu) / 60,
            "day": datetime.datetime.now(datetime.UTC).date().isoformat(),
        }
        chosen.results.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
        chosen.page.write_text(to_page(kept))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
