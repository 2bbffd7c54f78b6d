"""The history's table and picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from assay.training.history import COLUMNS, History, history_table, kept_phase, write_curves


def _history(phase: str, aucs: list[float], best_epoch: int) -> History:
    rows = [
        {
            "phase": phase,
            "epoch": epoch,
            "step": 10 * epoch,
            "loss": 1 / epoch,
            "accuracy": 0.8,
            "val_loss": 1.1 / epoch,
            "val_accuracy": 0.7,
            "val_auc": auc,
            "learning_rate": 1e-3,
            "seconds": 2.0 * epoch,
        }
        for epoch, auc in enumerate(aucs, 1)
    ]
    return History(phase, "val_auc", rows, best_epoch=best_epoch)


def test_the_epoch_kept_is_that_of_the_last_phase_that_improved() -> None:
    frozen, unfrozen = _history("frozen", [0.7, 0.8], 2), _history("unfrozen", [0.85, 0.9, 0.88], 2)
    table = history_table([frozen, unfrozen])
    assert [*table.columns] == [*COLUMNS, "kept"]
    assert table["kept"].tolist() == [False, False, False, True, False]
    worse = _history("unfrozen", [0.75, 0.79], 0)
    assert history_table([frozen, worse])["kept"].tolist() == [False, True, False, False]
    assert kept_phase([frozen, worse]) is frozen
    assert worse.best["epoch"] == 2, "the best of its own, although it is not kept"
    assert History("train", "val_auc").best == {}
    assert frozen.best["val_auc"] == 0.8


@pytest.mark.parametrize("phases", [1, 2])
def test_the_curves_are_a_picture_that_differs_with_what_was_kept(tmp_path: Path, phases: int) -> None:
    histories = [_history("frozen", [0.7, 0.8], 2), _history("unfrozen", [0.85, 0.9, 0.88], 2)][:phases]
    write_curves(histories, tmp_path / "curves.png")
    picture = cv2.imread(str(tmp_path / "curves.png"))
    assert picture.shape[1] > picture.shape[0] > 300
    histories[-1].best_epoch = 1
    write_curves(histories, tmp_path / "other.png")
    assert (cv2.imread(str(tmp_path / "other.png")) != picture).any()


def test_no_epochs_make_an_empty_table_and_picture(tmp_path: Path) -> None:
    empty = History("train", "val_loss")
    assert history_table([empty]).empty
    write_curves([empty], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000
