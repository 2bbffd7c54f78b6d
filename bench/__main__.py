"""Run the benchmarks, all or named: ``python -m bench augmentation --quick``."""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from assay.observability.quiet import silence_tensorflow

NAMES = ("startup", "augmentation", "cnn3", "frozen", "finetuning", "search", "evaluation", "preprocessing")
WITH_WEIGHTS = {"frozen", "finetuning"}
REPOSITORY = Path(__file__).resolve().parent.parent
# A round more or less changes no ratio by much: what counts is that no way has a round to itself.
ROUNDS, QUICK_ROUNDS = 5, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; 1 where two ways give different results."""
    silence_tensorflow()
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog="All of them take about an hour, and 8 GB in the folder for temporary files (TMPDIR).",
    )
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], help="which benchmarks; none: all")
    parser.add_argument("--quick", action="store_true", help="small inputs: all targets within three minutes")
    parser.add_argument("--weights", default="imagenet", help="VGG16's: imagenet, a path, or none (random, as fast)")
    parser.add_argument("--results", type=Path, default=REPOSITORY / "bench" / "results.json")
    parser.add_argument("--page", type=Path, default=REPOSITORY / "docs" / "performance.md")
    chosen = parser.parse_args(arguments)
    from assay.errors import AssayError
    from bench.harness import Outcome, Settings
    from bench.report import machine, read_json, to_json, to_markdown, to_text
    from bench.training import FLOAT32, set_up, vgg16

    set_up()
    names = chosen.names or list(NAMES)
    # Pipelines are started in folders of their own.
    weights = str(Path(chosen.weights).resolve()) if Path(chosen.weights).is_file() else chosen.weights
    try:
        # Before an hour of measuring: the weights may have to be fetched, or cannot be.
        if not WITH_WEIGHTS.isdisjoint(names):
            vgg16(FLOAT32, weights, None)
    except AssayError as error:
        parser.error(f"{error} Random weights are as fast: --weights none")
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="assay-bench-") as folder:
        rounds = QUICK_ROUNDS if chosen.quick else ROUNDS
        settings = Settings(Path(folder), quick=chosen.quick, rounds=rounds, weights=weights)
        for name in names:
            print(f"{name} ...", file=sys.stderr, flush=True)
            started = time.monotonic()
            outcomes.append(importlib.import_module(f"bench.{name}").run(settings))
            print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
            print(to_text(outcomes[-1:]), end="\n\n", file=sys.stderr, flush=True)
    print(to_text(outcomes))
    # A part that was measured again takes the place of its last measurement; some parts alone are no page.
    about = machine()
    found = {one.name: one for one in [*read_json(chosen.results, about, quick=chosen.quick), *outcomes]}
    if set(found) == set(NAMES):
        whole = [found[name] for name in NAMES]
        chosen.results.write_text(to_json(whole, about, quick=chosen.quick), encoding="utf-8")
        chosen.page.write_text(to_markdown(whole, about, quick=chosen.quick), encoding="utf-8")
    return 0 if all(check.holds for outcome in outcomes for check in outcome.checks) else 1


if __name__ == "__main__":
    sys.exit(main())
