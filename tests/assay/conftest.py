"""Stores to test on: a directory, and a bucket of a real server."""

from __future__ import annotations

import dataclasses
import http.client
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from assay.models.artifact import copy_model, save_model, update_info
from assay.models.info import ModelInfo
from assay.storage.objects import ObjectStore
from assay.storage.open import open_store


@pytest.fixture(params=["local", "gcs"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The root of an empty store of each kind."""
    return str(tmp_path / "store") if request.param == "local" else request.getfixturevalue("gcs_root")


@pytest.fixture
def store(root: str) -> ObjectStore:
    """An empty store of each kind."""
    return open_store(root)


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three models that differ."""
    import keras

    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(inputs)))
    first, *others = (tmp_path_factory.mktemp("model") / "model" for _ in range(3))
    save_model(model, first, ModelInfo(name="tiny", classes=("a", "b"), input_shape=(8, 8, 3)))
    for index, folder in enumerate(others):
        copy_model(first, folder)
        update_info(folder, threshold=0.1 * (index + 1))
    return [first, *others]


@dataclasses.dataclass
class Faults:
    """What goes wrong with the requests to come.

    Args:
        statuses: Answered, one each, in place of the server's answer; the request does not reach the server.
        lost_answers: So many requests reach the server, and their answers are lost.
    """

    statuses: list[int] = dataclasses.field(default_factory=list)
    lost_answers: int = 0


@pytest.fixture
def faults(gcs_server: str, gcs_root: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """Faults between the client and the storage server, put there by a proxy."""
    planned = Faults()
    server = urlsplit(gcs_server)

    class Proxy(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            # The client asks for the bucket now and then, beside what it is told to do.
            aside = "/o" not in urlsplit(self.path).path
            if planned.statuses and not aside:
                self.send_response(planned.statuses.pop(0))
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            upstream = http.client.HTTPConnection(str(server.hostname), server.port)
            upstream.request(self.command, self.path, body, dict(self.headers))
            answer = upstream.getresponse()
            content = answer.read()
            if planned.lost_answers and not aside:
                planned.lost_answers -= 1
                self.close_connection = True
                self.connection.close()
                return
            self.send_response(answer.status)
            for key, value in answer.getheaders():
                if key.lower() not in ("content-length", "transfer-encoding"):
                    self.send_header(key, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = _forward

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{proxy.server_port}")
    yield planned
    proxy.shutdown()
    proxy.server_close()
