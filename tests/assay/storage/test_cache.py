"""Where things are kept for a time, and which steps are told to pass over what is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.storage.cache import FORCE_VARIABLE, cache_folder, is_forced


def test_caches_lie_where_the_variable_says_each_kind_in_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path))
    assert cache_folder("features") == tmp_path / "features"
    monkeypatch.delenv("ASSAY_CACHE")
    assert cache_folder("weights") == Path.home() / ".cache" / "assay" / "weights"


def test_a_step_is_told_once_that_it_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FORCE_VARIABLE, "search,finetune")
    assert not is_forced("baseline")
    assert is_forced("search")
    assert not is_forced("search")
    assert is_forced("finetune")
    monkeypatch.delenv(FORCE_VARIABLE)
    assert not is_forced("search")
