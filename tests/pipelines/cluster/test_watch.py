"""Following a run: recorded runs of a real cluster, as a person at a terminal sees them."""

from __future__ import annotations

import copy
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from assay.errors import AssayError, InputError
from pipelines.cluster.client import Cluster
from pipelines.cluster.watch import watch
from tests.kubernetes_server import write_kubeconfig
from tests.pipelines.recordings import Recording, recorded_log

# Whatever of Kubeflow and Argo a person should never have to read.
MACHINERY = re.compile(
    r"driver|executor|condition-\d|for-loop|exit-handler|iteration-|\bDAG\b|\(\d+\)|assay-training-\w{5}|system-container"
)


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=200)


def said(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines()]


@pytest.fixture
def recording(shared: Path) -> Callable[[str], Recording]:
    """Reads a recorded run."""
    if not (shared / "cluster" / "recordings").is_dir():
        pytest.skip(f"{shared}/cluster/recordings is absent: it holds runs of a real cluster")
    return lambda kind: Recording.load(shared, kind)


@pytest.fixture
def follow(
    kubeflow: Any, cluster: Cluster, kubeconfig: Path, console: Console, recording: Callable[[str], Recording]
) -> Callable[..., list[str]]:
    """Follow a recorded run to its end, Kubernetes in reach, and return the lines and the error."""

    def to_the_end(kind: str) -> list[str]:
        run_id = kubeflow.play(recording(kind))
        try:
            watch(cluster, run_id, console, poll_seconds=0)
        except AssayError as error:
            return [*said(console), f"{type(error).__name__}: {error}"]
        return said(console)

    return to_the_end


def test_each_step_is_said_by_its_name_with_its_node_and_seconds(follow: Callable[..., list[str]]) -> None:
    lines = follow("succeeded")
    assert [line for line in lines if line.startswith("finetune")] == [
        "finetune running on assay-worker2",
        "finetune done in 19 s on assay-worker2",
    ]
    done = [line.split()[0] for line in lines if " done in " in line]
    assert set(done) == {
        "ingest", "preprocess", "augment", "baseline", "search", "finetune", "evaluate", "promote", "notify",
    }  # fmt: skip
    assert len(done) == len(set(done))
    assert lines[-1].startswith("succeeded after 3 min 22 s: https://kubeflow.example")


@pytest.mark.parametrize(
    "kind",
    [
        "succeeded", "tried-again", "wrong-input", "driver-failed", "process-killed", "out-of-memory", "cancelled",
        "node-lost", "step-timeout", "run-deadline", "cached", "sharded", "scheduled", "scheduled-unchanged", "sweep",
        "merge-failed", "step-failed", "second-attempt-ended", "search-workers",
    ],
)  # fmt: skip
def test_no_word_of_the_machinery_is_said(follow: Callable[..., list[str]], kind: str) -> None:
    lines = follow(kind)
    assert [line for line in lines if MACHINERY.search(line)] == []
    assert "Traceback" not in "\n".join(lines)
    # While the run goes on a line is said once.
    going_on = lines[: lines.index("")] if "" in lines else lines
    assert len(going_on) == len(set(going_on))


def test_a_step_that_is_tried_again_is_said_as_that(follow: Callable[..., list[str]]) -> None:
    assert [line for line in follow("tried-again") if line.startswith("baseline")] == [
        "baseline running on assay-worker2",
        "baseline failed after 19 s on assay-worker2: its process ended with 1",
        "baseline running on assay-worker2, attempt 2",
        "baseline done in 1 min 5 s on assay-worker2, attempt 2",
    ]


def test_a_pod_that_was_lost_is_said_as_that(kubeflow: Any, follow: Callable[..., list[str]]) -> None:
    kubeflow.state.lost_nodes.add("assay-worker3")
    lines = follow("node-lost")
    assert "search failed after 6 min 41 s on assay-worker3: its node assay-worker3 is gone" in lines
    assert "search running on assay-worker3, attempt 2" in lines
    assert lines[-1].startswith("succeeded")


def test_steps_from_the_cache_and_parts_of_a_loop_are_told(follow: Callable[..., list[str]]) -> None:
    lines = follow("merge-failed")
    assert "preprocess-shard 1 done in 7 s on assay-worker" in lines
    assert "preprocess-shard 2 reused from the cache" in lines
    assert "merge-shards failed after 3 s on assay-worker: its process ended with 1" in lines


