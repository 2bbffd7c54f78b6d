"""The epoch of Kubeflow's cache: what makes a run do everything anew once an earlier one found an output unusable.

Kubeflow reuses a step's outputs by what went into the step, without a look at them: those that are damaged or gone
would be handed out for ever. So each step that is cached has an epoch among its inputs. Ingest, which is never cached,
reads it from storage; a step that finds an output unusable begins a new one.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

from assay.observability.progress import log
from assay.storage.files import ObjectNotFound
from assay.storage.objects import ObjectStore

EPOCH_FILE = "cache/epoch.json"


def read_epoch(store: ObjectStore) -> str:
    """Return the epoch that outputs are reused from; empty: no output was ever found unusable."""
    try:
        said = json.loads(store.read(EPOCH_FILE).data)
        epoch, why = said["epoch"], said["why"]
        log(f"since {epoch} nothing older is reused: {why}")
        return str(epoch)
    except ObjectNotFound:
        return ""
    except (ValueError, TypeError, KeyError):
        # It is there, so something was found, and what it says would name no other epoch than its bytes do.
        return "unreadable"


def begin_epoch(store: ObjectStore, why: str) -> None:
    """Let no later run reuse what was made before now.

    Args:
        store: The storage of the runs.
        why: What was found, as one line.
    """
    epoch = f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    store.write_bytes(EPOCH_FILE, json.dumps({"epoch": epoch, "why": why}).encode())
