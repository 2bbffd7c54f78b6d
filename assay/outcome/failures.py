"""Why a run failed: the steps that did, each with its cause, and never a word of the machinery around them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from assay.outcome.causes import Cause, of_kubeflow, past_deadline, why_failed
from assay.outcome.logs import StepLog, parse_log
from assay.outcome.pods import Pod
from assay.outcome.steps import FAILED, Attempt, Step, steps_of
from assay.outcome.workflow import Workflow

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
        run: As the SDK gives it; None: it is not known.
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


class Looks(Protocol):
    """Looks at what the workflow does not hold."""

    def log(self, run_id: str, pod: str, lines: int) -> str:
        """Return the last lines of what a step printed; empty where they cannot be had."""

    def node_problem(self, name: str) -> str:
        """Return what is wrong with a node; empty: nothing, or it may not be looked at."""


class Causes:
    """Finds out why attempts failed; each is asked about once.

    Args:
        run_id: The run's.
        looks: Looks at its pods.
        placement: The kind of machine that the settings give each step.
    """

    def __init__(self, run_id: str, looks: Looks, placement: Mapping[str, str]) -> None:
        self.run_id, self.looks, self.placement = run_id, looks, placement
        self._known: dict[tuple[str, int], Cause] = {}

    def of(self, view: View, step: Step, attempt: Attempt) -> Cause:
        """Return why an attempt at a step failed."""
        key = (attempt.pod.uid if attempt.pod else attempt.node.id if attempt.node else step.title, attempt.number)
        if key not in self._known:
            problem = self.looks.node_problem(attempt.machine) if attempt.machine and attempt.pod is None else ""
            self._known[key] = why_failed(
                view.workflow,
                attempt.node,
                attempt.pod,
                self._log(view, attempt),
                step.label,
                self.placement.get(step.label, ""),
                problem,
            )
        return self._known[key]

    def of_driver(self, view: View) -> Iterator[Failure]:
        """Yield the steps that Kubeflow could not start."""
        if view.workflow is None or view.workflow.past_deadline or view.workflow.was_ended:
            return
        for name, node in view.workflow.failed_drivers():
            said = parse_log(self.looks.log(self.run_id, view.workflow.pod_name(node), LOG_LINES)).kubeflow
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
        return parse_log(self.looks.log(self.run_id, name, LOG_LINES)) if name else StepLog()


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
        error = getattr(view.run, "error", None)
        said = " ".join(str(getattr(error, "message", None) or "").split())
        cause = Cause(said or "Kubeflow does not say why", "Look at the run in Kubeflow's interface.")
        found.append(Failure((), cause))
    # What one cause has done to several is said once.
    together: dict[Cause, Failure] = {}
    for failure in found:
        before = together.get(failure.cause)
        together[failure.cause] = Failure(before.steps + failure.steps, failure.cause) if before else failure
    return list(together.values())


def in_words(failures: Sequence[Failure]) -> str:
    """Return what failed and why, in one line without the way out."""
    named = (f"{failure.named}: {failure.cause.said}" if failure.steps else failure.cause.said for failure in failures)
    return "; ".join(named).rstrip(".")
