"""Simulated runs: none that learns rare classes is stopped for learning nothing, and those on shuffled labels are."""

from __future__ import annotations

import pytest

from bench.statistics.learning import Trainings, stopped_in


@pytest.mark.parametrize("prevalence", [0.01, 0.02, 0.05])
def test_runs_on_rare_classes_are_told_from_runs_on_shuffled_labels(prevalence: float) -> None:
    assert stopped_in(0, Trainings(prevalence, learnable=True), runs=12) == [None] * 12
    assert None not in stopped_in(0, Trainings(prevalence, learnable=False), runs=12)
