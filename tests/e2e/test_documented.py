"""Every metric that a document names is written by a step of a real run: the tiny demo, and one row of a sweep."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from assay import steps
from assay.config import parse_config
from assay.sweep.spec import SweepSpec, resolve

ROOT = Path(__file__).parents[2]
READMES = sorted(ROOT.glob("components/*/README.md"))
# In running text a metric is told from a config's key or a file by how such names begin and end.
METRIC = re.compile(r"`((?:train|valid|val|test)_\w+|\w+_(?:seconds|mb|megabytes|per_second|auc|low|high))`")


@pytest.fixture(scope="module")
def written(workplace: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The names of the metrics that each step wrote."""
    run = min((workplace / "runs" / "steps").iterdir())
    found = {path.parent.name: set(json.loads(path.read_text(encoding="utf-8"))) for path in run.glob("*/metrics")}
    dataset, policy, out = run / "preprocess" / "dataset", run / "augment" / "policy", tmp_path_factory.mktemp("sweep")
    base = parse_config({"version": 1, "baseline": {"model": {"name": "compact"}, "epochs": 1}})
    spec = SweepSpec.model_validate({"version": 1, "name": "one", "config": "base.yaml", "seeds": [0], "rows": [{}]})
    shared = {
        "sweep": resolve(spec, base, "one").to_json(),
        "dataset_path": str(dataset),
        "metrics_path": str(out / "metrics"),
    }
    row = steps.sweep_row(
        **shared,
        item='{"row": 1, "seed": 0}',
        storage_root=str(out / "store"),
        policy_path=str(policy),
        record_path=str(out / "record"),
    )
    table = steps.sweep_table(
        **shared, record_paths=[str(out / "record")], page_path=str(out / "page"), table_path=str(out / "table")
    )
    return {**found, "sweep_row": set(row.metrics), "sweep_table": set(table.metrics)}


@pytest.mark.parametrize("path", READMES, ids=lambda path: path.parent.name)
def test_a_component_names_metrics_that_its_step_writes(path: Path, written: dict[str, set[str]]) -> None:
    lines = re.findall(r"^\| metrics \| Metrics \| (.*)\|$", path.read_text(encoding="utf-8"), re.MULTILINE)
    named = {name for line in lines for name in re.findall(r"`(\w+)`", line)}
    # The step that runs at the end of a run on a cluster measures nothing.
    assert bool(named) == (path.parent.name in written)
    assert named <= written.get(path.parent.name, set())


@pytest.mark.parametrize("path", [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *READMES], ids=str)
def test_a_metric_in_running_text_is_written_by_some_step(path: Path, written: dict[str, set[str]]) -> None:
    known = set.union(*written.values())
    assert not set(METRIC.findall(path.read_text(encoding="utf-8"))) - known
