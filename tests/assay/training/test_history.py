"""The history's table."""

from __future__ import annotations

from assay.training.history import COLUMNS, History, history_table, kept_phase


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


def test_no_epochs_make_an_empty_table() -> None:
    table = history_table([History("train", "val_loss")])
    assert table.empty and [*table.columns] == [*COLUMNS, "kept"]
