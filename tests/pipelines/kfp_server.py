"""A server that speaks the HTTP API of Kubeflow Pipelines, and as much of Kubernetes as following a run needs.

It keeps state, holds payloads to the SDK's generated models, plays recorded runs back, and fails as it is told to. What
it sends is what a real server sent: no error in a task, no pod's name, and FAILED at the end of what was ended.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.parser import BytesParser
from types import SimpleNamespace
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

import kfp_server_api
import yaml

from tests.loopback import LoopbackServer, Refused
from tests.pipelines.recordings import Recording

API = "/apis/v2beta1"
FINISHED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")


@dataclass
class State:
    """What the server has, and how it is told to behave."""

    experiments: dict[str, dict[str, Any]] = field(default_factory=dict)
    pipelines: dict[str, dict[str, Any]] = field(default_factory=dict)
    versions: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    schedules: dict[str, dict[str, Any]] = field(default_factory=dict)
    graphs: dict[str, list[Any]] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)  # by the end of a pod's name
    recordings: dict[str, Recording] = field(default_factory=dict)  # by run
    plays: Recording | None = None  # what becomes of a run that is submitted
    # Every look at a run moves it on: its state for each look; the last one stays.
    script: list[str] = field(default_factory=lambda: ["SUCCEEDED"])
    # What there is beside the server: Kubernetes may be away, and a later server may give no workflows.
    gives_workflows: bool = True
    lost_nodes: set[str] = field(default_factory=set)
    token: str | None = None
    version: str = "2.17.0"
    multi_user: bool = False
    failures: list[tuple[str, int]] = field(default_factory=list)  # (method and path pattern, status), each once
    page_limit: int = 100
    requests: list[str] = field(default_factory=list)

    def fail(self, pattern: str, status: int, times: int = 1) -> None:
        """Answer the next requests that match ``METHOD /path`` with a status."""
        self.failures += [(pattern, status)] * times


def checked(kind: str, payload: dict[str, Any]) -> dict[str, Any]:
    """Return the payload if the SDK's model of that kind takes it."""
    model = getattr(kfp_server_api, kind)
    unknown = set(payload) - set(model.attribute_map.values())
    if unknown:
        raise Refused(400, f"{kind}: unknown field {sorted(unknown)[0]}")
    try:
        kfp_server_api.ApiClient().deserialize(SimpleNamespace(data=json.dumps(payload)), kind)
    except (ValueError, TypeError) as error:
        raise Refused(400, f"{kind}: {error}") from error
    return payload


def now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


