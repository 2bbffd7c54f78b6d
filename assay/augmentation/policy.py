"""The augmentation policy as a file: which random changes a training image may undergo."""

from __future__ import annotations

import json
from pathlib import Path

from assay.config import Policy, parse_section
from assay.errors import DamagedError
from assay.storage.files import new_file
from assay.storage.seals import CHECKSUM, is_intact, sealed

POLICY_FILE = "policy.json"
AGAIN = "Run the augment step again: `assay run CONFIG --force augment`."


def save_policy(policy: Policy, path: Path) -> None:
    """Write a policy as JSON with a checksum of itself, whole or not at all.

    Args:
        policy: What to write.
        path: The file; its folder is created where it is missing.
    """
    with new_file(path) as stage:
        stage.write_text(json.dumps(sealed(policy.model_dump(mode="json")), indent=2) + "\n", encoding="utf-8")


def load_policy(path: Path | str) -> Policy:
    """Read a policy that `save_policy` wrote. Any other mapping would be one too, ``{}`` that of no change at all.

    Args:
        path: A JSON file, or a folder that holds ``policy.json``.

    Raises:
        DamagedError: The file is missing, is not JSON, or is not as it was written.
    """
    file = Path(path)
    if file.is_dir():
        file = file / POLICY_FILE
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DamagedError(f"{file}: no such policy. The augment step writes it.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedError(f"{file}: not readable as JSON ({error}). {AGAIN}") from error
    if not isinstance(values, dict) or not is_intact(values):
        raise DamagedError(f"{file}: its content has changed since it was written (its checksum does not fit). {AGAIN}")
    return parse_section(Policy, {key: value for key, value in values.items() if key != CHECKSUM}, str(file))
