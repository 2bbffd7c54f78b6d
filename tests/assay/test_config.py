"""The config: every wrong key or value is one line that names it; overrides; what ships is right."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from assay.config import RunConfig, config_template, dump_config, explain_keys, known_keys, load_config, parse_config
from assay.errors import InputError

CONFIGS = sorted((Path(__file__).parents[2] / "pipelines" / "configs").glob("*.yaml"))


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


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_are_right_and_say_what_they_are_for(path: Path) -> None:
    load_config(path)
    header = path.read_text(encoding="utf-8")
    for label in ("# What for:", "# Command:", "# Expect:", "# Cost:"):
        assert label in header


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
        ({"version": 1, "search": {"space": {"depth": [9]}}}, ["depth", "1..8", "[9]"]),
        ({"version": 1, "data": {"image_size": [96, 4]}}, ["image_size", "[96, 4]"]),
        ({"version": 1, "data": {"valid_fraction": 0.45, "test_fraction": 0.45}}, ["valid_fraction", "0.45"]),
        ({"version": 1, "baseline": {"optimizer": {"nesterov": True}}}, ["nesterov", "momentum"]),
        ({"version": 1, "baseline": {"optimizer": {"decay": 1e-6}}}, ["decay", "inverse_time"]),
        ({"version": 1, "name": "Brain MRI"}, ["name", "Brain MRI"]),
        ({"version": 1, "augment": {"policy": {"brightness_range": [1.5, 0.5]}}}, ["brightness_range", "[1.5, 0.5]"]),
        (
            {
                "version": 1,
                "baseline": {"enabled": False},
                "search": {"enabled": False},
                "finetune": {"enabled": False},
            },
            ["at least one of"],
        ),
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


def test_what_is_shown_can_be_read_again(tmp_path: Path) -> None:
    config = parse_config({"version": 1, "name": "again", "data": {"image_size": [64, 48], "classes": ["a", "b"]}})
    assert load_config(write(tmp_path, dump_config(config))) == config


def test_every_key_is_explained() -> None:
    rows = explain_keys()
    leaves = {row[0] for row in rows}
    assert leaves <= set(known_keys())
    assert all(description for _, _, description in explain_keys("data"))
    assert explain_keys("finetune.optimizer.name")[0][1] == '"adamw"'
    with pytest.raises(InputError, match="finetune"):
        explain_keys("finetun")


def test_the_template_has_every_key_at_its_default() -> None:
    path = next(path for path in CONFIGS if path.stem == "template")
    assert path.read_text(encoding="utf-8") == config_template()
    assert load_config(path) == RunConfig(version=1)


def test_a_section_that_has_not_changed_keeps_its_fingerprint() -> None:
    one = parse_config({"version": 1, "finetune": {"epochs": 3}})
    other = parse_config({"version": 1, "finetune": {"epochs": 4}})
    assert one.data.fingerprint() == other.data.fingerprint()
    assert one.finetune.fingerprint() != other.finetune.fingerprint()


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=4))
def test_any_value_for_any_section_is_taken_or_refused_in_one_line(value: object) -> None:
    for key in RunConfig.model_fields:
        try:
            parse_config({"version": 1, **{key: value}})
        except InputError as error:
            assert "\n" not in str(error)
            assert key in str(error)


@given(st.text(max_size=30))
def test_any_text_as_a_file_is_taken_or_refused(text: str) -> None:
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError:
        return
    if isinstance(values, dict):
        try:
            parse_config(values)
        except InputError as error:
            assert "\n" not in str(error)
