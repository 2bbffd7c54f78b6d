"""Notification: what a webhook gets, and that none can fail a run."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from assay.observability.notify import notify, run_link


@pytest.fixture
def hook() -> Iterator[tuple[str, list[dict]]]:
    received: list[dict] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(500 if self.path == "/broken" else 200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()
    server.server_close()


def test_a_webhook_gets_state_and_link(hook: tuple[str, list[dict]]) -> None:
    url, received = hook
    assert notify("pcam", "FAILED", "abc-1", "evaluate: no space", "https://kfp.example/", url)
    (body,) = received
    assert body["state"] == "FAILED"
    assert body["link"] == "https://kfp.example/#/runs/details/abc-1"
    assert "evaluate: no space" in body["text"]


def test_what_was_ended_from_outside_is_not_called_running(hook: tuple[str, list[dict]]) -> None:
    url, received = hook
    assert notify("pcam", "RUNNING", "abc-1", "", "", url)
    assert received[0]["state"] == "FAILED"
    assert "run abc-1 failed. It was ended from outside" in received[0]["text"]


@pytest.mark.parametrize("webhook", ["http://127.0.0.1:1/", "no address", ""])
def test_a_webhook_that_does_not_answer_fails_nothing(webhook: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert not notify("pcam", "SUCCEEDED", "abc-1", "", "", webhook)
    assert "abc-1 succeeded" in capsys.readouterr().out


def test_an_error_of_the_webhook_fails_nothing(hook: tuple[str, list[dict]]) -> None:
    assert not notify("pcam", "SUCCEEDED", "abc-1", "", "", hook[0] + "/broken")


def test_without_an_interface_there_is_no_link() -> None:
    assert run_link("", "abc") == ""
