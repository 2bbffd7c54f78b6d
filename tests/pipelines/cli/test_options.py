"""What the command line changes of a config reaches it as it was given, whatever a path is made of."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.config import apply_overrides, parse_config
from assay.errors import InputError
from pipelines.cli.options import changes, console


@given(st.text(st.characters(codec="utf-8"), max_size=20), st.text(st.characters(codec="utf-8"), max_size=20))
def test_a_source_and_weights_of_any_name_arrive_unchanged(data: str, weights: str) -> None:
    config = parse_config(apply_overrides({"version": 1}, changes(data, weights, ["name=x"])))
    assert (config.data.source, config.finetune.weights, config.name) == (data, weights, "x")


def test_a_name_that_is_no_text_is_refused_in_one_line() -> None:
    with pytest.raises(InputError, match=r"--data '.*\\udcff.*': the name is not UTF-8"):
        changes("images/\udcff", None, None)


@pytest.mark.parametrize("name", ["a [bold]b[/bold]", "[/nothing]", "x :smile: y", "😀"])
def test_a_console_for_data_prints_names_as_they_are(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    console(markup=False).print(name, soft_wrap=True)
    assert capsys.readouterr().out == f"{name}\n"


def test_no_console_takes_a_part_of_a_path_for_an_emoji(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    console().print(str(tmp_path / "x:smile:y"), soft_wrap=True)
    assert "x:smile:y" in capsys.readouterr().out
