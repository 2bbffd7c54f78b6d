"""YAML read strictly: names stay text, keys stand once, and hostile texts end in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.config import RunConfig, load_config, parse_yaml
from assay.errors import InputError
from assay.sweep.spec import load_sweep


def config(folder: Path, text: str, *overrides: str) -> RunConfig:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, overrides)


def complaint(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        config(folder, text, *overrides)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 1000
    return message


NAMES = ["1", "0", "yes", "no", "on", "off", "true", "1.0", "2024-01-01", "12:30:00", "1e3", "0x1F", "+", "C3", "a: b"]


@pytest.mark.parametrize("name", [*NAMES, "null", "~", "{a}", "[x", "# x"])
def test_a_class_named_on_the_command_line_is_the_text_that_it_is(tmp_path: Path, name: str) -> None:
    assert config(tmp_path, "version: 1\n", f"data.positive_class={name}").data.positive_class == name


def test_quotes_are_no_part_of_a_name_and_an_empty_one_is_the_default(tmp_path: Path) -> None:
    assert config(tmp_path, "version: 1\n", "data.positive_class='yes'").data.positive_class == "yes"
    assert (
        config(tmp_path, "version: 1\ndata: {positive_class: a}\n", "data.positive_class=").data.positive_class is None
    )


def test_a_list_of_classes_is_of_texts_too(tmp_path: Path) -> None:
    assert config(tmp_path, "version: 1\n", "data.classes=[no, yes, 01, null]").data.classes == (
        "no",
        "yes",
        "01",
        "null",
    )
    assert config(tmp_path, "version: 1\n", "data.classes=null").data.classes is None


def test_names_in_a_file_are_text_where_text_is_wanted(tmp_path: Path) -> None:
    read = config(tmp_path, "version: 1\nname: 2024\ndata:\n  classes: [0, 1]\n  positive_class: no\n  source: 7\n")
    assert (read.name, read.data.classes, read.data.positive_class, read.data.source) == ("2024", ("0", "1"), "no", "7")
    assert config(tmp_path, "version: 1\ndata:\n  positive_class: null\n").data.positive_class is None
    # A layer may be a name or a number.
    assert config(tmp_path, "version: 1\nfinetune: {unfreeze_from: -8}\n").finetune.unfreeze_from == -8


def test_names_in_a_sweep_are_text_too(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("version: 1\n")
    spec = "version: 1\nname: s\nconfig: base.yaml\ncommon: {data.positive_class: no, data.classes: [no, yes]}\n"
    (tmp_path / "s.yaml").write_text(spec + "rows: [{}]\n")
    base = load_sweep(tmp_path / "s.yaml").base
    assert (base.data.positive_class, base.data.classes) == ("no", ("no", "yes"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("version: 1\nname: a\nseed: 3\nname: b\n", ["'name'", "line 2", "line 4"]),
        ("version: 1\ndata:\n  source: a\n  'source': b\n", ["'source'", "line 3", "line 4"]),
        ("version: 1\naugment: {policy: {views: 1, views: 2}}\n", ["'views'", "twice"]),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_both_lines(tmp_path: Path, text: str, says: list[str]) -> None:
    message = complaint(tmp_path, text)
    for part in says:
        assert part in message


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{one}: &{one} [{', '.join([f'*{other}'] * 9)}]\n" for other, one in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BOMB, "aliases written out"),
        ("version: &a [*a]\n", "alias of itself"),
        ("version: " + "[" * 100_000 + "\n", "nested more than 40 levels"),
        ("version: " + "{a: " * 5_000 + "\n", "nested more than 40 levels"),
        ("version: " + "9" * 5_000 + "\n", "a number of 5,000 characters"),
        ("version: 1\nseed: 0x" + "f" * 9_000 + "\n", "a number of 9,002 characters"),
        ("version: 1\nseed: " + ":".join(["59"] * 2_000) + "\n", "a number of 5,999 characters"),
        ("version: 1\nseed: 2024-13-45\n", "holds a value that is none"),
        ("version: 1\nname: " + "a" * 900_000 + "\n", "name"),
        ("version: 1\n? " + "a" * 900_000 + "\n: 1\n", "unknown key 'aaa"),
        ("version: 1\ndata: {source: " + "a" * 900_000 + ", kind: x}\n", "data.kind"),
        ("a" * 3_000_000, "more than 1,000,000 bytes"),
        ("version: 1\n? [a, b]\n: 1\n", "not valid YAML"),
        ("version: 1\nseed: !!python/object:os.system x\n", "not valid YAML"),
        ("version: 1\nseed: \x07\n", "not valid YAML"),
    ],
    ids=range(15),
)
def test_hostile_texts_end_at_once_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    assert says in complaint(tmp_path, text)


@pytest.mark.parametrize(
    "override", ["data.limit_per_class=" + "9" * 5000, "seed=" + "[" * 5000, "x" * 3_000_000 + "=1"]
)
def test_hostile_overrides_too(tmp_path: Path, override: str) -> None:
    complaint(tmp_path, "version: 1\n", override)


def test_what_is_no_plain_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(InputError, match="no plain file"):
        load_config(tmp_path / "pipe.yaml")
    with pytest.raises(InputError, match="is a folder"):
        load_config(tmp_path)
    with pytest.raises(InputError) as caught:
        load_config(tmp_path / ("n" * 3_000_000))
    assert len(str(caught.value)) < 1000


@given(st.text(max_size=60))
def test_any_text_is_a_value_or_one_line(text: str) -> None:
    try:
        parse_yaml(text, RunConfig, "text")
    except InputError as error:
        assert "\n" not in str(error)


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=20).map(str.strip).filter(bool))
def test_any_name_of_a_class_survives_the_command_line(name: str) -> None:
    from assay.config import apply_overrides

    if name[0] not in "'\"":
        assert apply_overrides({"version": 1}, [f"data.positive_class={name}"])["data"]["positive_class"] == name
