"""A sweep of tiny networks on drawn tissue."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from assay.sweep.spec import Sweep, load_sweep

SMALL = {"depth": 1, "width": 2, "dense": 0}
Write = Callable[..., Sweep]


@pytest.fixture
def make_sweep(tmp_path: Path) -> Write:
    """Write a sweep on 96 images of 16x16 into the test's folder, and read it."""

    def write(folder: Path = tmp_path, **spec: Any) -> Sweep:
        base = {
            "version": 1,
            "data": {"source": "demo://tissue?images=96&size=16&slides=24&difficulty=0&seed=0"},
            "augment": {"policy": {"horizontal_flip": True}, "preview_images": 1},
            "baseline": {"model": {"name": "cnn", "options": SMALL}, "epochs": 1},
            "storage": {"root": str(folder / "store")},
            "runtime": {"precision": "float32", "workers": 1},
        }
        (folder / "base.yaml").write_text(yaml.safe_dump(base), encoding="utf-8")
        values = {"version": 1, "name": "tiny", "config": "base.yaml", "seeds": [0, 1], **spec}
        (folder / "sweep.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
        return load_sweep(folder / "sweep.yaml")

    return write
