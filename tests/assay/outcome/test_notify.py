"""Notification: what a webhook gets, and that none can fail a run."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from assay.outcome.notify import notify, run_link
from tests.kubernetes_server import KubernetesServer, write_kubeconfig
from tests.loopback import Refused
from tests.pipelines.recordings import Recording, began, recorded_log

ROOT = Path(__file__).parents[3]


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
    assert notify("pcam", "exit-handler-1", "FAILED", "abc-1", "evaluate: no space", "https://kfp.example/", url)
    (body,) = received
    assert body["state"] == "FAILED"
    assert body["link"] == "https://kfp.example/#/runs/details/abc-1"
    assert "evaluate: no space" in body["text"]


class Cluster(KubernetesServer):
    """A cluster as notify's pod sees it in a recorded run, with the rights of the steps' service account."""

    def __init__(self, recording: Recording, log: str = "") -> None:
        self.recording, self.text = recording, log
        (pod,) = [one for one in recording.pods if one["metadata"]["labels"].get("assay.dev/step") == "notify"]
        self.now = began(pod)
        documents = yaml.safe_load_all((ROOT / "manifests/base/roles.yaml").read_text(encoding="utf-8"))
        self.rules = [rule for document in documents for rule in document.get("rules", ())]
        super().__init__()

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> Any:
        found = re.fullmatch(r"/apis?/(?:.+/)?v1(?:alpha1)?/namespaces/kubeflow/(\w+)(?:/([^/]+))?(/log)?", path)
        assert found is not None, path
        resource, name, log = found.groups()
        verb, asked = "get" if name else "list", f"{resource}{log or ''}"
        if not any(asked in rule["resources"] and verb in rule["verbs"] for rule in self.rules):
            raise Refused(403, f"{asked} is forbidden: the account may not {verb} it")
        if log:
            return self.text
        if resource == "workflows":
            workflow = self.recording.workflow_at(self.now)
            assert workflow is not None
            assert workflow["metadata"]["name"] == name
            return workflow
        return {"items": self.recording.pods_at(self.now)}


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shared: Path) -> Iterator[Callable[..., Cluster]]:
    """Puts this process into the cluster of a recorded run."""
    servers = []

    def put(kind: str, log: str = "") -> Cluster:
        server = Cluster(Recording.load(shared, kind), log)
        servers.append(server)
        write_kubeconfig(tmp_path / "kubeconfig", server.url)
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "a cluster")
        monkeypatch.setenv("KFP_NAMESPACE", "kubeflow")
        return server

    yield put
    for server in servers:
        server.stop()


@pytest.mark.parametrize(
    ("kind", "state", "ends", "words"),
    [
        ("succeeded", "COMPLETE", "SUCCEEDED", "succeeded. https://"),
        # What came from the cache stays running for Kubeflow's metadata.
        ("cached", "RUNNING", "SUCCEEDED", "succeeded. https://"),
        (
            "out-of-memory",
            "FAILED",
            "FAILED",
            "failed. finetune: out of memory: it was ended at its limit of 400Mi. Give its profile more memory",
        ),
        (
            "step-timeout",
            "RUNNING",
            "FAILED",
            "failed. baseline: it took longer than a pod may. Raise timeout_minutes of its profile, or train less.",
        ),
        (
            "run-deadline",
            "RUNNING",
            "FAILED",
            "failed. it took longer than its deadline of 1 min 30 s. Raise run_deadline_hours",
        ),
        ("cancelled", "RUNNING", "CANCELED", "was cancelled. https://"),
        (
            "wrong-input",
            "FAILED",
            "FAILED",
            "failed. ingest: gs://assay/nothing: is empty. Name a folder with labelled files. https://",
        ),
    ],
)
def test_the_outcome_is_told_as_at_the_terminal(
    hook: tuple[str, list[dict]],
    inside: Callable[..., Cluster],
    shared: Path,
    kind: str,
    state: str,
    ends: str,
    words: str,
) -> None:
    url, received = hook
    run_id = inside(kind, recorded_log(shared, "wrong-input-ingest")).recording.run_id
    assert notify("kind", "exit-handler-1", state, run_id, "", "https://kfp.example", url)
    (body,) = received
    assert body["state"] == ends
    assert body["text"].startswith(f"kind: run {run_id} {words}")
    assert body["text"].endswith(f"https://kfp.example/#/runs/details/{run_id}")
    assert body["link"] in body["text"]
    assert not re.search(r"RUNNING|driver|executor|assay-training", body["text"])


def test_where_the_cluster_may_not_be_asked_the_outcome_is_told_all_the_same(
    hook: tuple[str, list[dict]], inside: Callable[..., Cluster], capsys: pytest.CaptureFixture[str]
) -> None:
    url, received = hook
    server = inside("out-of-memory")
    server.rules = []
    assert notify("kind", "exit-handler-1", "FAILED", server.recording.run_id, "what Kubeflow says", "", url)
    assert "failed. what Kubeflow says." in received[0]["text"]
    assert "the cluster cannot be asked for more" in capsys.readouterr().out


def test_what_was_ended_from_outside_is_not_called_running(hook: tuple[str, list[dict]]) -> None:
    url, received = hook
    assert notify("pcam", "exit-handler-1", "RUNNING", "abc-1", "", "", url)
    assert received[0]["state"] == "FAILED"
    assert "run abc-1 failed. It was ended from outside" in received[0]["text"]


@pytest.mark.parametrize("webhook", ["http://127.0.0.1:1/", "no address", ""])
def test_a_webhook_that_does_not_answer_fails_nothing(webhook: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert not notify("pcam", "exit-handler-1", "COMPLETE", "abc-1", "", "", webhook)
    assert "abc-1 succeeded" in capsys.readouterr().out


def test_an_error_of_the_webhook_fails_nothing(hook: tuple[str, list[dict]]) -> None:
    assert not notify("pcam", "exit-handler-1", "COMPLETE", "abc-1", "", "", hook[0] + "/broken")


def test_without_an_interface_there_is_no_link() -> None:
    assert run_link("", "abc") == ""
