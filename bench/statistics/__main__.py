"""Run the simulations and write docs/statistics.md: ``python -m bench.statistics --rounds 1000``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from bench.statistics.page import to_page
from bench.statistics.simulate import cells, coverage, false_promotions, power

PAGE = Path(__file__).resolve().parents[2] / "docs" / "statistics.md"
LOOKS = (1, 12, 52)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page; progress goes to standard error."""
    parser = argparse.ArgumentParser(prog="python -m bench.statistics", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000, help="data sets a cell")
    parser.add_argument("--workers", type=int, default=None, help="processes; default: the cores there are")
    parser.add_argument("--page", type=Path, default=PAGE)
    chosen = parser.parse_args(arguments)
    started, found = time.monotonic(), []
    with ProcessPoolExecutor(chosen.workers) as pool:
        for number, one in enumerate(pool.map(partial(coverage, rounds=chosen.rounds), cells()), start=1):
            found.append(one)
            print(f"{number} of {len(cells())} kinds of data sets", end="\r", file=sys.stderr, flush=True)
        promotions = {
            (retrainings, one_test_set): false_promotions(retrainings, 20 * chosen.rounds, one_test_set=one_test_set)
            for retrainings in LOOKS
            for one_test_set in (True, False)
        }
        powers = {look: power(0.02, 0.93, 1000, look, chosen.rounds) for look in LOOKS}
    chosen.page.write_text(to_page(found, promotions, powers, chosen.rounds), encoding="utf-8")
    print(f"\nwrote {chosen.page.name} in {time.monotonic() - started:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
