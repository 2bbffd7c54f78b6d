"""What the benchmarks found, as a table on the terminal, as JSON and as docs/performance.md."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from bench.harness import Check, Finding, Measurement, Outcome

FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
PACKAGES = ("keras", "numpy", "opencv-python-headless", "scikit-learn", "keras-tuner")


def machine(cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, Any]:
    """Describe the machine by what decides about speed; nothing that names it."""
    import tensorflow

    from assay.observability.resources import available_cores

    flags: set[str] = set()
    model = platform.machine()
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "flags":
                flags |= set(value.split())
            elif key.strip() == "model name":
                model = value.strip()
    return {
        "cores": available_cores(),
        "processor": model,
        "flags": [flag for flag in FLAGS if flag in flags],
        "python": platform.python_version(),
        # TensorFlow comes in packages of several names.
        "versions": {"tensorflow": tensorflow.__version__, **{name: version(name) for name in PACKAGES}},
    }


def figure(value: float) -> str:
    """Write a figure with three digits, large ones in full."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _unit(measured: Measurement) -> str:
    return {"fraction": "", "x": "x"}.get(measured.unit, f" {measured.unit}")


def _spread(measured: Measurement) -> str:
    if len(measured.values) == 1:
        return f"{figure(measured.median)}{_unit(measured)}"
    return f"{figure(measured.median)}{_unit(measured)} ({figure(measured.low)} to {figure(measured.high)})"


def _verdict(finding: Finding) -> str:
    return "reached" if finding.reached else "missed"


def _target(finding: Finding) -> str:
    return f"{finding.sense} {figure(finding.limit)}{_unit(finding.measured)}"


def to_text(outcomes: Sequence[Outcome]) -> str:
    """Return the table of figures against targets for a terminal."""
    rows = [("", "measured: median (range)", "target", "")]
    for outcome in outcomes:
        for found in outcome.findings:
            rows.append((f"{found.target} {found.name}", _spread(found.measured), _target(found), _verdict(found)))
        for check in outcome.checks:
            rows.append((f"{check.target} {check.name}", figure(check.difference), f"<= {check.limit:g}", _held(check)))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _held(check: Check) -> str:
    return "equal" if check.holds else "DIFFERS"


def to_json(outcomes: Sequence[Outcome], about: dict[str, Any], *, quick: bool) -> str:
    """Return everything that was measured."""
    listed = []
    for outcome in outcomes:
        values = asdict(outcome)
        for row, finding in zip(values["findings"], outcome.findings, strict=True):
            row.update(median=finding.measured.median, reached=finding.reached)
        for row, check in zip(values["checks"], outcome.checks, strict=True):
            row["holds"] = check.holds
        listed.append(values)
    return json.dumps({"machine": about, "quick": quick, "outcomes": listed}, indent=1) + "\n"


def read_json(path: Path, about: dict[str, Any], *, quick: bool) -> list[Outcome]:
    """Return what `to_json` wrote of the same machine, versions and kind of run; nothing where it is of another."""
    if not path.is_file():
        return []
    kept = json.loads(path.read_text(encoding="utf-8"))
    if (kept["machine"], kept["quick"]) != (about, quick):
        return []
    return TypeAdapter(list[Outcome]).validate_python(kept["outcomes"])


def to_markdown(outcomes: Sequence[Outcome], about: dict[str, Any], *, quick: bool) -> str:
    """Return docs/performance.md."""
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    how = "make bench QUICK=1" if quick else "make bench"
    lines = [
        "# Performance",
        "",
        f"Written by `{how}`; all figures are in `bench/results.json`. Ways of doing the same run in turn in one "
        "process, and each figure is the median over the rounds, with its range. `Reference` is the way of the lab "
        "notes: Keras's `ImageDataGenerator` with `flow_from_directory`, float32, the whole network at each step.",
        "",
        f"Measured on {about['cores']} cores of {about['processor']} "
        f"({', '.join(about['flags']) or 'no vector flags'}), Python {about['python']}, {versions}.",
        "",
    ]
    if quick:
        lines += ["This is a quick run: small inputs, few repeats. Its figures are rough.", ""]
    lines += ["## Targets", "", "| target | what | measured: median (range) | wanted | |", "|---|---|---|---|---|"]
    for outcome in outcomes:
        for found in outcome.findings:
            note = f" ({found.note})" if found.note else ""
            cells = [str(found.target), found.name + note, _spread(found.measured), _target(found), _verdict(found)]
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "## Results are the same", "", "| target | what | difference | allowed | |", "|---|---|---|---|---|"]
    for outcome in outcomes:
        for check in outcome.checks:
            cells = [str(check.target), check.name, figure(check.difference), f"{check.limit:g}", _held(check)]
            lines.append(f"| {' | '.join(cells)} |")
    for outcome in outcomes:
        lines += ["", f"## {outcome.title}", ""]
        if outcome.rates:
            lines += ["| way | median | low | high | unit |", "|---|---|---|---|---|"]
            for rate in outcome.rates:
                values = " | ".join(figure(value) for value in (rate.median, rate.low, rate.high))
                lines.append(f"| {rate.name} | {values} | {rate.unit} |")
            lines.append("")
        lines += [f"- {note}" for note in outcome.notes]
    return "\n".join(lines).rstrip() + "\n"
