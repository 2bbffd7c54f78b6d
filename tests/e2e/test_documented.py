"""Every metric that a document names is written by a step of a real run: the tiny demo, and one row of a sweep."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from assay import steps
from assay.config import parse_config
from assay.sweep.spec import SweepSpec, resolve
from pipelines.graphs.order import STEPS

ROOT = Path(__file__).parents[2]
READMES = sorted(ROOT.glob("components/*/README.md"))
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *READMES]
# In running text a metric is told from a config's key or a file by how such names begin and end.
METRIC = re.compile(r"`((?:train|valid|val|test)_\w+|\w+_(?:seconds|mb|megabytes|per_second|auc|low|high))`")


@pytest.fixture(scope="module")
def written(workplace: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The names of the metrics that each step reported or left in a file."""
    log = min((workplace / "runs").glob("*/events.jsonl")).read_text(encoding="utf-8")
    ended = [event for event in map(json.loads, log.splitlines()) if event["event"] == "finished"]
    found = {event["step"]: set(event["metrics"]) for event in ended}
    run, out = min((workplace / "runs" / "steps").iterdir()), tmp_path_factory.mktemp("sweep")
    for path in run.glob("*/*/metrics.json"):
        found[path.parts[-3]] |= set(json.loads(path.read_text(encoding="utf-8")))
    base = parse_config({"version": 1, "baseline": {"model": {"name": "compact"}, "epochs": 1}})
    spec = SweepSpec.model_validate({"version": 1, "name": "one", "config": "base.yaml", "seeds": [0], "rows": [{}]})
    shared = {
        "sweep": resolve(spec, base, "one").to_json(),
        "storage_root": str(out / "store"),
        "dataset_path": str(run / "preprocess" / "dataset"),
    }
    row = steps.sweep_row(**shared, item='{"row": 1, "seed": 0}', policy_path=str(run / "augment" / "policy"))
    table = steps.sweep_table(
        **shared, records=[row.value], run_id="", page_path=str(out / "page"), table_path=str(out / "table")
    )
    return {**found, "sweep_row": set(row.metrics), "sweep_table": set(table.metrics)}


@pytest.mark.parametrize("path", READMES, ids=lambda path: path.parent.name)
def test_a_component_names_metrics_that_its_step_writes(path: Path, written: dict[str, set[str]]) -> None:
    text = path.read_text(encoding="utf-8")
    rows = re.findall(r"^\| \w+ \| Metrics \| (.*)\|$", text, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)} | set(METRIC.findall(text))
    assert named <= written.get(path.parent.name, set())


def test_every_step_of_a_run_measures_something(written: dict[str, set[str]]) -> None:
    # Where a step measured nothing, no document could name what it does not write.
    assert {*STEPS, "sweep_row", "sweep_table"} <= {step for step, names in written.items() if names}
    assert "test_auc" in written["evaluate"]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_metric_in_running_text_is_written_by_some_step(path: Path, written: dict[str, set[str]]) -> None:
    known = set.union(*written.values())
    assert not set(METRIC.findall(path.read_text(encoding="utf-8"))) - known
