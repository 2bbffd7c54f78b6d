"""The models of a cross-validation's folds in object storage: what their tasks hand on is the address alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from assay.errors import DamagedError, InputError
from assay.hashing import hash_json
from assay.models.info import read_info
from assay.storage.files import ObjectNotFound
from assay.storage.objects import ObjectStore
from assay.storage.open import open_store

FOLDS = "folds"
FOLD_FILE = "fold.json"


def keep_fold_model(store: ObjectStore, model_dir: Path, dataset_fingerprint: str, candidate: str, number: int) -> str:
    """Put what a training step left for one fold into storage, and return its address.

    Args:
        store: Of the run.
        model_dir: What the training step wrote; gets fold.json, which says what it is of.
        dataset_fingerprint: Of the dataset that has the folds.
        candidate: baseline, search or finetune.
        number: The fold, from 0.
    """
    whose = {"dataset": dataset_fingerprint, "candidate": candidate, "fold": number}
    (model_dir / FOLD_FILE).write_text(json.dumps(whose), encoding="utf-8")
    # Another model of the same fold has another address: what follows from it is not taken from a cache.
    at = f"{FOLDS}/{hash_json([whose, read_info(model_dir).sha256])[:24]}"
    store.upload_dir(model_dir, at, marker=FOLD_FILE)
    return store.uri(at)


def fetch_fold_models(
    addresses: Sequence[str], dataset_fingerprint: str, candidate: str, count: int, folder: Path
) -> list[Path]:
    """Fetch the models of all folds of a candidate.

    Args:
        addresses: From `keep_fold_model`, in any order.
        dataset_fingerprint: Of the dataset that has the folds.
        candidate: baseline, search or finetune.
        count: How many folds there are.
        folder: Gets a folder for each.

    Returns:
        The models' folders, by number of the fold.

    Raises:
        InputError: One is of another dataset, or there is not one for each fold.
        DamagedError: One is gone from storage, or damaged.
    """
    again = f"Train it again: `--force {candidate}` does here"
    found: dict[int, Path] = {}
    for place, address in enumerate(addresses):
        root, _, last = address.rpartition("/")
        to = folder / f"{place:02d}"
        try:
            open_store(root).download_dir(last, to)
            whose = json.loads((to / FOLD_FILE).read_text(encoding="utf-8"))
            number = int(whose["fold"])
        except (ObjectNotFound, FileNotFoundError) as error:
            raise DamagedError(
                f"{address}: the model of a fold of {candidate} is gone from storage. {again}."
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedError(f"{address}/{FOLD_FILE}: damaged since it was written. {again}.") from error
        if (whose.get("dataset"), whose.get("candidate")) != (dataset_fingerprint, candidate):
            raise InputError(f"{address}: no model of {candidate} for this dataset's folds. {again}.")
        found[number] = to
    missing = [number + 1 for number in range(count) if number not in found]
    if missing or len(found) != count:
        raise InputError(
            f"{candidate}: {len(found)} of {count} folds have a model (none: {', '.join(map(str, missing))}). {again}."
        )
    return [found[number] for number in range(count)]