@pytest.mark.parametrize(
    ("kind", "failed", "way_out", "error"),
    [
        (
            "wrong-input",
            "ingest failed after 2 s on assay-worker: gs://assay/nothing: is empty. Name a folder with labelled files.",
            "",
            r"InputError: run f922c43c failed: ingest: gs://assay/nothing: is empty.*files. See https://",
        ),
        (
            "out-of-memory",
            "finetune failed after 17 s on assay-worker2: out of memory: it was ended at its limit of 400Mi",
            "Give the profile gpu more memory (ASSAY_PROFILES__GPU__MEMORY)",
            r"AssayError: run 196fa60f failed: finetune: out of memory",
        ),
        (
            "step-timeout",
            "baseline failed after 57 s on assay-worker2: it took longer than a pod may",
            "Raise timeout_minutes of the profile gpu, or train less",
            r"AssayError: run fd4eb8a8 failed: baseline: it took longer",
        ),
        (
            "run-deadline",
            "the run failed: it took longer than its deadline of 1 min 30 s",
            "Raise run_deadline_hours",
            r"AssayError: run 1802dc1d failed: it took longer than its deadline of 1 min 30 s. See",
        ),
        (
            "second-attempt-ended",
            "baseline failed after 50 s on assay-worker2, attempt 2: it was ended at the limit for all attempts at it "
            "together",
            "Raise run_deadline_hours: that limit lies beyond it",
            r"AssayError: run 15350d3c failed: baseline: ",
        ),
        (
            "process-killed",  # its pod wrote this to the termination log
            "baseline failed after 39 s on assay-worker2: what a step would say",
            "",
            r"InputError: run 5a241dcf failed: baseline: what a step would say. See",
        ),
        (
            "driver-failed",
            "baseline, finetune, search failed: Kubeflow says that it could not be started: parent DAG does not have "
            "input parameter pipelinechannel--accelerator_count",
            "",
            r"AssayError: run 676f7212 failed: baseline, finetune, search: Kubeflow says",
        ),
    ],
)
def test_a_failure_names_the_step_why_and_the_way_out(
    kubeflow: Any, shared: Path, follow: Callable[..., list[str]], kind: str, failed: str, way_out: str, error: str
) -> None:
    kubeflow.state.logs["1486029289"] = recorded_log(shared, "wrong-input-ingest")
    for pod in ("1558971197", "2732856584", "443692898"):
        kubeflow.state.logs[pod] = (
            "I1127 05:48:31.9 1 main.go:130] input ComponentSpec:{}\n"
            "F1127 05:48:32.011111       1 main.go:127] KFP driver: driver.Container(pipelineName=a, runID=1) "
            "failed: parent DAG does not have input parameter pipelinechannel--accelerator_count\n"
        )
    lines = follow(kind)
    assert failed in lines
    # At the end, after what was said while the run went on.
    after = lines[lines.index(failed, lines.index("")) + 1]
    assert after.startswith(way_out)
    assert re.match(error, lines[-1])


def test_a_bug_shows_where_and_how_to_read_its_log(
    kubeflow: Any, shared: Path, follow: Callable[..., list[str]]
) -> None:
    kubeflow.state.logs["1079301168"] = recorded_log(shared, "step-failed-evaluate")
    lines = follow("step-failed")
    assert "evaluate failed after 1 s on assay-worker2: a bug: TypeError: Cannot instantiate typing.Union" in lines
    assert 'raise TypeError(f"Cannot instantiate {self!r}")' in lines
    assert any(line.startswith("The log: kubectl -n kubeflow logs -c main") for line in lines)
    assert any("assay.dev/step in (evaluate)" in line for line in lines)
    # What the launcher prints after it is nobody's business.
    assert not any("uploadOutputArtifacts" in line or "main.go" in line for line in lines)


def test_a_cancelled_run_is_cancelled_though_the_server_calls_it_failed(
    kubeflow: Any, follow: Callable[..., list[str]], recording: Callable[[str], Recording]
) -> None:
    assert recording("cancelled").run["state"] == "FAILED"
    lines = follow("cancelled")
    assert "the run is being ended" in lines
    assert "baseline failed after 54 s on assay-worker2: it was ended with the run" in lines
    assert lines[-1].startswith("AssayError: run ec4da7c4 was cancelled. See https://")


