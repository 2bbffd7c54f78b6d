"""The page says what was tried and what came of it, and nothing of what was not tried."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.faults.__main__ import PAGE, RESULTS, main
from bench.faults.page import to_page


def test_the_page_of_a_few_faults_tells_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "")  # which is set to the server of each part, and put back here
    results, page = tmp_path / "results.json", tmp_path / "page.md"
    options = ["--runs", "2", "--processes", "2", "--results", str(results), "--page", str(page)]
    assert main(["storage", *options]) == 0
    assert main(["races", *options]) == 0
    text = page.read_text()
    assert "## Storage that fails" in text
    assert "## A champion that many change at a time" in text
    assert "## Killed" not in text
    assert " 1 of 1 " in text or "2 of 2" in text
    assert "**no**" not in text


def test_the_page_is_that_of_the_figures_that_are_kept() -> None:
    assert PAGE.read_text(encoding="utf-8") == to_page(json.loads(RESULTS.read_text(encoding="utf-8")))
