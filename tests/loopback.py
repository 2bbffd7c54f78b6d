"""HTTP servers on loopback: what those of Kubernetes and of Kubeflow Pipelines have in common."""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Refused(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class LoopbackServer(ABC):
    """Answers at `url` from the start to `stop`; also a context manager."""

    def __init__(self) -> None:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *arguments: Any) -> None:
                """Say nothing."""

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                try:
                    status, said = 200, server.respond(self.command, self.path, dict(self.headers.items()), body)
                except Refused as refused:
                    status, said = refused.status, server.explain(refused)
                data = said.encode() if isinstance(said, str) else json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/plain" if isinstance(said, str) else "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = _answer

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @abstractmethod
    def respond(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Any:
        """Return the answer to one request: text, or what is sent as JSON.

        Raises:
            Refused: With another status.
        """

    @abstractmethod
    def explain(self, refused: Refused) -> dict[str, Any]:
        """Return what is sent with a refusal."""