@pytest.mark.parametrize(
    ("in_reach", "runs", "words"),
    [
        (True, False, "None of its pods runs any more. .* CANCELING for ever, .*Archive it in the interface"),
        (True, True, r"Still there: assay-training-[-a-z0-9]+. Look why: kubectl -n kubeflow describe pod assay-train"),
        (False, False, "kubectl -n kubeflow get pods -l pipeline/runid=4d9a23a5"),
    ],
)
def test_a_run_that_is_canceling_for_ever_is_not_followed_for_ever(
    kubeflow: Any,
    cluster: Cluster,
    tmp_path: Path,
    console: Console,
    recording: Callable[[str], Recording],
    monkeypatch: pytest.MonkeyPatch,
    in_reach: bool,
    runs: bool,
    words: str,
) -> None:
    monkeypatch.setattr("pipelines.cluster.watch.QUIET_SECONDS", 0.05)
    monkeypatch.setattr("pipelines.cluster.watch.END_SECONDS", 0.1)
    recorded = recording("canceling-for-ever")
    assert (recorded.run["state"], recorded.pods) == ("CANCELING", []), "as a real server left it"
    if in_reach:
        write_kubeconfig(tmp_path / "kubeconfig", kubeflow.url)
    if runs:
        pod = copy.deepcopy(recording("tried-again").pods[-1])
        pod["metadata"] |= {"creationTimestamp": recorded.run["created_at"]}
        recorded = Running(recorded.kind, recorded.run, None, [pod])
    run_id = kubeflow.play(recorded)
    with pytest.raises(AssayError, match=rf"run 4d9a23a5 has been asked to end, and .* knows of no end. .*{words}"):
        watch(cluster, run_id, console, poll_seconds=0)
    assert "the run is being ended" in said(console)


class Running(Recording):
    """A recorded run whose pods never end."""

    def pods_at(self, now: Any) -> list[dict[str, Any]]:
        return [{**pod, "status": {**pod["status"], "phase": "Running"}} for pod in self.pods]


def test_a_task_that_was_begun_twice_is_said_with_its_cause(kubeflow: Any, follow: Callable[..., list[str]]) -> None:
    for pod in ("1558971197", "2732856584", "443692898"):
        kubeflow.state.logs[pod] = (
            "F1127 05:48:32.011111       1 main.go:127] KFP driver: driver.Container(pipelineName=assay-training, "
            "runID=1) failed: failed to resolve inputs: failed to get tasks: "
            'two tasks have the same task name "augment", id1=12 id2=14\n'
        )
    lines = follow("driver-failed")
    failed = next(number for number, line in enumerate(lines) if line.startswith("baseline, finetune, search failed"))
    assert lines[failed] == (
        "baseline, finetune, search failed: Kubeflow lost the pod that begins augment after it had written augment "
        "down, wrote it down a second time and cannot tell the two apart in this run"
    )
    assert lines[failed + 1].startswith("Submit again: what is done comes from the cache")
    assert not any("same task name" in line for line in lines)


def pending(recorded: Recording, **status: Any) -> Recording:
    """Return a recorded run whose baseline waits for as long as it is looked at."""
    of_step = [pod for pod in recorded.pods if pod["metadata"]["labels"].get("assay.dev/step") == "baseline"]
    (pod,) = [pod for pod in of_step if pod["status"]["phase"] == "Failed"]
    waiting = copy.deepcopy(pod)
    waiting["spec"]["nodeName"] = None
    for one in waiting["status"]["containerStatuses"]:
        one["state"] = {"waiting": {"reason": "ContainerCreating"}}
    waiting["status"] = {"phase": "Pending", "containerStatuses": waiting["status"]["containerStatuses"], **status}

    class Waiting(Recording):
        def pods_at(self, now: Any) -> list[dict[str, Any]]:
            others = super().pods_at(now)
            baseline = [one for one in others if one["metadata"]["name"] == pod["metadata"]["name"]]
            still = bool(baseline) and baseline[0]["status"]["phase"] in ("Pending", "Running")
            return [waiting if still and one in baseline else one for one in others]

    return Waiting(recorded.kind, recorded.run, recorded.workflow, recorded.pods)


UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/4 nodes are available: 1 node(s) had untolerated taint(s), 3 Insufficient nvidia.com/gpu. "
    "no new claims to deallocate, preemption: 0/4 nodes are available: 4 Preemption is not helpful for scheduling.",
}
NO_IMAGE = {
    "name": "main",
    "state": {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "r/assay:1"'}},
}


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (
            {"conditions": [UNSCHEDULABLE]},
            "baseline waits: no node takes it now (0/4 nodes are available: 1 node(s) had untolerated taint(s), 3 "
            "Insufficient nvidia.com/gpu). It starts when one does; `make preflight` says whether any can.",
        ),
        (
            {"containerStatuses": [NO_IMAGE]},
            'baseline waits: its image cannot be had (Back-off pulling image "r/assay:1"). `make push`, or on kind '
            "`make load`; see docs/cluster.md, troubleshooting.",
        ),
    ],
)
def test_what_a_step_waits_for_is_said_once(
    kubeflow: Any,
    cluster: Cluster,
    kubeconfig: Path,
    console: Console,
    recording: Callable[[str], Recording],
    status: dict[str, Any],
    line: str,
) -> None:
    run_id = kubeflow.play(pending(recording("tried-again"), **status))
    watch(cluster, run_id, console, poll_seconds=0)
    assert said(console).count(line) == 1


def test_without_kubernetes_the_server_alone_tells_as_much(
    kubeflow: Any, cluster: Cluster, console: Console, shared: Path, recording: Callable[[str], Recording]
) -> None:
    kubeflow.state.logs["1486029289"] = recorded_log(shared, "wrong-input-ingest")
    run_id = kubeflow.play(recording("wrong-input"))
    with pytest.raises(InputError, match="ingest: gs://assay/nothing: is empty"):
        watch(cluster, run_id, console, poll_seconds=0)
    assert any("Kubernetes was not asked for more: no kubeconfig" in line for line in said(console))


def test_a_server_that_gives_no_workflow_still_tells_the_steps(
    kubeflow: Any, cluster: Cluster, console: Console, recording: Callable[[str], Recording]
) -> None:
    kubeflow.state.gives_workflows = False
    run_id = kubeflow.play(recording("process-killed"))
    with pytest.raises(AssayError, match="run 5a241dcf failed: baseline: neither its pod nor its log can be seen"):
        watch(cluster, run_id, console, poll_seconds=0)
    lines = said(console)
    assert "preprocess done in 10 s" in lines
    assert [line for line in lines if MACHINERY.search(line)] == []


def test_a_server_that_is_away_for_two_minutes_is_waited_for(
    kubeflow: Any, cluster: Cluster, console: Console, recording: Callable[[str], Recording]
) -> None:
    run_id = kubeflow.play(recording("succeeded"))
    # Pauses of 1, 2, 4 and then 8 seconds: 18 attempts are two minutes.
    kubeflow.state.fail("GET .*/v2beta1//?runs/", 503, times=17)
    assert watch(cluster, run_id, console, poll_seconds=0) == "SUCCEEDED"
    lines = said(console)
    assert sum("does not answer" in line for line in lines) == 1
    assert "the server answers again" in lines


def test_a_server_that_stays_away_is_said_with_how_to_follow_again(
    kubeflow: Any, cluster: Cluster, console: Console, recording: Callable[[str], Recording]
) -> None:
    run_id = kubeflow.play(recording("succeeded"))
    kubeflow.state.fail("GET .*/v2beta1//?runs/", 503, times=60)
    with pytest.raises(
        AssayError, match=rf"the run goes on without it. Follow it again: assay runs watch {run_id[:8]}"
    ):
        watch(cluster, run_id, console, poll_seconds=0)


def test_a_token_that_expires_in_between(
    kubeflow: Any, cluster: Cluster, console: Console, recording: Callable[[str], Recording]
) -> None:
    run_id = kubeflow.play(recording("succeeded"))
    kubeflow.state.token = "renewed"
    with pytest.raises(AssayError, match=r"sign-in has expired"):
        watch(cluster, run_id, console, poll_seconds=0)


def test_a_run_that_is_not_there(cluster: Cluster, console: Console) -> None:
    with pytest.raises(InputError, match=r"there is none of this id"):
        watch(cluster, "absent", console, poll_seconds=0)
