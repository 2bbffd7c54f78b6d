"""A model behind HTTP: any image that training could read in, what TensorFlow Serving's REST answers out.

For one machine and its own network: it knows no users and no encryption. Requests are decoded side by side and
answered by the network one after another.
"""

from __future__ import annotations

import base64
import binascii
import json
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from assay.data.unusable import Unusable
from assay.models.artifact import LoadedModel
from assay.models.info import BYTES_SIGNATURE, ERRORS_SIGNATURE
from assay.predict import model_input, window_input

LARGEST_BODY = 256 * 2**20
LARGEST_BATCH = 256
_SECONDS_OF_SILENCE = 60


class _Refused(Exception):
    """A request that cannot be answered; the message says why."""

    def __init__(self, message: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(message)
        self.status = status


class ModelServer(ThreadingHTTPServer):
    """Serves one model under ``/v1/models/<name>`` until it is shut down.

    Args:
        model: From `assay.models.artifact.load_model`.
        name: In the address.
        version: For ``GET /v1/models/<name>``.
        host: Address to listen on.
        port: 0 takes a free one; see ``server_port``.
    """

    daemon_threads = True

    def __init__(self, model: LoadedModel, name: str, version: str, host: str = "127.0.0.1", port: int = 8501) -> None:
        self.model = model
        self.name = name
        self.version = version
        self._one_at_a_time = threading.Lock()
        super().__init__((host, port), _Handler)

    def answer(self, body: bytes) -> dict[str, Any]:
        """Return the answer to the body of a request: one file, or JSON with ``instances``.

        Raises:
            _Refused: It is neither, or one of the files cannot be used and the request does not ask for errors.
        """
        instances, with_errors = _instances(body)
        inputs: list[np.ndarray] = []
        errors: list[str] = []
        for index, instance in enumerate(instances):
            try:
                inputs.append(self._input(instance))
                errors.append("")
            except _Refused as refused:
                if not with_errors:
                    raise _Refused(f"instance {index}: {refused}") from refused
                errors.append(str(refused))
        rows = iter(self._predicted(inputs))
        if not with_errors:
            return {"predictions": list(rows)}
        nothing = {"probabilities": None, "labels": ""}
        return {"predictions": [{**(nothing if error else next(rows)), "errors": error} for error in errors]}

    def _predicted(self, inputs: list[np.ndarray]) -> list[dict[str, Any]]:
        if not inputs:
            return []
        with self._one_at_a_time:
            probabilities = self.model.predict(np.stack(inputs))
        decided = self.model.decide(probabilities)
        return [
            {"probabilities": row.tolist(), "labels": self.model.info.classes[index]}
            for row, index in zip(probabilities, decided, strict=True)
        ]

    def _input(self, instance: Any) -> np.ndarray:
        try:
            if isinstance(instance, bytes):
                return model_input(instance, self.model.info)
            if self.model.info.kind == "image":
                raise _Refused('an image is {"b64": "..."} in Base64')
            # JSON knows no NaN: a missing value is null.
            window = np.array(instance, np.float32)
            if np.isinf(window).any():
                raise _Refused("infinite values")
            return window_input(window, self.model.info)
        except Unusable as reason:
            raise _Refused(str(reason)) from reason
        except (TypeError, ValueError) as error:
            raise _Refused("not a window of numbers") from error


def _instances(body: bytes) -> tuple[list[Any], bool]:
    """Return the files or windows of a request, and whether it asks for errors one by one."""
    if body.lstrip()[:1] != b"{":
        return [body], False
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _Refused(f"not valid JSON ({error})") from error
    instances = given.get("instances")
    if not isinstance(instances, list) or not instances:
        raise _Refused('the body is one file, or {"instances": [{"b64": "..."}, ...]}')
    if len(instances) > LARGEST_BATCH:
        raise _Refused(f"{len(instances)} instances, at most {LARGEST_BATCH} are answered at once")
    signature = given.get("signature_name", BYTES_SIGNATURE)
    if signature not in (BYTES_SIGNATURE, ERRORS_SIGNATURE):
        raise _Refused(f"signature_name {str(signature)[:80]!r}: there are {BYTES_SIGNATURE} and {ERRORS_SIGNATURE}")
    return [_unpacked(instance) for instance in instances], signature == ERRORS_SIGNATURE


def _unpacked(instance: Any) -> Any:
    if isinstance(instance, dict) and len(instance) == 1 and "b64" not in instance:
        (instance,) = instance.values()  # {"images": {"b64": ...}}
    if isinstance(instance, dict):
        try:
            return base64.b64decode(instance["b64"], validate=True)
        except (KeyError, TypeError, ValueError, binascii.Error):
            return None  # refused where the model's kind is known
    return instance


class _Handler(BaseHTTPRequestHandler):
    server: ModelServer
    server_version = "assay"
    sys_version = ""
    timeout = _SECONDS_OF_SILENCE
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path != f"/v1/models/{self.server.name}":
            self._send(HTTPStatus.NOT_FOUND, {"error": f"there is /v1/models/{self.server.name}"})
            return
        state = {
            "version": self.server.version,
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": ""},
        }
        self._send(HTTPStatus.OK, {"model_version_status": [state]})

    def do_POST(self) -> None:
        try:
            if self.path != f"/v1/models/{self.server.name}:predict":
                raise _Refused(f"there is /v1/models/{self.server.name}:predict", HTTPStatus.NOT_FOUND)
            self._send(HTTPStatus.OK, self.server.answer(self._body()))
        except _Refused as refused:
            self.close_connection = True
            self._send(refused.status, {"error": str(refused)})

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise _Refused("the request does not say its length", HTTPStatus.LENGTH_REQUIRED)
        if int(length) > LARGEST_BODY:
            raise _Refused(f"{int(length):,} bytes, at most {LARGEST_BODY:,}", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        return self.rfile.read(int(length))

    def _send(self, status: HTTPStatus, answer: dict[str, Any]) -> None:
        text = json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace")
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of each request: what is asked about patients belongs in no log."""
