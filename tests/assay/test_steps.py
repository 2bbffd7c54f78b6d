"""The steps' frame: how an error becomes one line, what is recorded, and which runs are skipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from assay import steps
from assay.config import parse_config
from assay.observability.progress import EVENTS_VARIABLE


def section(name: str, **values: object) -> str:
    config = parse_config({"version": 1, name: values})
    return json.dumps(getattr(config, name).model_dump(mode="json"))


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    path = tmp_path / "events.jsonl"
    monkeypatch.setenv(EVENTS_VARIABLE, str(path))
    return path


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def ingest(folder: Path, source: str, *, skip_unchanged: bool = False) -> steps.StepRecord:
    folder.mkdir(exist_ok=True)
    data = section("data", source=source)
    return steps.ingest(
        data=data,
        storage_root=str(folder / "store"),
        name="tiny",
        skip_unchanged=skip_unchanged,
        quality_path=str(folder / "quality.html"),
        metrics_path=str(folder / "metrics"),
    )


def test_wrong_input_ends_a_step_with_2_and_one_line(events: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        ingest(tmp_path / "work", str(tmp_path / "absent"))
    assert stopped.value.code == 2
    (error,) = [event for event in read(events) if event["event"] == "error"]
    assert "absent" in error["message"]
    assert "\n" not in error["message"]
    assert error["exit_code"] == 2


def test_a_step_says_when_it_starts_and_ends_and_leaves_its_metrics(events: Path, tmp_path: Path) -> None:
    record = ingest(tmp_path / "work", "demo://tissue?images=24&size=32&slides=6")
    assert [event["event"] for event in read(events) if event["event"] in ("started", "finished")] == [
        "started",
        "finished",
    ]
    assert record.metrics["images"] == 24
    assert json.loads((tmp_path / "work" / "metrics").read_text(encoding="utf-8")) == record.metrics
    assert record.metadata["code_version"]
    assert Path(record.value).is_dir()


def test_the_same_data_give_the_same_snapshot_and_nothing_is_skipped_before_a_model_exists(tmp_path: Path) -> None:
    source = "demo://tissue?images=24&size=32&slides=6"
    first = ingest(tmp_path / "work", source)
    again = ingest(tmp_path / "work", source, skip_unchanged=True)
    assert first.value == again.value != ""


def test_parts_of_preprocessing_join_to_what_one_task_gives(tmp_path: Path) -> None:
    snapshot = ingest(tmp_path / "work", "demo://tissue?images=60&size=32&slides=12").value
    given: dict[str, Any] = {
        "data": section("data", source="demo://tissue?images=60&size=32&slides=12"),
        "snapshot": snapshot,
        "seed": 0,
        "runtime": section("runtime"),
        "metrics_path": str(tmp_path / "metrics"),
    }
    whole = steps.preprocess(**given, dataset_path=str(tmp_path / "whole"))
    parts = [str(tmp_path / f"part{index}") for index in range(3)]
    for index, part in enumerate(parts):
        # Kubeflow hands numbers of a loop over as floats.
        steps.preprocess_shard(**{**given, "index": float(index), "count": 3.0}, shard_path=part)
    joined = steps.merge_shards(
        shard_paths=parts, dataset_path=str(tmp_path / "joined"), metrics_path=given["metrics_path"]
    )
    assert joined.metadata["dataset_fingerprint"] == whole.metadata["dataset_fingerprint"]
    for file in (tmp_path / "whole").rglob("*.npy"):
        assert file.read_bytes() == (tmp_path / "joined" / file.relative_to(tmp_path / "whole")).read_bytes()


def test_metrics_that_are_no_numbers_are_left_out() -> None:
    assert steps._finite({"a": 1, "b": float("nan"), "c": float("inf")}) == {"a": 1.0}
