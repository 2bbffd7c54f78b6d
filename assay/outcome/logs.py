"""What a step itself printed, without what the launcher around it prints before and after."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Of Kubeflow's launcher and driver (I1127 05:59:40.733089 18 main.go:67] ...), of Argo's and of the SDK's executor.
KLOG = re.compile(r"([IWEF])\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ [\w.-]+:\d+\] (.*)")
AROUND = re.compile(r'time="?\d{4}-\d\d-\d\dT|\[KFP Executor |Error: (exit status|signal)|\s*$')
ENDED = re.compile(
    r"Component failed to execute successfully: (?:exit status (?P<code>\d+)|signal: (?P<signal>[\w ]+))"
)
# The launcher's own words around what went wrong.
CALL = re.compile(r"^.*?\) failed: |^(KFP driver|failed to execute component): ")


@dataclass(frozen=True)
class StepLog:
    """The end of a step's log.

    Attributes:
        lines: What the step itself printed, its last lines.
        code: The step's own exit code; None: not known, or it was ended by a signal.
        signal: What ended it, such as killed; empty: nothing did.
        kubeflow: The last error of the launcher or driver that is not about the step; empty: there is none.
    """

    lines: tuple[str, ...] = ()
    code: int | None = None
    signal: str = ""
    kubeflow: str = ""


def parse_log(text: str) -> StepLog:
    """Return what a step printed and how it ended.

    Args:
        text: The log of its container, or its end.
    """
    own: list[str] = []
    code, signal, kubeflow = None, "", ""
    for line in text.splitlines():
        said = KLOG.match(line)
        if said:
            ended = ENDED.search(line)
            if ended:
                code = int(ended["code"]) if ended["code"] else None
                signal = (ended["signal"] or "").strip()
                kubeflow = ""
            elif said[1] in "EF" and code is None and not signal:
                kubeflow = CALL.sub("", said[2])
        elif not AROUND.match(line):
            own.append(line.rstrip())
    # The executor prints the inputs as indented JSON before the step begins; the end of a log may begin within it.
    closed = [number for number, line in enumerate(own) if line == "}" and _is_json(own[number - 1])]
    return StepLog(tuple(own[closed[-1] + 1 if closed else 0 :]), code, signal, kubeflow)


def _is_json(line: str) -> bool:
    return line.startswith("    ") and line.rstrip(",").endswith(('"', "}", "]"))
