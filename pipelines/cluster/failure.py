"""Why a run failed: the steps that did, each with its cause, and never a word of the machinery around them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.cluster.causes import Cause, of_kubeflow, past_deadline, why_failed
from pipelines.cluster.client import Cluster
from pipelines.cluster.logs import StepLog, parse_log
from pipelines.cluster.pods import Pod, Pods
from pipelines.cluster.steps import FAILED, Attempt, Step, steps_of
from pipelines.cluster.workflow import Workflow

# As much of a log as holds a traceback and what the launcher prints after it.
LOG_LINES = 300


@dataclass(frozen=True)
class Failure:
    """Steps that failed for good, for one cause.

    Attributes:
        steps: Their titles; none: the run itself failed, and no step of it.
        cause: Why.
        attempts: How many there were.
        machine: The node of the cluster that the last was on; empty: not known.
        seconds: How long the last took.
    """

    steps: tuple[str, ...]
    cause: Cause
    attempts: int = 0
    machine: str = ""
    seconds: float | None = None

    @property
    def named(self) -> str:
        """The steps, in words."""
        return ", ".join(self.steps)


@dataclass(frozen=True)
class View:
    """A run as it is now.

    Attributes:
        run: As the SDK gives it.
        workflow: None: it cannot be had.
        pods: As far as they can be seen.
    """

    run: Any
    workflow: Workflow | None
    pods: Sequence[Pod]

    @property
    def steps(self) -> list[Step]:
        """The steps that have begun."""
        return steps_of(self.run, self.workflow, self.pods)


class Causes:
    """Finds out why attempts failed; each is asked about once.

    Args:
        cluster: Where the run is.
        run_id: The run's.
        pods: Looks at its pods.
    """

    def __init__(self, cluster: Cluster, run_id: str, pods: Pods) -> None:
        self.cluster, self.run_id, self.pods = cluster, run_id, pods
        self._known: dict[tuple[str, int], Cause] = {}

    def of(self, view: View, step: Step, attempt: Attempt) -> Cause:
        """Return why an attempt at a step failed."""
        key = (attempt.pod.uid if attempt.pod else attempt.node.id if attempt.node else step.title, attempt.number)
        if key not in self._known:
            problem = self.pods.node_problem(attempt.machine) if attempt.machine and attempt.pod is None else ""
            self._known[key] = why_failed(
                view.workflow,
                attempt.node,
                attempt.pod,
                self._log(view, attempt),
                step.label,
                self.cluster.settings,
                problem,
            )
        return self._known[key]

    def of_driver(self, view: View) -> Iterator[Failure]:
        """Yield the steps that Kubeflow could not start."""
        if view.workflow is None or view.workflow.past_deadline or view.workflow.was_ended:
            return
        for name, node in view.workflow.failed_drivers():
            said = parse_log(self.pods.log(self.run_id, view.workflow.pod_name(node), LOG_LINES)).kubeflow
            what = "it could not be started" if name else "a part of the graph could not be started"
            yield Failure((name,) if name else (), of_kubeflow(said, f"Kubeflow says that {what}"), 1)

    def _log(self, view: View, attempt: Attempt) -> StepLog:
        name = attempt.pod.name if attempt.pod else ""
        if (
            not name
            and attempt.node is not None
            and view.workflow is not None
            and "deleted" not in attempt.node.message
        ):
            name = view.workflow.pod_name(attempt.node)
        return parse_log(self.pods.log(self.run_id, name, LOG_LINES)) if name else StepLog()


def failures_of(view: View, causes: Causes) -> list[Failure]:
    """Return what failed in a run that has failed."""
    found = [
        Failure(
            (step.title,),
            causes.of(view, step, step.attempts[-1])
            if step.attempts
            else Cause("neither its pod nor its log can be seen from here", "Look at the run in Kubeflow's interface."),
            len(step.attempts),
            step.attempts[-1].machine if step.attempts else "",
            step.seconds,
        )
        for step in view.steps
        if step.state == FAILED
    ]
    found += causes.of_driver(view)
    workflow = view.workflow
    if workflow is not None and workflow.past_deadline and not found:
        found.append(Failure((), past_deadline(workflow, "it")))
    if not found:
        said = " ".join(str(getattr(view.run.error, "message", None) or "").split()) if view.run.error else ""
        cause = Cause(said or "Kubeflow does not say why", "Look at the run in Kubeflow's interface.")
        found.append(Failure((), cause))
    # What one cause has done to several is said once.
    together: dict[Cause, Failure] = {}
    for failure in found:
        before = together.get(failure.cause)
        together[failure.cause] = Failure(before.steps + failure.steps, failure.cause) if before else failure
    return list(together.values())
