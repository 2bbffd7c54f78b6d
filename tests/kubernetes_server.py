"""What servers that speak the HTTP API of Kubernetes have in common, on loopback."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.loopback import LoopbackServer, Refused


class KubernetesServer(LoopbackServer):
    """Answers with what `answer` returns, and refuses as Kubernetes does."""

    def respond(self, method: str, target: str, headers: dict[str, str], body: bytes) -> dict[str, Any]:
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        return self.answer(method, parts.path, query, body)

    def explain(self, refused: Refused) -> dict[str, Any]:
        return {"kind": "Status", "status": "Failure", "message": refused.message, "code": refused.status}

    @abstractmethod
    def answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> dict[str, Any]:
        """Answer one request.

        Raises:
            Refused: With another status.
        """


def write_kubeconfig(path: Path, url: str) -> None:
    """Write a kubeconfig whose only cluster is at an address."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": url}}],
        "users": [{"name": "test", "user": {"token": "secret"}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
