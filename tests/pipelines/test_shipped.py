"""What is shipped beside the code: configs and sweeps that are right, each saying what it is for."""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.config import load_config
from assay.sweep.spec import load_sweep
from pipelines.experiments import load_plan

FOLDER = Path(__file__).parents[2] / "pipelines"
CONFIGS = sorted((FOLDER / "configs").glob("*.yaml"))
SWEEPS = sorted((FOLDER / "sweeps").glob("*.yaml"))


def test_the_ones_that_are_promised_are_there() -> None:
    assert {"demo", "pcam", "brain_mri", "fhr", "sensors", "cats_dogs"} <= {path.stem for path in CONFIGS}
    named = {"fhr_cnn", "fhr_cnn2", "pcam_depths", "pcam_optimizers", "pcam_unfreeze", "pcam_batch", "pcam_augment"}
    assert named <= {path.stem for path in SWEEPS}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_is_right(path: Path) -> None:
    load_config(path)


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_sweep_is_right_and_its_rows_differ(path: Path) -> None:
    assert len(load_sweep(path).rows) > 1


@pytest.mark.parametrize("path", [*CONFIGS, *SWEEPS, FOLDER / "experiments.yaml"], ids=lambda path: path.stem)
def test_a_header_says_what_it_is_for_how_to_run_it_and_what_it_costs(path: Path) -> None:
    header = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
    said = [line.split(":")[0] for line in header if ":" in line]
    wanted = ["# What for", "# Command", "# Cost"] + (["# Expect"] if path.stem != "experiments" else [])
    assert set(wanted) <= set(said)


def test_the_sgd_that_does_not_learn_is_among_the_optimizers() -> None:
    rows = load_sweep(FOLDER / "sweeps" / "pcam_optimizers.yaml").rows
    optimizers = [(row.config.baseline.optimizer.name, row.config.baseline.optimizer.learning_rate) for row in rows]
    assert ("sgd", 0.0001) in optimizers
    assert ("adam", 0.0001) in optimizers


def test_the_budget_of_the_experiments_reaches_every_row() -> None:
    plan = load_plan(FOLDER / "experiments.yaml")
    budget = plan.experiments.quick
    for sweep in plan.sweeps(budget, ['data.source="demo://tissue"'], quick=True):
        assert sweep.spec.seeds == budget.seeds
        for row in sweep.rows:
            assert row.config.data.source == "demo://tissue"
            assert row.config.data.limit_per_class == budget.images
            assert row.config.baseline.epochs == budget.epochs
            assert row.config.finetune.epochs in (0, budget.finetune_epochs)
