"""Run the simulations and write docs/statistics.md: ``python -m bench.statistics --rounds 1000``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from bench.statistics.page import METHODS, replaced
from bench.statistics.sections import SECTIONS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "statistics.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page; progress goes to standard error."""
    parser = argparse.ArgumentParser(prog="python -m bench.statistics", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000, help="data sets a cell")
    parser.add_argument("--workers", type=int, default=None, help="processes; default: the cores there are")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--only", choices=SECTIONS, help="write this section anew and leave the others as they are")
    chosen = parser.parse_args(arguments)
    started = time.monotonic()
    with ProcessPoolExecutor(chosen.workers) as pool:
        written = []
        for name, section in SECTIONS.items():
            if chosen.only in (None, name):
                written.append(section(chosen.rounds, pool))
                print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    methods = METHODS.read_text(encoding="utf-8")
    page = chosen.page.read_text(encoding="utf-8") if chosen.only else ""
    text = replaced(page, methods, written) if chosen.only else "\n".join([methods, *written])
    chosen.page.write_text(text, encoding="utf-8")
    print(f"wrote {chosen.page.name}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
