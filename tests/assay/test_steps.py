"""The steps' frame: how an error becomes one line, what is recorded, and which runs are skipped."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assay import steps
from assay.augmentation.policy import load_policy
from assay.config import DataConfig, write_brief
from assay.data.dataset import Dataset
from assay.errors import AssayError, DamagedError
from assay.observability import last_words
from assay.observability.progress import EVENTS_VARIABLE
from assay.steps import frame
from assay.storage.files import BucketNotFound


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    path = tmp_path / "events.jsonl"
    monkeypatch.setenv(EVENTS_VARIABLE, str(path))
    return path


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def ingest(folder: Path, source: str, *, skip_unchanged: bool = False) -> steps.StepRecord:
    folder.mkdir(exist_ok=True)
    return steps.ingest(
        data=write_brief(DataConfig(source=source)),
        storage_root=str(folder / "store"),
        name="tiny",
        seed=0,
        config_fingerprint="0123",
        skip_unchanged=skip_unchanged,
        quality_path=str(folder / "quality.html"),
        code_version="0.0 abc",
    )


def test_wrong_input_ends_a_step_with_2_and_one_line(events: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        ingest(tmp_path / "work", str(tmp_path / "absent"))
    assert stopped.value.code == 2
    (error,) = [event for event in read(events) if event["event"] == "error"]
    assert "absent" in error["message"]
    assert "\n" not in error["message"]
    assert error["exit_code"] == 2


@pytest.fixture
def pod(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where a container's last words go, as in a pod."""
    path = tmp_path / "termination-log"
    path.touch()
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setattr(last_words, "TERMINATION_LOG", path)
    return path


