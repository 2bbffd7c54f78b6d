"""Follow a run on the cluster: its steps as they go on, what they wait for, what is tried again, and why it failed."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from rich.console import Console

from assay.errors import AssayError, InputError
from assay.observability.durations import format_seconds
from assay.outcome.causes import why_waiting
from assay.outcome.failures import Causes, Failure, View, failures_of, in_words
from assay.outcome.pods import RUN_LABEL, STEP_LABEL
from assay.outcome.steps import CACHED, DONE, LEFT_OUT, RUNNING, WAITING, Attempt, Step
from assay.outcome.steps import FAILED as STEP_FAILED
from pipelines.cluster.client import Cluster
from pipelines.cluster.errors import Unanswered
from pipelines.cluster.pods import Pods, read_workflow
from pipelines.cluster.runs import CANCELED, CANCELING, FAILED, FINISHED, state_of, title_of

POLL_SECONDS = 5.0
# A restart of Kubeflow, or of a forwarded port, takes less.
PATIENCE_SECONDS = 130.0
# An end that was asked for: after its last pod, and with its pods, Kubeflow hears of it within so long or never.
QUIET_SECONDS, END_SECONDS = 120.0, 300.0
# As wide as the longest name of a step that is no part of a loop.
TITLE_WIDTH = 12
STYLES = {DONE: "green", CACHED: "green", STEP_FAILED: "red", WAITING: "yellow"}


def watch(cluster: Cluster, run_id: str, console: Console, poll_seconds: float | None = None) -> str:
    """Show a run's steps until it has ended.

    Args:
        cluster: Where it runs.
        run_id: The whole id of the run.
        console: Where states are shown.
        poll_seconds: Between two looks; None: a few.

    Returns:
        ``SUCCEEDED`` or ``SKIPPED``.

    Raises:
        InputError: There is no such run, or it failed for wrong input; why was shown.
        AssayError: The run failed or was cancelled, why was shown; it shall end and does not; or the server is away for
            too long.
    """
    display = _Display(cluster, run_id, console)
    ending: float | None = None
    quiet: float | None = None
    while True:
        run = display.look()
        state = CANCELED if display.was_ended and run.state == FAILED else state_of(run)
        if state in FINISHED:
            break
        if run.state == CANCELING:
            now = time.monotonic()
            ending = now if ending is None else ending
            # Since when nothing of it is seen to run.
            quiet = None if display.unseen or display.still_running else quiet or now
            if now - (quiet or now) >= QUIET_SECONDS or now - ending >= END_SECONDS:
                raise AssayError(display.endless(now - ending))
        time.sleep(POLL_SECONDS if poll_seconds is None else poll_seconds)
    link, short = cluster.run_link(run_id), run_id[:8]
    if state == CANCELED:
        raise AssayError(f"run {short} was cancelled. See {link}")
    if state == FAILED:
        failures = display.show_failures()
        kind = InputError if failures and all(failure.cause.wrong_input for failure in failures) else AssayError
        raise kind(f"run {short} failed: {in_words(failures)}. See {link}")
    took = _duration(run.created_at, run.finished_at)
    console.print(f"[green]{state.lower()}[/green]{f' after {took}' if took else ''}: {link}", soft_wrap=True)
    return state


class _Display:
    """Shows what is new of a run."""

    def __init__(self, cluster: Cluster, run_id: str, console: Console) -> None:
        self.cluster, self.run_id, self.console = cluster, run_id, console
        self.pods = Pods(cluster)
        self.causes = Causes(run_id, self.pods, cluster.settings.placement)
        self.view: View | None = None
        self._shown: dict[str, str] = {}
        self._uids: dict[str, str] = {}
        self._told: set[str] = set()
        self._away = False

    def look(self) -> Any:
        """Look at the run, show what is new, and return it."""
        try:
            run = self.cluster.run(self.run_id, patience_seconds=PATIENCE_SECONDS, when_away=self._say_away)
        except Unanswered as error:
            raise AssayError(
                f"{error} It was away for two minutes; the run goes on without it. Follow it again: "
                f"assay runs watch {self.run_id[:8]}"
            ) from error
        if self._away:
            self._away = False
            self.console.print("the server answers again", style="dim", highlight=False)
        if self.view is None:
            self._print(f"{title_of(run)} is followed; Ctrl-C ends that and not the run", "dim")
        self.view = View(run, read_workflow(self.cluster, self.run_id), self.pods.of_run(self.run_id))
        if run.state == CANCELING and CANCELING not in self._told:
            self._told.add(CANCELING)
            self.console.print("the run is being ended", style="yellow", highlight=False)
        for step in self.view.steps:
            self._show(step)
        return run

    @property
    def was_ended(self) -> bool:
        """Whether someone ended the run; the server may say no more than that it failed."""
        workflow = self.view.workflow if self.view is not None else None
        return CANCELING in self._told or (workflow is not None and workflow.was_ended)

    @property
    def unseen(self) -> bool:
        """Whether the run's pods cannot be looked at."""
        return bool(self.pods.problem)

    @property
    def still_running(self) -> list[str]:
        """Names of its pods that have not ended."""
        assert self.view is not None
        return [pod.name for pod in self.view.pods if pod.phase not in ("Succeeded", "Failed")]

    def endless(self, seconds: float) -> str:
        """Return what is to be said of a run that was to end, and of whose end nobody has heard for so long."""
        short, namespace = self.run_id[:8], self.cluster.settings.namespace
        about = f"run {short} has been asked to end, and {format_seconds(seconds)} later Kubeflow knows of no end."
        if self.unseen:
            way_out = f"Look whether its pods run: kubectl -n {namespace} get pods -l {RUN_LABEL}={self.run_id}."
        elif self.still_running:
            way_out = (
                f"Still there: {', '.join(self.still_running)}. Look why: kubectl -n {namespace} describe pod "
                f"{self.still_running[0]}. Then follow it again: assay runs watch {short}."
            )
        else:
            way_out = (
                "None of its pods runs any more. Where its schedule was deleted before its end, or its workflow, "
                "Kubeflow calls it CANCELING for ever, and it costs nothing. Archive it in the interface and delete it "
                "there, to have it off the list; its artifacts and models stay."
            )
        return f"{about} {way_out} See {self.cluster.run_link(self.run_id)}"

    def show_failures(self) -> list[Failure]:
        """Show what failed, why, and what to do; return it."""
        assert self.view is not None
        failures = failures_of(self.view, self.causes)
        for failure in failures:
            took = f" after {format_seconds(failure.seconds)}" if failure.seconds is not None else ""
            where = f" on {failure.machine}" if failure.machine else ""
            times = f", attempt {failure.attempts}" if failure.attempts > 1 else ""
            self._print("")
            self._print(f"{failure.named or 'the run'} failed{took}{where}{times}: {failure.cause.said}", "red")
            for line in failure.cause.lines:
                self._print(f"    {line}")
            if failure.cause.way_out:
                self._print(f"  {failure.cause.way_out}")
        labels = sorted({step.label for step in self.view.steps if step.state == STEP_FAILED})
        if labels and not all(failure.cause.own for failure in failures):
            namespace, of_steps = self.cluster.settings.namespace, f"{STEP_LABEL} in ({', '.join(labels)})"
            selector = f"{RUN_LABEL}={self.run_id},{of_steps}"
            self._print(f"  The log: kubectl -n {namespace} logs -c main --tail=200 -l '{selector}'", "dim")
        if self.pods.problem:
            self._print(f"  (Kubernetes was not asked for more: {self.pods.problem})", "dim")
        return failures

    def _say_away(self, error: Exception) -> None:
        if not self._away:
            self._away = True
            self.console.print(
                "the server does not answer; it is asked again for two minutes, and the run goes on meanwhile",
                style="yellow",
                highlight=False,
                soft_wrap=True,
            )

    def _show(self, step: Step) -> None:
        if step.state in (CACHED, LEFT_OUT):
            # What was left out is no news: what came before it was, and has been said.
            if step.state == CACHED:
                self._say(step, CACHED, "reused from the cache")
            return
        for attempt in step.attempts:
            self._show_attempt(step, attempt)
        if not step.attempts or step.state == DONE:
            took = f" in {format_seconds(step.seconds)}" if step.seconds is not None and step.state == DONE else ""
            last = step.attempts[-1] if step.attempts else None
            where = f" on {last.machine}" if last is not None and last.machine else ""
            again = f", attempt {last.number}" if last is not None and last.number > 1 else ""
            self._say(step, step.state, f"{step.state}{took}{where}{again}")

    def _show_attempt(self, step: Step, attempt: Attempt) -> None:
        key = f"{step.title}#{attempt.number}"
        again = f", attempt {attempt.number}" if attempt.number > 1 else ""
        where = f" on {attempt.machine}" if attempt.machine else ""
        if attempt.pod is not None and self._uids.setdefault(key, attempt.pod.uid) != attempt.pod.uid:
            self._uids[key] = attempt.pod.uid
            self._say(step, WAITING, "lost its pod: it is begun again")
            self._shown.pop(key, None)
        if attempt.state == WAITING:
            cause = why_waiting(attempt.node, attempt.pod)
            # Numbers in the reason change all the time; what is waited for does not.
            if cause is not None and self._shown.get(key) != (kind := f"{WAITING} {cause.said.partition(' (')[0]}"):
                self._shown[key] = kind
                self._say(step, WAITING, f"waits{again}: {cause.said}. {cause.way_out}".rstrip())
        elif attempt.state == RUNNING and self._shown.get(key) != RUNNING:
            self._shown[key] = RUNNING
            self._say(step, RUNNING, f"running{where}{again}")
        elif attempt.state == STEP_FAILED and self._shown.get(key) != STEP_FAILED:
            self._shown[key] = STEP_FAILED
            assert self.view is not None
            took = f" after {format_seconds(attempt.seconds)}" if attempt.seconds is not None else ""
            said = self.causes.of(self.view, step, attempt).said
            self._say(step, STEP_FAILED, f"failed{took}{where}{again}: {said}")

    def _say(self, step: Step, state: str, said: str) -> None:
        if self._shown.get(step.title) == said:
            return
        self._shown[step.title] = said
        style = STYLES.get(state, "")
        self._print(f"  {step.title:<{TITLE_WIDTH}} {said}", style)

    def _print(self, text: str, style: str = "") -> None:
        self.console.print(text, style=style or None, markup=False, highlight=False, soft_wrap=True)


def _duration(began: datetime | None, ended: datetime | None) -> str:
    return format_seconds((ended - began).total_seconds()) if began and ended and ended > began else ""
