"""Tell people how a run ended: a line in the log and, where there is one, a webhook."""

from __future__ import annotations

import json
import urllib.request

from assay.errors import one_line
from assay.observability.progress import log
from assay.outcome.failures import in_words
from assay.outcome.here import CANCELED, FAILED, SUCCEEDED, read_outcome

TIMEOUT_SECONDS = 10.0
ENDED = "It was ended from outside: by someone, or at a limit of time."
# As Kubeflow's metadata calls what has ended well; RUNNING it calls what was ended from outside as well.
ENDED_WELL = ("COMPLETE", "CACHED", SUCCEEDED)


def run_link(public_url: str, run_id: str) -> str:
    """Return the address of a run's page in the Kubeflow interface, or an empty string without a base."""
    return f"{public_url.rstrip('/')}/#/runs/details/{run_id}" if public_url and run_id else ""


def notify(name: str, part: str, state: str, run_id: str, error: str, public_url: str, webhook: str) -> bool:
    """Log the outcome of a run and send it to a webhook: what failed and why, as ``assay runs watch`` tells it.

    Args:
        name: Model name.
        part: Name of the part of the graph that has ended.
        state: That part's in Kubeflow's metadata, such as COMPLETE; told where the cluster cannot be asked for more.
        run_id: The run's id.
        error: Kubeflow's own error, or an empty string; told where the cluster cannot be asked for more.
        public_url: Address of the Kubeflow interface, or an empty string.
        webhook: URL that is sent a JSON object whose ``text`` chat services show, or an empty string.

    Returns:
        Whether the webhook took it. One that does not answer is logged and never fails the run.
    """
    state, error, way_out = _outcome(part, state, run_id, error)
    link = run_link(public_url, run_id)
    said = f"{error.rstrip('.')}." if error else ""
    text = " ".join(part for part in (f"{name}: run {run_id} {SAID[state]}.", said, way_out, link) if part)
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


SAID = {SUCCEEDED: "succeeded", FAILED: "failed", CANCELED: "was cancelled"}


def _outcome(part: str, state: str, run_id: str, error: str) -> tuple[str, str, str]:
    """Return the state, what failed and why, and the way out."""
    try:
        outcome = read_outcome(run_id, part)
    except Exception as problem:  # whatever the way to the cluster raises: the outcome is told all the same
        log(f"the cluster cannot be asked for more ({one_line(problem)})")
        if state in ENDED_WELL:
            return SUCCEEDED, "", ""
        return FAILED, error or (ENDED if state == "RUNNING" else ""), ""
    ways_out = dict.fromkeys(failure.cause.way_out for failure in outcome.failures if failure.cause.way_out)
    return outcome.state, in_words(outcome.failures), " ".join(ways_out)
