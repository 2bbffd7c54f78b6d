"""The whole pipeline on drawn tissue: results, reuse, the champion, prediction, rollback and bad input."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from assay.config import load_config
from pipelines.local.run import RunOutcome, run_locally


def test_a_run_ends_with_leaderboard_decision_and_report(workplace: Path) -> None:
    said = (workplace / "first.txt").read_text(encoding="utf-8")
    for name in ("baseline", "search", "finetune"):
        assert name in said
    assert "Leaderboard" in said
    assert "Champion:" in said
    report = next((workplace / "runs").glob("*-tiny/report.html"))
    page = report.read_text(encoding="utf-8")
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_no_checkpoint_outlives_a_run_that_came_to_its_end(workplace: Path) -> None:
    assert not list((workplace / "runs" / "store" / "checkpoints").glob("*"))


def test_every_candidate_is_judged_with_intervals_that_hold_its_value(workplace: Path) -> None:
    comparison = json.loads(next((workplace / "runs" / "steps").rglob("comparison.json")).read_text(encoding="utf-8"))
    assert {row["name"] for row in comparison["leaderboard"]} == {"baseline", "search", "finetune"}
    for row in comparison["leaderboard"]:
        assert 0 <= row["test_auc_low"] <= row["test_auc"] <= row["test_auc_high"] <= 1


def test_prediction_answers_for_files_with_the_champion(workplace: Path, assay, pcam: Path) -> None:
    images = sorted((pcam / "test" / "1").iterdir())[:3]
    answer = assay("predict", *images, "--name", "tiny", cwd=workplace).stdout
    rows = list(csv.DictReader(io.StringIO(answer)))
    assert len(rows) == 3
    for row in rows:
        total = sum(float(value) for key, value in row.items() if key.startswith("probability"))
        assert total == pytest.approx(1, abs=1e-4)


def test_the_registry_lists_the_champion(workplace: Path, assay) -> None:
    listed = assay("registry", "list", "tiny", cwd=workplace).stdout
    assert "champion" in listed


def test_a_second_run_reuses_what_has_not_changed_and_meets_the_champion(workplace: Path, assay, vgg16_weights) -> None:
    said = assay("run", "tiny.yaml", "--weights", vgg16_weights, cwd=workplace).stdout
    reused = next(line for line in said.splitlines() if line.startswith("Reused:"))
    for step in ("preprocess", "augment", "baseline", "search", "finetune", "evaluate"):
        assert step in reused
    assert "Champion:" in said
    versions = list((workplace / "runs" / "store" / "models" / "tiny" / "versions").iterdir())
    assert len(versions) == 1


def test_wrong_input_is_one_line_and_exit_code_2(workplace: Path, assay) -> None:
    done = assay("run", "tiny.yaml", "--data", workplace / "absent", cwd=workplace, status=2)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert "absent" in lines[0]


def test_weights_of_another_network_stop_the_run(workplace: Path, assay) -> None:
    wrong = workplace / "wrong.weights.h5"
    wrong.write_bytes(b"no weights at all")
    only = ["--set", "baseline.enabled=false", "--set", "search.enabled=false"]
    done = assay("run", "tiny.yaml", "--weights", wrong, *only, cwd=workplace, status=2)
    assert "wrong.weights.h5" in done.stderr


def scheduled_run(folder: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> tuple[RunOutcome, str]:
    """Run the tiny demo's baseline as its schedule would, and return the outcome with what was shown."""
    monkeypatch.chdir(folder)
    shown = io.StringIO()
    config = load_config(Path("tiny.yaml"), ["search.enabled=false", "finetune.enabled=false", *overrides])
    return run_locally(config, Path("runs"), Console(file=shown), skip_unchanged=True), shown.getvalue()


@pytest.mark.slow
def test_a_scheduled_run_ends_after_ingest_where_nothing_has_changed(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first trains: its config is another than the demo's, which trains all three candidates.
    scheduled_run(workplace, monkeypatch)
    outcome, shown = scheduled_run(workplace, monkeypatch)
    assert set(outcome.step_seconds) == {"ingest"}
    assert outcome.promotion_dir is None
    assert "data, config and code are those of the training of" in shown
    assert "FORCE=1" in shown


@pytest.mark.slow
def test_a_scheduled_run_trains_on_a_changed_source_and_challenges_the_champion(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = "data.source=demo://tissue?images=120&size=32&slides=24&difficulty=0.3&seed=1"
    outcome, _ = scheduled_run(workplace, monkeypatch, changed)
    assert {"baseline", "evaluate", "promote"} <= set(outcome.step_seconds)
    assert outcome.promotion_dir is not None
    decision = json.loads((outcome.promotion_dir / "decision.json").read_text(encoding="utf-8"))
    assert "v1" in decision["reason"]
    assert (workplace / "runs" / "store" / "models" / "tiny" / "versions" / "v2").is_dir()
