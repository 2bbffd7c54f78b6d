"""Steps killed at random instants: what came of them is told as it is, and it is what an undisturbed run gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.faults.kills import STEPS, Outcome, compare, killed_runs


@pytest.mark.parametrize(
    ("expected", "found", "differing"),
    [
        ({"w": np.zeros(3)}, {"w": np.zeros(3)}, 0),
        ({"w": np.zeros(3)}, {"w": np.array([0, 0, 1e-9])}, 1),
        ({"w": np.zeros(3)}, {"w": np.zeros(4)}, 1),
        ({"auc": 0.5, "train_seconds": 3}, {"auc": 0.5, "train_seconds": 4}, 0),
        ({"auc": 0.5}, {"auc": 0.6}, 1),
        ({"auc": 0.5}, {}, 1),
        ([{"epoch": "1"}], [{"epoch": "1"}, {"epoch": "2"}], 1),
        ({"best": "search"}, {"best": "baseline"}, 1),
        ({"auc": float("nan")}, {"auc": float("nan")}, 0),
    ],
)
def test_what_differs_is_told(expected: object, found: object, differing: int) -> None:
    outcome = Outcome()
    compare(expected, found, outcome, "run 0")
    assert len(outcome.differing) == differing


def nothing_is_lost(outcome: Outcome) -> None:
    assert (outcome.differing, outcome.failures, outcome.orphans) == ([], [], [])
    assert outcome.largest_difference == 0.0
    assert not outcome.leftovers


def test_a_training_that_is_killed_ends_as_one_that_was_left_alone(tmp_path: Path) -> None:
    # A seed of few kills: the training's falls into its middle, where there are checkpoints.
    outcome = killed_runs(tmp_path, kills=1, seed=8922, most_a_step=1, steps=STEPS[: STEPS.index("search")])
    assert outcome.kills.total() >= 1
    assert outcome.runs == 1
    nothing_is_lost(outcome)


@pytest.mark.slow
def test_a_run_whose_every_step_is_killed_ends_as_one_that_was_left_alone(tmp_path: Path) -> None:
    outcome = killed_runs(tmp_path, kills=5, seed=0, most_a_step=1, fresh=True)
    assert outcome.kills.total() >= 5
    assert outcome.runs > 1
    nothing_is_lost(outcome)