def test_wrong_input_is_told_to_the_workflow_engine_as_such(pod: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        ingest(tmp_path / "work", str(tmp_path / "absent"))
    said = pod.read_text(encoding="utf-8")
    assert said.startswith("wrong input: ")
    assert "absent" in said


def test_what_may_pass_is_not_told_as_wrong_input(pod: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped, frame.step("baseline"):
        raise AssayError("gs://bucket/x: the storage service cannot be used.")
    assert stopped.value.code == 1
    assert pod.read_text(encoding="utf-8") == "gs://bucket/x: the storage service cannot be used."
    assert capsys.readouterr().err.splitlines()[-1] == "baseline: gs://bucket/x: the storage service cannot be used."
    pod.write_bytes(b"")
    with pytest.raises(KeyError), frame.step("baseline"):
        raise KeyError("no such thing")
    assert pod.read_text(encoding="utf-8").startswith("a bug")


def test_the_first_reason_is_the_one_that_is_told(pod: Path) -> None:
    with pytest.raises(SystemExit), frame.step("baseline"):
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            raise BrokenPipeError(32, "Broken pipe")
    assert "SIGTERM" in pod.read_text(encoding="utf-8")


def test_a_long_error_keeps_its_beginning(pod: Path) -> None:
    with pytest.raises(SystemExit), frame.step("baseline"):
        raise AssayError("ä" * 5000)
    assert len(pod.read_bytes()) <= last_words.MOST_BYTES


def test_outside_of_a_pod_nothing_is_written_for_it(monkeypatch: pytest.MonkeyPatch, pod: Path) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    with pytest.raises(SystemExit), frame.step("baseline"):
        raise AssayError("no")
    assert pod.read_bytes() == b""


def test_an_end_from_outside_cleans_up_before_it_ends(pod: Path) -> None:
    cleaned = []
    with pytest.raises(SystemExit) as stopped, frame.step("search"):
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            cleaned.append(True)
    assert stopped.value.code == 128 + signal.SIGTERM
    assert cleaned
    assert "SIGTERM" in pod.read_text(encoding="utf-8")


def test_a_bucket_that_was_there_when_the_run_began_is_no_wrong_input(pod: Path) -> None:
    gone = BucketNotFound("gs://bucket: no such bucket.")
    for name, code, mark in (("ingest", 2, True), ("baseline", 1, False), ("promote", 1, False)):
        pod.write_bytes(b"")
        with pytest.raises(SystemExit) as stopped, frame.step(name):
            raise gone
        assert stopped.value.code == code
        assert pod.read_text(encoding="utf-8").startswith("wrong input: ") == mark


def test_what_the_cache_names_and_storage_has_lost_is_said_with_the_way_out(pod: Path, tmp_path: Path) -> None:
    lost = {"dataset": str(tmp_path / "dataset")}
    with pytest.raises(SystemExit) as stopped, frame.step("baseline", inputs=lost):
        pytest.fail("the body must not run")
    assert stopped.value.code == 2
    assert "dataset" in pod.read_text(encoding="utf-8")
    assert "NO_CACHE=1" in pod.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["augment", "baseline", "promote"])
def test_after_an_output_was_damaged_or_gone_no_later_run_reuses_what_the_cluster_holds(
    name: str, pod: Path, tmp_path: Path
) -> None:
    place, source = tmp_path / "work", "demo://tissue?images=24&size=32&slides=6"
    root = str(place / "store")
    first = ingest(place, source).metadata["reused_from"]
    assert first == ingest(place, source).metadata["reused_from"] == "0.0 abc"
    with pytest.raises(SystemExit) as stopped, frame.step(name, storage_root=root):
        raise DamagedError("dataset/train/000.npy: damaged since preprocess wrote it. Run it with `--force`.")
    assert stopped.value.code == 2
    said = pod.read_text(encoding="utf-8")
    assert said.startswith("wrong input: dataset/train/000.npy: damaged")
    assert "with `--force`. Run it again: it is then made anew" in said and "NO_CACHE" not in said
    second = ingest(place, source).metadata["reused_from"]
    assert second.startswith("0.0 abc ") and second != first
    assert second == ingest(place, source).metadata["reused_from"], "it is made anew once, and then reused"


@pytest.mark.parametrize(
    ("file", "reader"), [("policy.json", load_policy), ("dataset.json", Dataset.open)], ids=["policy", "dataset"]
)
@pytest.mark.parametrize("content", ["{}", "{", None], ids=["emptied", "cut", "gone"])
def test_whatever_a_step_has_written_is_damaged_where_it_reads_otherwise(
    file: str, reader: Callable[[Path], object], content: str | None, pod: Path, tmp_path: Path
) -> None:
    """Else Kubeflow's cache would hand it out for ever."""
    if content is not None:
        (tmp_path / file).write_text(content, encoding="utf-8")
    with pytest.raises(SystemExit) as stopped, frame.step("baseline", storage_root=str(tmp_path / "store")):
        reader(tmp_path)
    assert stopped.value.code == 2
    assert "Run it again: it is then made anew" in pod.read_text(encoding="utf-8")
    assert (tmp_path / "store" / "cache" / "epoch.json").exists()


def test_what_storage_takes_no_note_of_is_for_the_next_submission_to_say(pod: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("where the note belongs there is a file")
    with pytest.raises(SystemExit), frame.step("promote", storage_root=str(tmp_path)):
        raise DamagedError("dataset/train/000.npy: damaged since preprocess wrote it.")
    assert "NO_CACHE=1" in pod.read_text(encoding="utf-8")


def test_on_one_machine_outputs_are_looked_at_before_they_are_reused(
    pod: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    with pytest.raises(SystemExit), frame.step("promote", storage_root=str(tmp_path)):
        raise DamagedError("best/saved_model: the content is not what model.json says (SHA-256). Run evaluate again.")
    said = capsys.readouterr().err
    assert "NO_CACHE" not in said and "Run it again" not in said
    assert not (tmp_path / "cache").exists()


def test_a_step_says_when_it_starts_and_ends_and_what_it_measured(events: Path, tmp_path: Path) -> None:
    record = ingest(tmp_path / "work", "demo://tissue?images=24&size=32&slides=6")
    ends = [(event["event"], event["step"]) for event in read(events) if event["event"] in ("started", "finished")]
    assert ends == [("started", "ingest"), ("finished", "ingest")]
    assert record.metrics["images"] == 24
    assert record.described == {**record.metrics, **record.metadata}
    assert record.metadata["code_version"]
    assert Path(record.value).is_dir()


def test_the_same_data_give_the_same_snapshot_and_nothing_is_skipped_before_a_model_exists(tmp_path: Path) -> None:
    source = "demo://tissue?images=24&size=32&slides=6"
    first = ingest(tmp_path / "work", source)
    again = ingest(tmp_path / "work", source, skip_unchanged=True)
    assert first.value == again.value != ""


def test_parts_of_preprocessing_join_to_what_one_task_gives(tmp_path: Path) -> None:
    source = "demo://tissue?images=60&size=32&slides=12"
    given: dict[str, Any] = {"data": write_brief(DataConfig(source=source)), "seed": 0, "runtime": ""}
    given["snapshot"] = ingest(tmp_path / "work", source).value
    whole = steps.preprocess(**given, dataset_path=str(tmp_path / "whole"))
    root = str(tmp_path / "store")
    # Kubeflow hands numbers of a loop over as floats.
    uris = [
        steps.preprocess_shard(**given, storage_root=root, index=float(part), count=3.0).value  # type: ignore[arg-type]
        for part in range(3)
    ]
    assert len(set(uris)) == 3
    joined = steps.merge_shards(shards=uris, dataset_path=str(tmp_path / "joined"))
    assert joined.metadata["dataset_fingerprint"] == whole.metadata["dataset_fingerprint"]
    for file in (tmp_path / "whole").rglob("*.npy"):
        assert file.read_bytes() == (tmp_path / "joined" / file.relative_to(tmp_path / "whole")).read_bytes()
    # A part made again, as where a pod was lost, lies where it lay.
    again = steps.preprocess_shard(**given, storage_root=root, index=1, count=3).value
    assert again == uris[1]
    shutil.rmtree(uris[2])
    with pytest.raises(SystemExit) as stopped:
        steps.merge_shards(shards=uris, dataset_path=str(tmp_path / "broken"))
    assert stopped.value.code == 2


def test_metrics_that_are_no_numbers_are_left_out() -> None:
    assert frame.finite({"a": 1, "b": float("nan"), "c": float("inf")}) == {"a": 1.0}
