"""Coverage-guided fuzzing of `bench.faults.parsers`: ``python -m bench.faults.fuzz --seconds 60`` (``make fuzz``).

Atheris (libFuzzer) mutates inputs towards code that none has reached, each target in a process of its own. The inputs
that reached something new are minimised at the end. The input of a finding is kept in the folder.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# What is instrumented: the parsers, not the libraries under them.
INSTRUMENTED = ("assay.config", "assay.data", "assay.models.info", "assay.storage.arrays", "assay.augmentation.policy")
LONGEST_INPUT = 4096


def fuzz(target: str, seconds: int, folder: Path) -> dict[str, Any]:
    """Fuzz a target in a process of its own.

    Args:
        target: One of `parsers.TARGETS`.
        seconds: For how long.
        folder: Gets ``corpus/`` and the inputs of findings, as ``crash-*``.

    Returns:
        ``executions``, ``seconds``, ``findings`` (the last line of each, by the file of its input), ``corpus`` bytes.
    """
    from bench.faults.parsers import CORPUS, seeds

    corpus, small = folder / "corpus", folder / "small"
    for place in (corpus, small):
        place.mkdir(parents=True)
    for number, seed in enumerate(seeds(target)):
        (corpus / f"seed{number}").write_bytes(seed)
    for kept in CORPUS.glob(f"{target}-*"):
        (corpus / kept.name).write_bytes(kept.read_bytes())
    started = time.monotonic()
    options = [f"-max_total_time={seconds}", f"-max_len={LONGEST_INPUT}", "-rss_limit_mb=3000", "-timeout=25"]
    program = folder / "program"  # libFuzzer starts itself anew where it minimises
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m bench.faults.fuzz --target {target} "$0" "$@"\n')
    program.chmod(0o755)
    command = [str(program.absolute())]
    executions = 0
    findings: dict[str, str] = {}
    while (left := seconds - (time.monotonic() - started)) > 1 and len(findings) < 5:
        options[0] = f"-max_total_time={int(left)}"
        artifacts = [f"-artifact_prefix={folder}/", "-print_final_stats=1"]
        known = set(folder.iterdir())
        done = subprocess.run([*command, str(corpus), *options, *artifacts], text=True, capture_output=True)
        said = done.stderr + done.stdout
        executions += sum(int(line.split()[-1]) for line in said.splitlines() if "number_of_executed_units" in line)
        for path in set(folder.iterdir()) - known:
            lines = [
                line for line in said.splitlines() if ("Error" in line or "Exception" in line) and "==" not in line
            ]
            findings[path.name] = lines[-1].strip()[:200] if lines else f"ended with {done.returncode}"
        if done.returncode == 0:
            break
        if set(folder.iterdir()) == known:
            raise RuntimeError(f"{target}: atheris ended with {done.returncode}: {said[-500:]}")
    subprocess.run([*command, "-merge=1", str(small), str(corpus)], capture_output=True)
    return {
        "executions": executions,
        "seconds": round(time.monotonic() - started),
        "findings": findings,
        "corpus": sum(path.stat().st_size for path in small.iterdir()),
    }


def _child(target: str, rest: Sequence[str]) -> None:
    import atheris

    with atheris.instrument_imports(include=list(INSTRUMENTED)):
        from bench.faults import parsers

    atheris.Setup(list(rest), lambda data: parsers.judge(parsers.TARGETS[target], data))
    atheris.Fuzz()


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz all targets one after another and print what was found; 1 where something was."""
    if (arguments or sys.argv[1:])[:1] == ["--target"]:  # a process of its own: from here on options are libFuzzer's
        _child(sys.argv[2], sys.argv[3:])
        return 0
    from bench.faults.parsers import TARGETS

    parser = argparse.ArgumentParser(prog="python -m bench.faults.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="of each target")
    parser.add_argument("--targets", nargs="*", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--folder", type=Path, default=Path("build/fuzz"))
    chosen = parser.parse_args(arguments)
    found = {}
    for target in chosen.targets:
        folder = chosen.folder / f"{target}-{os.getpid()}"
        found[target] = fuzz(target, chosen.seconds, folder)
        print(json.dumps({target: found[target]}), flush=True)
    return int(any(one["findings"] for one in found.values()))


if __name__ == "__main__":
    raise SystemExit(main())
