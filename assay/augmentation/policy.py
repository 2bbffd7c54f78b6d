"""The augmentation policy as a file: which random changes a training image may undergo."""

from __future__ import annotations

import json
from pathlib import Path

from assay.config import Policy, parse_section
from assay.errors import InputError
from assay.storage.files import new_file

POLICY_FILE = "policy.json"


def save_policy(policy: Policy, path: Path) -> None:
    """Write a policy as JSON, whole or not at all.

    Args:
        policy: What to write.
        path: The file; its folder is created where it is missing.
    """

    with new_file(path) as stage:
        stage.write_text(json.dumps(policy.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")


def load_policy(path: Path | str) -> Policy:
    """Read a policy.

    Args:
        path: A JSON file, or a folder that holds ``policy.json``.

    Raises:
        InputError: The file is missing, is not JSON, or is no policy.
    """
    file = Path(path)
    if file.is_dir():
        file = file / POLICY_FILE
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{file}: no such policy. The augment step writes it.") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: not readable as JSON ({error}). Run the augment step again.") from error
    return parse_section(Policy, values, str(file))
