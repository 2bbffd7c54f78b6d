"""Reading a config: every wrong key or value is one line that names it, whatever is in the file; overrides."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.config import RunConfig, config_template, load_config, parse_config, set_key
from assay.errors import InputError

TEMPLATE = config_template()
YAML_SIGNS = ["\n", ": ", "- ", "{", "[1, ", "&a ", "*a", "!!", "#"]


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def complaint(values: dict) -> str:
    with pytest.raises(InputError) as caught:
        parse_config(values)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"version": 1, "data": {"sorce": "x"}}, ["data.sorce", "'source'"]),
        ({"version": 1, "finetun": {}}, ["finetun", "'finetune'"]),
        ({"version": 1, "augment": {"policy": {"rotation": 3}}}, ["augment.policy.rotation", "rotation_range"]),
        ({"version": 1, "data": {"test_fraction": 2}}, ["data.test_fraction", "Received: 2"]),
        ({"version": 1, "seed": -1}, ["seed", "Received: -1"]),
        ({"version": 2}, ["version", "Received: 2"]),
        ({}, ["'version' is missing"]),
        ({"version": 1, "name": "Brain MRI"}, ["name", "Brain MRI"]),
    ],
)
def test_a_wrong_config_is_one_line_that_names_the_key_and_the_value(values: dict, names: list[str]) -> None:
    message = complaint(values)
    for name in names:
        assert name in message


def test_every_wrong_key_is_named_at_once() -> None:
    message = complaint({"version": 1, "data": {"sorce": "x"}, "evaluate": {"resamples": 1}})
    assert "data.sorce" in message
    assert "evaluate.resamples" in message


def test_overrides_are_yaml_and_reach_any_depth(tmp_path: Path) -> None:
    path = write(tmp_path, "version: 1\nname: base\n")
    config = load_config(path, ["finetune.epochs=3", "augment.policy.color_jitter={hue: 0.1}", "data.classes=[b, a]"])
    assert config.finetune.epochs == 3
    assert config.augment.policy.color_jitter is not None
    assert config.augment.policy.color_jitter.hue == 0.1
    assert config.data.classes == ("b", "a")


@pytest.mark.parametrize("override", ["finetune.epochs", "=3", "name.first=x", "data.source={"])
def test_an_override_that_is_no_assignment_is_refused(tmp_path: Path, override: str) -> None:
    path = write(tmp_path, "version: 1\nname: base\n")
    with pytest.raises(InputError, match="--set"):
        load_config(path, [override])


@pytest.mark.parametrize(
    ("text", "names"),
    [("", "NoneType"), ("- 1\n", "list"), ("version: [1\n", "not valid YAML")],
)
def test_a_file_that_is_no_config_is_refused(tmp_path: Path, text: str, names: str) -> None:
    with pytest.raises(InputError, match=names):
        load_config(write(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.yaml: no such config file"):
        load_config(tmp_path / "absent.yaml")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=4))
def test_any_value_for_any_section_is_taken_or_refused_in_one_line(value: object) -> None:
    for key in RunConfig.model_fields:
        try:
            parse_config({"version": 1, **{key: value}})
        except InputError as error:
            assert "\n" not in str(error)
            assert key in str(error)


@given(
    st.integers(0, len(TEMPLATE)),
    st.integers(0, 12),
    st.text(st.characters(codec="utf-8"), max_size=6)
    | st.sampled_from(["\n", ": ", "- ", "{", "[1, ", "&a ", "*a", "!!", "#"]),
)
def test_a_config_that_is_damaged_anywhere_is_taken_or_refused_in_one_line(place: int, cut: int, put: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), TEMPLATE[:place] + put + TEMPLATE[place + cut :])
        try:
            config = load_config(path)
        except InputError as error:
            assert "\n" not in str(error)
            assert str(error).startswith(str(path))
        else:
            assert config.version == 1


@given(
    st.lists(st.text("abc", min_size=1, max_size=2), min_size=1, max_size=4),
    st.integers() | st.dictionaries(st.text(), st.none()),
)
def test_a_key_that_was_set_is_found_where_its_name_says(parts: list[str], value: object) -> None:
    values: dict = {"a": {"kept": 1}}
    set_key(values, ".".join(parts), value, "here")
    found: object = values
    for part in parts:
        assert isinstance(found, dict)
        found = found[part]
    assert found == value
    if parts[0] != "a":
        assert values["a"] == {"kept": 1}