class KubeflowServer(LoopbackServer):
    """Use as a context manager; `url` is where it answers."""

    def __init__(self) -> None:
        self.state = State()
        super().__init__()

    def explain(self, refused: Refused) -> dict[str, Any]:
        return {"error": refused.message, "message": refused.message}

    def respond(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Any:
        """Answer one request."""
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        # The address of a kubeconfig goes through Kubernetes's own proxy; the SDK joins the paths with two slashes.
        asked = f"{method} {unquote(parts.path).partition(':http/proxy/')[2] or unquote(parts.path)}"
        self.state.requests.append(asked)
        for failure in self.state.failures:
            if re.search(failure[0], asked):
                self.state.failures.remove(failure)
                raise Refused(failure[1], f"told to fail with {failure[1]}")
        for pattern, route in self.kubernetes.items():
            match = re.fullmatch(pattern, asked)
            if match:
                return route(self, query, *match.groups())
        if self.state.token is not None and headers.get("authorization") != f"Bearer {self.state.token}":
            raise Refused(401, "Unauthenticated: the token has expired")
        for pattern, route in self.routes.items():
            match = re.fullmatch(pattern, asked)
            if match:
                return route(self, query, headers, body, *match.groups())
        raise Refused(404, f"no such path: {asked}")

    def play(self, recording: Recording, **values: Any) -> str:
        """Put a recorded run there, which goes on by some seconds with each look, and return its id."""
        run_id = recording.run_id
        self.state.recordings[run_id] = recording
        self.state.runs[run_id] = {**recording.run_at(recording.moments[0]), "looks": 0, **values}
        return run_id

    def _now(self, run_id: str) -> Any:
        """Return the moment of the last look at a recorded run."""
        moments = self.state.recordings[run_id].moments
        return moments[min(max(self.state.runs[run_id]["looks"] - 1, 0), len(moments) - 1)]

    def _pods(self, query: dict[str, str]) -> Any:
        run_id = query["labelSelector"].removeprefix("pipeline/runid=")
        found = []
        if run_id in self.state.recordings:
            found = self.state.recordings[run_id].pods_at(self._now(run_id))
        return {"items": found}

    def _pod_log(self, query: dict[str, str], pod: str) -> str:
        for name, log in self.state.logs.items():
            if pod.endswith(name):
                return "\n".join(log.splitlines()[-int(query.get("tailLines", 10**6)) :])
        raise Refused(404, f'pods "{pod}" not found')

    def _node(self, query: dict[str, str], name: str) -> Any:
        if name in self.state.lost_nodes:
            raise Refused(404, f'nodes "{name}" not found')
        return {"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}

    def _workflow(self, query: dict[str, str], headers: dict[str, str], body: bytes, run_id: str) -> Any:
        recording = self.state.recordings.get(run_id)
        manifest = recording.workflow_at(self._now(run_id)) if recording else None
        if not self.state.gives_workflows or manifest is None:
            raise Refused(404, f"Run {run_id} not found")
        return {"run": {"id": run_id}, "pipeline_runtime": {"workflow_manifest": json.dumps(manifest)}}

    def _run_log(self, query: dict[str, str], headers: dict[str, str], body: bytes, run_id: str, pod: str) -> Any:
        return self._pod_log(query, pod)

    def _list(self, items: list[dict[str, Any]], field: str, query: dict[str, str]) -> dict[str, Any]:
        if query.get("namespace") and not self.state.multi_user:
            raise Refused(400, "In single-user mode, a list cannot be filtered by namespace")
        for predicate in json.loads(query.get("filter") or "{}").get("predicates", []):
            items = [item for item in items if item.get(predicate["key"]) == predicate["stringValue"]]
        if query.get("sort_by", "").endswith(" desc"):
            items = items[::-1]
        start = int(query.get("page_token") or 0)
        size = min(int(query.get("page_size") or 10), self.state.page_limit)
        page: dict[str, Any] = {field: items[start : start + size], "total_size": len(items)}
        if start + size < len(items):
            page["next_page_token"] = str(start + size)
        return page

    def _health(self, query: dict[str, str], headers: dict[str, str], body: bytes) -> Any:
        about = {"commit_sha": "", "tag_name": self.state.version, "pipeline_store": "database"}
        return {**about, "multi_user": self.state.multi_user}

    def _list_experiments(self, query: dict[str, str], headers: dict[str, str], body: bytes) -> Any:
        return self._list(list(self.state.experiments.values()), "experiments", query)

    def _create_experiment(self, query: dict[str, str], headers: dict[str, str], body: bytes) -> Any:
        wanted = checked("V2beta1Experiment", json.loads(body))
        if bool(wanted.get("namespace")) != self.state.multi_user:
            raise Refused(400, "a namespace is for servers of many users, and needed there")
        made = {**wanted, "experiment_id": str(uuid.uuid4()), "created_at": now()}
        self.state.experiments[made["experiment_id"]] = made
        return made

    def _list_pipelines(self, query: dict[str, str], headers: dict[str, str], body: bytes) -> Any:
        return self._list(list(self.state.pipelines.values()), "pipelines", query)

    def _list_versions(self, query: dict[str, str], headers: dict[str, str], body: bytes, pipeline: str) -> Any:
        found = [version for version in self.state.versions.values() if version["pipeline_id"] == pipeline]
        return self._list(found, "pipeline_versions", query)

    def _upload(self, query: dict[str, str], headers: dict[str, str], body: bytes) -> Any:
        if any(pipeline["display_name"] == query["name"] for pipeline in self.state.pipelines.values()):
            raise Refused(409, f"a pipeline with the name {query['name']} exists")
        made = {"pipeline_id": str(uuid.uuid4()), "display_name": query["name"], "created_at": now()}
        self._add_version(made["pipeline_id"], query["name"], headers, body)
        self.state.pipelines[made["pipeline_id"]] = made
        return made

    def _upload_version(self, query: dict[str, str], headers: dict[str, str], body: bytes) -> Any:
        if query["pipelineid"] not in self.state.pipelines:
            raise Refused(404, f"no pipeline {query['pipelineid']}")
        return self._add_version(query["pipelineid"], query["name"], headers, body)

    def _add_version(self, pipeline: str, name: str, headers: dict[str, str], body: bytes) -> dict[str, Any]:
        kind = next(value for key, value in headers.items() if key.lower() == "content-type")
        message = BytesParser().parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
        (part,) = message.get_payload()
        documents = list(yaml.safe_load_all(part.get_payload(decode=True)))
        if documents[0].get("schemaVersion") != "2.1.0":
            raise Refused(400, "not a pipeline")
        made = {
            "pipeline_id": pipeline,
            "pipeline_version_id": str(uuid.uuid4()),
            "display_name": name,
            "created_at": now(),
        }
        self.state.versions[made["pipeline_version_id"]] = made
        self.state.graphs[made["pipeline_version_id"]] = documents
        return made

    def _check_parameters(self, wanted: dict[str, Any]) -> None:
        checked("V2beta1RuntimeConfig", wanted.get("runtime_config", {}))
        reference = checked("V2beta1PipelineVersionReference", wanted["pipeline_version_reference"])
        version = self.state.versions.get(reference["pipeline_version_id"])
        if version is None or version["pipeline_id"] != reference["pipeline_id"]:
            raise Refused(404, "no such pipeline version")
        definitions = self.state.graphs[version["pipeline_version_id"]][0]["root"]["inputDefinitions"]["parameters"]
        given = wanted["runtime_config"]["parameters"]
        for name in given:
            if name not in definitions:
                raise Refused(400, f"unknown parameter {name}")
        for name, definition in definitions.items():
            if name not in given and not definition.get("isOptional") and "defaultValue" not in definition:
                raise Refused(400, f"parameter {name} is required but not given")
        if wanted.get("experiment_id") not in self.state.experiments:
            raise Refused(404, "no such experiment")

    def _create_run(self, query: dict[str, str], headers: dict[str, str], body: bytes) -> Any:
        wanted = checked("V2beta1Run", json.loads(body))
        self._check_parameters(wanted)
        made = self.add_run(**wanted)
        if self.state.plays is not None:
            self.state.recordings[made["run_id"]] = self.state.plays
        return made

    def add_run(self, **values: Any) -> dict[str, Any]:
        """Put a run there, as a schedule would."""
        made = {"run_id": str(uuid.uuid4()), "created_at": now(), "state": "PENDING", "looks": 0, **values}
        made["state_history"] = [{"state": made["state"], "update_time": made["created_at"]}]
        self.state.runs[made["run_id"]] = made
        return _shown(made)

    def change(self, run_id: str, state: str) -> None:
        """Have a run in another state."""
        run = self._run(run_id)
        if run["state"] != state:
            run["state"] = state
            run["state_history"] = [*run["state_history"], {"state": state, "update_time": now()}]

    def fire(self, schedule: str) -> dict[str, Any]:
        """Start a run of a schedule, as the controller does at its time."""
        one = self.state.schedules[schedule]
        if one["status"] != "ENABLED":
            raise AssertionError("a schedule that is switched off starts nothing")
        values = {name: one[name] for name in ("experiment_id", "pipeline_version_reference", "runtime_config")}
        return self.add_run(display_name=one["display_name"], recurring_run_id=schedule, state="RUNNING", **values)

    def _list_runs(self, query: dict[str, str], headers: dict[str, str], body: bytes) -> Any:
        wanted = query.get("experiment_id")
        found = [_shown(run) for run in self.state.runs.values() if wanted in (None, run.get("experiment_id"))]
        return self._list(found, "runs", query)

    def _get_run(self, query: dict[str, str], headers: dict[str, str], body: bytes, run_id: str) -> Any:
        run = self._run(run_id)
        run["looks"] += 1
        if run_id in self.state.recordings:
            run.update({**self.state.recordings[run_id].run_at(self._now(run_id)), "run_id": run_id})
            return _shown(run)
        if run.get("abandoned"):
            pass  # Its workflow is gone: nobody will ever say how it stands.
        elif run["state"] == "CANCELING":
            self.change(run_id, "FAILED")
        elif run["state"] not in FINISHED:
            self.change(run_id, self.state.script[min(run["looks"], len(self.state.script)) - 1])
        return checked("V2beta1Run", _shown(run))

    def _terminate_run(self, query: dict[str, str], headers: dict[str, str], body: bytes, run_id: str) -> Any:
        run = self._run(run_id)
        if run["state"] in FINISHED:
            raise Refused(400, f"Failed to terminate run {run_id}: it has ended")
        self.change(run_id, "CANCELING")
        return {}

    def _run(self, run_id: str) -> dict[str, Any]:
        if run_id not in self.state.runs:
            raise Refused(404, f"Run {run_id} not found")
        return self.state.runs[run_id]

    def _list_schedules(self, query: dict[str, str], headers: dict[str, str], body: bytes) -> Any:
        wanted = query.get("experiment_id")
        found = [one for one in self.state.schedules.values() if wanted in (None, one["experiment_id"])]
        return self._list(found, "recurringRuns", query)

    def _create_schedule(self, query: dict[str, str], headers: dict[str, str], body: bytes) -> Any:
        wanted = checked("V2beta1RecurringRun", json.loads(body))
        checked("V2beta1Trigger", wanted["trigger"])
        if len(wanted["trigger"]["cron_schedule"]["cron"].split()) != 6:
            raise Refused(400, "Expected 6 fields in the cron schedule")
        if not 1 <= int(wanted["max_concurrency"]) <= 10:
            raise Refused(400, "max_concurrency must be from 1 to 10")
        self._check_parameters(wanted)
        made = {**wanted, "recurring_run_id": str(uuid.uuid4()), "created_at": now()}
        made["status"] = "ENABLED" if wanted.get("mode") == "ENABLE" else "DISABLED"
        self.state.schedules[made["recurring_run_id"]] = made
        return made

    def _switch_schedule(
        self, query: dict[str, str], headers: dict[str, str], body: bytes, schedule: str, verb: str
    ) -> Any:
        self._schedule(schedule)["status"] = f"{verb.upper()}D"
        return {}

    def _delete_schedule(self, query: dict[str, str], headers: dict[str, str], body: bytes, schedule: str) -> Any:
        self._schedule(schedule)
        # As Kubernetes does: what a schedule owns goes with it. The run stays on the server as it was last seen.
        for run in self.state.runs.values():
            if run.get("recurring_run_id") == schedule and run["state"] not in FINISHED:
                run["abandoned"] = True
        del self.state.schedules[schedule]
        return {}

    def _schedule(self, schedule: str) -> dict[str, Any]:
        if schedule not in self.state.schedules:
            raise Refused(404, f"Recurring run {schedule} not found")
        return self.state.schedules[schedule]

    kubernetes: ClassVar[dict[str, Callable[..., Any]]] = {
        "GET /api/v1/namespaces/[^/]+/pods": _pods,
        "GET /api/v1/namespaces/[^/]+/pods/([^/]+)/log": _pod_log,
        "GET /api/v1/nodes/([^/]+)": _node,
    }
    routes: ClassVar[dict[str, Callable[..., Any]]] = {
        f"GET {API}/healthz": _health,
        f"GET {API}/experiments": _list_experiments,
        f"POST {API}/experiments": _create_experiment,
        f"GET {API}/pipelines": _list_pipelines,
        f"GET {API}/pipelines/([^/]+)/versions": _list_versions,
        f"POST {API}/pipelines/upload": _upload,
        f"POST {API}/pipelines/upload_version": _upload_version,
        f"GET {API}/runs": _list_runs,
        f"POST {API}/runs": _create_run,
        f"GET {API}/runs/([^/:]+)": _get_run,
        f"POST {API}/runs/([^/:]+):terminate": _terminate_run,
        "GET /apis/v1beta1/runs/([^/:]+)": _workflow,
        "GET /apis/v1alpha1/runs/([^/:]+)/nodes/([^/]+)/log": _run_log,
        f"GET {API}/recurringruns": _list_schedules,
        f"POST {API}/recurringruns": _create_schedule,
        f"POST {API}/recurringruns/([^/:]+):(enable|disable)": _switch_schedule,
        f"DELETE {API}/recurringruns/([^/:]+)": _delete_schedule,
    }


def _shown(run: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in run.items() if name not in ("looks", "abandoned")}
