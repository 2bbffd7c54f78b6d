"""The steps of a sweep: one run of it, and the table of all."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from assay.observability.progress import log
from assay.steps.frame import StepRecord, step


def sweep_row(*, sweep: str, item: str, storage_root: str, dataset_path: str, policy_path: str) -> StepRecord:
    """Train one row of a sweep from one seed, and give the address of its record."""
    from assay.sweep.parts import run_item
    from assay.sweep.spec import Sweep

    inputs = {"dataset": dataset_path, "augmentation policy": policy_path}
    with (
        step("sweep_row", inputs=inputs, storage_root=storage_root, item=item) as record,
        tempfile.TemporaryDirectory() as scratch,
    ):
        folders = Path(dataset_path), Path(policy_path)
        result, record.value = run_item(Sweep.from_json(sweep), item, *folders, storage_root, Path(scratch))
        record.metrics.update(result.metrics)
        record.metadata.update(key=result.key, status=result.status, note=result.note)
        if result.note:
            log(f"{item}: {result.note}")
    return record


def sweep_table(
    *,
    sweep: str,
    records: list[str],
    storage_root: str,
    run_id: str,
    dataset_path: str,
    page_path: str,
    table_path: str,
) -> StepRecord:
    """Make the table of a sweep's runs."""
    from assay.sweep.parts import join_items
    from assay.sweep.spec import Sweep

    with (
        step("sweep_table", inputs={"dataset": dataset_path}, storage_root=storage_root) as record,
        tempfile.TemporaryDirectory() as scratch,
    ):
        out = Path(scratch) / "tables"
        resolved = Sweep.from_json(sweep)
        table, address = join_items(resolved, records, Path(dataset_path), out, storage_root, run_id)
        shutil.copyfile(out / "sweep.html", page_path)
        shutil.copyfile(out / "table.md", table_path)
        record.metadata["tables"] = address
        if table.best is not None:
            record.metrics["best_row"] = float(table.best.row.number)
            record.metrics["val_auc"] = table.best.auc.value
            log(f"best: row {table.best.row.number}, validation AUC {table.best.auc.value:.4f}")
        log(f"table and best row: {address or table_path}")
    return record
