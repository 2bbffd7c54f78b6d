"""Every benchmark can be imported, and what it compares is equal, on inputs that take seconds."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from bench import augmentation, evaluation, finetuning, frozen, preprocessing, search
from bench.__main__ import NAMES
from bench.harness import Settings
from bench.images import png_folder


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_is_a_module_with_run(name: str) -> None:
    assert callable(importlib.import_module(f"bench.{name}").run)


def test_the_warp_is_the_generators_on_its_own_draws() -> None:
    assert 0 < augmentation.percentile_difference(4, 48) <= 2.5


def test_the_counted_auc_is_scikit_learns() -> None:
    assert evaluation.difference(500, 20) <= 1e-12


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path, quick=True, rounds=1)


def test_predictions_from_cached_features_are_the_whole_networks(settings: Settings) -> None:
    assert frozen.difference(settings, side=32) <= 1e-5


def test_weights_after_the_same_steps_are_equal_with_and_without_the_cache(settings: Settings) -> None:
    assert finetuning.difference(settings, images=16, epochs=2) <= 1e-4


def test_a_made_up_snapshot_is_preprocessed_to_the_files_pixels(settings: Settings) -> None:
    files = sorted(png_folder(settings.folder, 20, 16).rglob("*.png"))
    snapshot = preprocessing.write_snapshot(settings.folder / "snapshot", files, 60, side=16)
    assert preprocessing.difference(snapshot, settings.folder / "dataset") == 0


def test_a_search_ends_having_spent_what_it_may(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of a seed whose trials learn in so few epochs.
    seed = 4
    monkeypatch.setattr(search, "LENGTH", 3)
    monkeypatch.setattr(search, "TRIALS", 2)
    score, epochs = search.of_perceptrons(settings.folder, "random", seed)
    assert 0.4 < score <= 1 and epochs == 6
    monkeypatch.setattr(search, "TRIALS", 4)
    monkeypatch.setattr(search, "BUDGET", 0.5)
    score, epochs = search.of_perceptrons(settings.folder, "hyperband", seed)
    assert 0.4 < score <= 1 and 3 <= epochs <= 6


def test_a_search_of_networks_is_the_pipelines_own(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "TRIALS", 1)
    monkeypatch.setattr(search, "LENGTH", 1)
    score, epochs = search.of_networks(settings.folder, "random", 0, images=64)
    assert 0.3 < score <= 1 and epochs == 1
