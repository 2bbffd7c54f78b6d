"""A sweep in parts, as a cluster runs it: one pod a run, and one that makes the table of what all of them left.

What the pods pass on goes through storage: each gives the address of its record.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from assay.augmentation.policy import load_policy
from assay.errors import AssayError, InputError
from assay.hashing import hash_json
from assay.storage.files import ObjectNotFound
from assay.storage.open import open_store
from assay.sweep.run import write_tables
from assay.sweep.runs import Record, Records, check_job, failure, job_of, run_job
from assay.sweep.spec import Sweep
from assay.sweep.table import Table

ITEM_FILE = "item.json"
ITEMS, TABLES = "sweeps/items", "sweeps/tables"


def list_items(sweep: Sweep) -> list[str]:
    """Return one JSON object a run, as text: Kubeflow would turn numbers into floats."""
    # All rows from one seed before any from the next.
    return [json.dumps({"row": row.number, "seed": seed}) for seed in sweep.spec.seeds for row in sweep.rows]


def run_item(
    sweep: Sweep, item: str, dataset_dir: Path, policy_dir: Path, storage_root: str, work_dir: Path
) -> tuple[Record, str]:
    """Train one row from one seed, unless it is on record, and leave its record where the table finds it.

    Args:
        sweep: What is run.
        item: One of `list_items`.
        dataset_dir: What preprocess wrote.
        policy_dir: What augment wrote.
        storage_root: Where records and checkpoints are.
        work_dir: For the model while it trains.

    Returns:
        The record and its address. A row that cannot be trained has one too, with the reason, so that the others are
        compared.
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
            job, key, dataset_dir, work_dir / "model", storage_root, row.config.runtime
        )
    except InputError as error:
        # What fails for another reason, such as a full disk, fails the pod: it is tried again.
        record = failure(job, key or "none", error)
    # Beside the records of finished runs, which a failure is not among: the next sweep tries it again.
    store = open_store(f"{storage_root.rstrip('/')}/{ITEMS}/{hash_json([sweep.to_json(), item, record.key])[:24]}")
    Records(store.root).keep(record, job)
    store.write_bytes(ITEM_FILE, json.dumps({**values, "key": record.key}).encode())
    return record, store.root


def join_items(
    sweep: Sweep, addresses: Sequence[str], dataset_dir: Path, out_dir: Path, storage_root: str, run_id: str
) -> tuple[Table, str]:
    """Make the tables of a sweep: in a folder, and in storage where they outlive the run.

    Args:
        sweep: What was run.
        addresses: Of the records, as `run_item` gave them, in any order.
        dataset_dir: What all trained on.
        out_dir: Gets the tables; see `write_tables`.
        storage_root: Gets them below ``sweeps/tables/<sweep>/<run>``.
        run_id: Of the run; empty: they go nowhere else.

    Returns:
        The table, and the tables' address; empty where they are nowhere else.

    Raises:
        AssayError: A record is missing.
    """
    found: dict[tuple[int, int], Record] = {}
    for address in addresses:
        try:
            item = json.loads(open_store(address).read_bytes(ITEM_FILE))
        except ObjectNotFound as error:
            raise AssayError(f"{address}: the record of a row is gone from storage. Make the rows anew.") from error
        record = Records(address).find(item["key"])
        if record is None:
            raise AssayError(
                f"{address}: the record of row {item['row']}, seed {item['seed']} is missing. Run it again."
            )
        found[int(item["row"]), int(item["seed"])] = record
    places = [[(row.number, seed) for seed in sweep.spec.seeds] for row in sweep.rows]
    records = [[found.get(place) for place in of_row] for of_row in places]
    out_dir.mkdir(parents=True, exist_ok=True)
    table = write_tables(sweep, records, dataset_dir, out_dir)
    if not run_id:
        return table, ""
    store = open_store(storage_root)
    at = f"{TABLES}/{sweep.spec.name}/{run_id}"
    store.upload_dir(out_dir, at, marker="table.md")
    return table, store.uri(at)
