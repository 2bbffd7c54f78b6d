"""Every benchmark can be imported, and what it compares is equal, on inputs that take seconds."""

from __future__ import annotations

import importlib

import pytest

from bench import augmentation, evaluation
from bench.__main__ import NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_is_a_module_with_run(name: str) -> None:
    assert callable(importlib.import_module(f"bench.{name}").run)


def test_the_warp_is_the_generators_on_its_own_draws() -> None:
    assert 0 < augmentation.percentile_difference(4, 48) <= 2.5


def test_the_counted_auc_is_scikit_learns() -> None:
    assert evaluation.difference(500, 20) <= 1e-12
