"""The page of experiments: tables, the notes' figures beside, and a page cut short by time that is finished later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from assay.errors import InputError
from pipelines.experiments import Plan, load_plan, run_experiments

BASE = """
version: 1
data: {source: "demo://tissue?images=96&size=16&slides=24&difficulty=0&seed=0"}
augment: {preview_images: 1}
baseline: {model: {name: cnn, options: {depth: 1, width: 2, dense: 0}}}
runtime: {precision: float32, workers: 1}
"""
BUDGET = {"seeds": [0, 1], "epochs": 1}


def plan(folder: Path, **changes: Any) -> Plan:
    """Two sweeps that share their first row."""
    (folder / "base.yaml").write_text(BASE, encoding="utf-8")
    rows = {"first": {"batch_size": 16}, "second": {"optimizer.learning_rate": 0.01}}
    for name, row in rows.items():
        spec = {"version": 1, "name": name, "config": "base.yaml", "reported_by": "notes"}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({**spec, "rows": [{"reported": 0.7}, row]}))
    sweeps = [{"spec": "first.yaml"}, {"spec": "second.yaml", "seeds": [0]}]
    values = {"version": 1, "budget": BUDGET, "sweeps": sweeps, **changes}
    (folder / "plan.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return load_plan(folder / "plan.yaml")


def run(folder: Path, **arguments: Any) -> tuple[int, str]:
    page = folder / "page.md"
    console = Console(file=(folder / "said.txt").open("a", encoding="utf-8"))
    overrides = [f"storage.root={folder / 'store'}"]
    left = run_experiments(plan(folder), overrides, folder / "runs", page, console, **arguments)
    return left, page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_page_cut_short_is_finished_by_the_same_command(tmp_path: Path) -> None:
    left, cut = run(tmp_path, minutes=0.0)
    # The second sweep's first row is the first's.
    assert left == 6
    assert "not run yet" in cut

    left, page = run(tmp_path)
    assert left == 0
    for heading in ("# Experiments", "## Budget", "## Against the notes", "## first", "## second"):
        assert heading in page
    assert "not run yet" not in page
    against = [line for line in page.splitlines() if line.startswith("| cnn")]
    assert len(against) == 2
    assert "0.700" in against[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"budget": {"epoch": 1}}, "'epochs'"),
        ({"sweeps": []}, "sweeps"),
        ({"sweeps": [{"spec": "first.yaml", "seed": 1}]}, "'seeds'"),
    ],
)
def test_a_wrong_plan_is_refused_in_one_line(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as error:
        plan(tmp_path, **changes)
    assert said in str(error.value)


def test_a_missing_plan_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.yaml"):
        load_plan(tmp_path / "absent.yaml")
