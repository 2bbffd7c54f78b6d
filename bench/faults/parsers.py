"""Everything that parses what others wrote, as functions of bytes: what is fuzzed, and what the tests feed.

A parser may give a value or refuse in one line; whatever else it raises is a finding.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from assay.augmentation.policy import load_policy
from assay.config import RunConfig, parse_config
from assay.config.text import parse_yaml
from assay.data.headers import read_header
from assay.data.images import decode
from assay.data.sensors import decode_window
from assay.data.sources.label_table import parse_label_table
from assay.data.unusable import Unusable
from assay.errors import AssayError
from assay.models.info import INFO_FILE, ModelInfo, read_info
from assay.storage.arrays import MAGIC, load_arrays, save_arrays

CORPUS = Path(__file__).with_name("corpus")
MOST_PIXELS = 1_000_000


def image(data: bytes) -> None:
    """Read an image's header, and decode it."""
    read_header(data)
    decode(data, "rgb", (8, 8), MOST_PIXELS)


def table(data: bytes) -> None:
    """Parse a label table."""
    parse_label_table(data, "labels.csv")


def window(data: bytes) -> None:
    """Read a window of sensor data, ``.npy`` or text."""
    decode_window(data)


def config(data: bytes) -> None:
    """Read a config."""
    values = parse_yaml(data.decode("utf-8", "replace"), RunConfig, "config.yaml")
    if isinstance(values, dict):
        parse_config(values, "config.yaml")


def model(data: bytes) -> None:
    """Read ``model.json``."""
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        (Path(folder) / INFO_FILE).write_bytes(data)
        read_info(Path(folder))


def policy(data: bytes) -> None:
    """Read ``policy.json``."""
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        (Path(folder) / "policy.json").write_bytes(data)
        load_policy(Path(folder))


def checkpoint(data: bytes) -> None:
    """Read a file of arrays, as checkpoints are."""
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        (Path(folder) / "train.npz").write_bytes(data)
        load_arrays(Path(folder) / "train.npz")


def checkpoint_within(data: bytes) -> None:
    """Read a file of arrays whose checksum fits: what is behind it must not rely on it alone."""
    checkpoint(MAGIC + hashlib.sha256(data).hexdigest().encode() + b"\n" + data)


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (image, table, window, config, model, policy, checkpoint, checkpoint_within)
}


def judge(target: Callable[[bytes], None], data: bytes) -> None:
    """Hand data to a parser.

    Raises:
        AssertionError: It refuses in more than one line.
        Exception: Whatever a parser raises that is no refusal.
    """
    try:
        target(data)
    except (AssayError, Unusable) as error:
        assert "\n" not in str(error).strip(), f"more than one line: {error}"


def seeds(target: str) -> list[bytes]:
    """Return what a target begins from: files as they should be."""
    from PIL import Image

    if target == "image":
        found = []
        for mode in ("RGB", "L", "P"):
            for kind in ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000", "PPM"):
                if (mode, kind) != ("P", "JPEG") and not (mode == "P" and kind in ("JPEG2000", "PPM", "WEBP")):
                    buffer = io.BytesIO()
                    Image.new(mode, (9, 8)).save(buffer, kind)
                    found.append(buffer.getvalue())
        return found
    if target == "table":
        return [b"path,label,group,split\na.png,x,1,train\nb.png,y,2,test\n", "\ufeffid;label\n1;a\n".encode("utf-16")]
    if target == "window":
        buffer = io.BytesIO()
        np.save(buffer, np.zeros((3, 2), np.float32))
        return [buffer.getvalue(), b"a,b\n1,2\n,4\n"]
    if target == "config":
        demo = "version: 1\nname: demo\ndata: {source: 'demo://tissue', image_size: [8, 8]}\nbaseline:\n  epochs: 2\n"
        return [demo.encode(), b"a: &a [1, *a]\n", b"search: {trials: 4, space: {width: [4, 8]}}\nversion: 1\n"]
    if target == "model":
        return [
            ModelInfo(name="cnn", classes=("a", "b"), input_shape=(8, 8, 3)).model_dump_json().encode(),
            b"[" * 3000,
        ]
    if target == "policy":
        return [b'{"rotation_range": 3, "checksum": "00000000"}', b"[" * 3000]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "arrays"
        save_arrays(path, {"w": np.zeros(3), "state": np.frombuffer(b"{}", np.uint8)})
        whole = path.read_bytes()
    return [whole if target == "checkpoint" else whole.partition(b"\n")[2]]


def _memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
