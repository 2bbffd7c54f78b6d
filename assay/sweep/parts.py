"""A sweep in parts, as a cluster runs it: one pod a run, and one that makes the table of what all of them left."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from assay.augmentation.policy import load_policy
from assay.errors import AssayError, InputError
from assay.sweep.runs import Record, Records, check_job, failure, job_of, run_job
from assay.sweep.spec import Sweep
from assay.sweep.table import Table, tabulate

ITEM_FILE = "item.json"


def list_items(sweep: Sweep) -> list[str]:
    """Return one JSON object a run, as text: Kubeflow would turn numbers into floats."""
    # All rows from one seed before any from the next.
    return [json.dumps({"row": row.number, "seed": seed}) for seed in sweep.spec.seeds for row in sweep.rows]


def run_item(sweep: Sweep, item: str, dataset_dir: Path, policy_dir: Path, storage_root: str, out_dir: Path) -> Record:
    """Train one row from one seed, unless it is on record, and leave its record where the table finds it.

    Args:
        sweep: What is run.
        item: One of `list_items`.
        dataset_dir: What preprocess wrote.
        policy_dir: What augment wrote.
        storage_root: Where records and checkpoints are.
        out_dir: Gets the record; created where missing.

    Returns:
        The record. A row that cannot be trained has one too, with the reason, so that the others are compared.
    """
    from assay.data.dataset import Dataset

    values = json.loads(item)
    row, seed = sweep.rows[int(values["row"]) - 1], int(values["seed"])
    job = job_of(sweep, row, seed, load_policy(policy_dir))
    dataset = Dataset.open(dataset_dir)
    key = ""
    try:
        key = job.key(dataset.fingerprint, check_job(job, dataset))
        record = Records.of_storage(storage_root).find(key) or run_job(
            job, key, dataset_dir, out_dir / "model", storage_root, row.config.runtime
        )
    except InputError as error:
        # What fails for another reason, such as a full disk, fails the pod: it is tried again.
        record = failure(job, key or "none", error)
    Records(str(out_dir)).keep(record, job)
    (out_dir / ITEM_FILE).write_text(json.dumps({**values, "key": record.key}), encoding="utf-8")
    return record


def join_items(sweep: Sweep, folders: Sequence[Path], dataset_dir: Path) -> Table:
    """Make the table of a sweep.

    Args:
        sweep: What was run.
        folders: What `run_item` wrote, in any order.
        dataset_dir: What all trained on.

    Raises:
        AssayError: A record is missing.
    """
    from assay.data.dataset import Dataset

    found: dict[tuple[int, int], Record] = {}
    for folder in folders:
        item = json.loads((folder / ITEM_FILE).read_text(encoding="utf-8"))
        record = Records(str(folder)).find(item["key"])
        if record is None:
            raise AssayError(
                f"{folder}: the record of row {item['row']}, seed {item['seed']} is missing. Run it again."
            )
        found[int(item["row"]), int(item["seed"])] = record
    places = [[(row.number, seed) for seed in sweep.spec.seeds] for row in sweep.rows]
    records = [[found[place] for place in of_row if place in found] for of_row in places]
    return tabulate(sweep, records, Dataset.open(dataset_dir))
