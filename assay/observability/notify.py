"""Tell people how a run ended: a line in the log and, where there is one, a webhook."""

from __future__ import annotations

import json
import urllib.request

from assay.observability.progress import log

TIMEOUT_SECONDS = 10.0
ENDED = "It was ended from outside: by someone, or at a limit of time."


def run_link(public_url: str, run_id: str) -> str:
    """Return the address of a run's page in the Kubeflow interface, or an empty string without a base."""
    return f"{public_url.rstrip('/')}/#/runs/details/{run_id}" if public_url and run_id else ""


def notify(name: str, state: str, run_id: str, error: str, public_url: str, webhook: str) -> bool:
    """Log the outcome of a run and send it to a webhook.

    Args:
        name: Model name.
        state: Kubeflow's state of the part that has ended, such as SUCCEEDED. What was ended from outside it still
            calls RUNNING.
        run_id: The run's id.
        error: The first error, or an empty string.
        public_url: Address of the Kubeflow interface, or an empty string.
        webhook: URL that is sent a JSON object whose ``text`` chat services show, or an empty string.

    Returns:
        Whether the webhook took it. One that does not answer is logged and never fails the run.
    """
    if state == "RUNNING":
        state, error = "FAILED", error or ENDED
    link = run_link(public_url, run_id)
    text = " ".join(part for part in (f"{name}: run {run_id} {state.lower()}.", error, link) if part)
    log(text)
    if not webhook:
        return False
    body = {"text": text, "model": name, "state": state, "run": run_id, "link": link, "error": error}
    try:
        request = urllib.request.Request(
            webhook, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):
            return True
    except (OSError, ValueError) as problem:
        log(f"the webhook did not take it ({problem}); the run's outcome is not changed by that")
        return False
