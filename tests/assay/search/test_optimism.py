"""The winner's curse of a search, from its trials and the size of the validation split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from assay.data.dataset import Dataset
from assay.data.shards import write_dataset
from assay.search.optimism import search_optimism
from assay.search.results import TrialRow


def dataset(folder: Path, valid: int, groups: int | None = None) -> Dataset:
    """Images that nobody looks at, with so many validation images (and slides)."""

    def split(count: int):
        labels = np.arange(count) % 2
        records = pd.DataFrame({"id": [str(row) for row in range(count)], "label": np.array(["a", "b"])[labels]})
        if groups:
            records["group"] = [f"slide {row // 2 % groups}" for row in range(count)]
        return np.zeros((count, 8, 8, 1), np.uint8), labels, records

    splits = {"train": split(8), "valid": split(valid), "test": split(8)}
    return write_dataset(folder, splits, ["a", "b"], group_column="group" if groups else None)


def rows(*scores: float | None) -> list[TrialRow]:
    return [
        TrialRow(f"{number:04d}", {}, "failed" if score is None else "completed", score)
        for number, score in enumerate(scores)
    ]


ALIKE = rows(0.86, 0.87, 0.88, 0.89, 0.9)


def test_trials_that_differ_by_chance_alone_are_all_worth_their_mean(tmp_path: Path) -> None:
    assert search_optimism(ALIKE, "val_auc", dataset(tmp_path / "d", 100)) == pytest.approx(0.02, abs=0.003)


def test_many_validation_images_make_the_same_scores_differ_for_real(tmp_path: Path) -> None:
    few, many = dataset(tmp_path / "few", 100), dataset(tmp_path / "many", 20_000)
    assert search_optimism(ALIKE, "val_auc", many) < 0.25 * search_optimism(ALIKE, "val_auc", few)  # type: ignore[operator]


def test_images_of_few_slides_count_as_few(tmp_path: Path) -> None:
    single, slides = dataset(tmp_path / "single", 4000), dataset(tmp_path / "slides", 4000, groups=20)
    assert search_optimism(ALIKE, "val_auc", slides) > 2 * search_optimism(ALIKE, "val_auc", single)  # type: ignore[operator]


def test_a_configuration_that_was_continued_counts_once(tmp_path: Path) -> None:
    valid = dataset(tmp_path / "d", 100)
    longer = [*ALIKE, TrialRow("0005", {}, "completed", 0.9, continues="0000")]
    apart = [*ALIKE, TrialRow("0005", {}, "completed", 0.9)]
    assert search_optimism(longer, "val_auc", valid) < search_optimism(apart, "val_auc", valid)  # type: ignore[operator]


def test_nothing_is_said_of_one_score_or_of_a_loss(tmp_path: Path) -> None:
    valid = dataset(tmp_path / "d", 100)
    assert search_optimism(rows(0.9, None), "val_auc", valid) is None
    assert search_optimism(ALIKE, "val_loss", valid) is None
    assert search_optimism(ALIKE, "val_accuracy", valid) is not None
