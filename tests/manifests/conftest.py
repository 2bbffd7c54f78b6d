"""The manifests as kustomize renders them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "manifests"
KUSTOMIZATIONS = ("base", "overlays/gke", "overlays/gke/config-connector", "overlays/kind")
Render = Callable[[str], list[dict[str, Any]]]


@pytest.fixture(scope="session")
def kubectl() -> str:
    """A kubectl: the virtual environment's (`make kubectl`) or the machine's."""
    own = Path(sys.executable).with_name("kubectl")
    found = str(own) if own.is_file() else shutil.which("kubectl")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("there is no kubectl: `make kubectl` puts one into .venv")
        pytest.skip("there is no kubectl: `make kubectl` puts one into .venv")
    return found


@pytest.fixture(scope="session")
def render(kubectl: str) -> Render:
    """Render a folder below manifests/ into its documents."""
    done: dict[str, list[dict[str, Any]]] = {}

    def rendered(folder: str) -> list[dict[str, Any]]:
        if folder not in done:
            command = [kubectl, "kustomize", str(MANIFESTS / folder)]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            assert result.returncode == 0, result.stderr
            done[folder] = list(yaml.safe_load_all(result.stdout))
        return done[folder]

    return rendered


def named(documents: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    """Return the documents of a kind by name."""
    return {document["metadata"]["name"]: document for document in documents if document["kind"] == kind}
