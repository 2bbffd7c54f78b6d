"""Follow a run on the cluster: states of its steps as they change, and why it failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from assay.errors import AssayError
from pipelines.cluster.client import Cluster, kubernetes_api
from pipelines.local.console import format_seconds

SUCCEEDED, FAILED, CANCELED, SKIPPED = "SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"
FINISHED = (SUCCEEDED, FAILED, CANCELED, SKIPPED)
POLL_SECONDS = 5.0
LOG_LINES = 20
# Nodes of the workflow that are no steps of ours.
MACHINERY = ("root", "executor", "driver")
STYLES = {SUCCEEDED: "green", FAILED: "red", CANCELED: "yellow", "CANCELING": "yellow", SKIPPED: "dim"}


@dataclass(frozen=True)
class PodLog:
    """The last lines of a pod, or why they cannot be had."""

    pod: str
    lines: tuple[str, ...] = ()
    problem: str = ""


def watch(cluster: Cluster, run_id: str, console: Console, poll_seconds: float = POLL_SECONDS) -> str:
    """Show a run's steps until it has ended.

    Args:
        cluster: Where it runs.
        run_id: The run.
        console: Where states are shown.
        poll_seconds: Between two looks.

    Returns:
        ``SUCCEEDED`` or ``SKIPPED``.

    Raises:
        AssayError: The run failed or was cancelled; the steps that failed were shown with their last lines.
    """
    shown: dict[str, str] = {}
    started = time.monotonic()
    state = ""
    while True:
        run = cluster.read(cluster.kfp.runs.run_service_get_run, run_id=run_id)
        _show_tasks(run, shown, console)
        if run.state != state:
            state = run.state or ""
            console.print(f"run {_styled(state)}" if state else "run is waiting", highlight=False)
        if state in FINISHED:
            break
        time.sleep(poll_seconds)
    link = cluster.run_link(run_id)
    if state == FAILED:
        failed = _show_failures(cluster, run, console)
        named = f": {', '.join(failed)}" if failed else f": {_error(run)}" if _error(run) else ""
        raise AssayError(f"run {run_id} failed{named}. See {link}")
    if state == CANCELED:
        raise AssayError(f"run {run_id} was cancelled. See {link}")
    console.print(f"{_styled(state)} after {format_seconds(time.monotonic() - started)}: {link}", soft_wrap=True)
    return state


def cancel(cluster: Cluster, run_id: str) -> str:
    """End a run, and return its state before.

    A run that has ended stays as it is.
    """
    runs = cluster.kfp.runs
    run = cluster.read(runs.run_service_get_run, run_id=run_id)
    if run.state not in FINISHED:
        cluster.change(runs.run_service_terminate_run, run_id=run_id)
    return str(run.state)


def list_runs(cluster: Cluster, limit: int) -> list[Any]:
    """Return the latest runs of the settings' experiment, newest first."""
    experiment = cluster.find_experiment()
    if experiment is None:
        return []
    page = cluster.read(
        cluster.kfp.runs.run_service_list_runs,
        experiment_id=experiment,
        page_size=limit,
        sort_by="created_at desc",
        **cluster.scope,
    )
    return list(page.runs or ())


def _tasks(run: Any) -> list[Any]:
    details = getattr(run.run_details, "task_details", None) or []
    return sorted(details, key=lambda task: str(task.start_time or task.create_time or ""))


def _is_step(task: Any) -> bool:
    name = task.display_name or ""
    return not any(name == word or name.endswith(f"-{word}") for word in MACHINERY)


def _show_tasks(run: Any, shown: dict[str, str], console: Console) -> None:
    for task in _tasks(run):
        # A driver is worth a line only when it is what failed: its step then never starts.
        wanted = _is_step(task) or (task.state == FAILED and (task.display_name or "").endswith("driver"))
        if wanted and task.state and shown.get(task.task_id) != task.state:
            console.print(f"  {task.display_name} {_styled(task.state)}", highlight=False, soft_wrap=True)
        shown[task.task_id] = task.state or ""


def _styled(state: str) -> str:
    style = STYLES.get(state)
    return f"[{style}]{state.lower()}[/{style}]" if style else state.lower()


def _error(task: Any) -> str:
    return " ".join(str(getattr(task.error, "message", None) or "").split()) if task.error else ""


def _show_failures(cluster: Cluster, run: Any, console: Console) -> list[str]:
    """Show each step that failed with its error and its pods' last lines, and return their names."""
    tasks = _tasks(run)
    failed = {task.task_id: task for task in tasks if task.state == FAILED}
    children = {task.task_id: [child.task_id for child in task.child_tasks or ()] for task in failed.values()}
    # A failure climbs from the pod to the run: the names wanted are those of the innermost steps.
    inner = [
        task
        for task in failed.values()
        if _is_step(task) and not any(child in failed and _is_step(failed[child]) for child in children[task.task_id])
    ] or [task for task in failed.values() if task.display_name != "root"]
    for task in inner:
        console.print(f"\n[red]{task.display_name} failed[/red]", highlight=False)
        below = [task, *(failed[child] for child in children[task.task_id] if child in failed)]
        for problem in dict.fromkeys(filter(None, map(_error, below))):
            console.print(f"  {problem}", markup=False, soft_wrap=True)
        for log in pod_logs(cluster, list(_pods(task, tasks))):
            shown = f"last lines of {log.pod}:" if log.lines else log.problem
            console.print(f"  {shown}", markup=False, highlight=False, soft_wrap=True)
            for line in log.lines:
                console.print(f"    {line}", markup=False, highlight=False, soft_wrap=True)
    return [task.display_name for task in inner]


def _pods(task: Any, tasks: list[Any]) -> Iterator[str]:
    """Yield the pods of a step, its own before its children's, each once."""
    by_id = {other.task_id: other for other in tasks}
    names = [task.pod_name]
    for child in task.child_tasks or ():
        names += [child.pod_name, by_id[child.task_id].pod_name if child.task_id in by_id else None]
    if task.executor_detail is not None:
        names += task.executor_detail.failed_main_jobs or [task.executor_detail.main_job]
    yield from dict.fromkeys(name for name in names if name)


def pod_logs(cluster: Cluster, pods: list[str]) -> Iterator[PodLog]:
    """Yield the last lines of pods, through Kubernetes where this machine reaches it."""
    if not pods:
        return
    namespace = cluster.settings.namespace
    try:
        read = _log_reader(cluster)
    except Exception as error:  # whatever a kubeconfig or its plug-in raises: the run's own failure matters more
        problem = _first_line(error)
        for pod in pods:
            yield PodLog(pod, problem=f"no log ({problem}): kubectl -n {namespace} logs {pod} -c main")
        return
    for pod in pods:
        try:
            text = read(pod)
        except Exception as error:
            yield PodLog(pod, problem=f"no log of {pod} ({_first_line(error)})")
            continue
        lines = tuple(line for line in text.splitlines() if line.strip())[-LOG_LINES:]
        yield PodLog(pod, lines, "" if lines else f"the log of {pod} is empty")


def _log_reader(cluster: Cluster) -> Callable[[str], str]:
    from kubernetes import client

    core = client.CoreV1Api(kubernetes_api(cluster.settings))

    def read(pod: str) -> str:
        text = core.read_namespaced_pod_log(
            pod, cluster.settings.namespace, container="main", tail_lines=LOG_LINES, _request_timeout=10
        )
        return str(text)

    return read


def _first_line(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return (str(reason).splitlines() or [type(error).__name__])[0][:160]
