"""A config as people read it: resolved, explained, and as a template."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assay.config import RunConfig, config_template, dump_config, explain_keys, load_config, parse_config
from assay.errors import InputError

TEMPLATE = Path(__file__).parents[3] / "pipelines" / "configs" / "template.yaml"


def leaves(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def test_what_is_shown_can_be_read_again(tmp_path: Path) -> None:
    config = parse_config({"version": 1, "name": "again", "data": {"image_size": [64, 48], "classes": ["a", "b"]}})
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(config), encoding="utf-8")
    assert load_config(path) == config


def test_every_value_of_a_resolved_config_is_explained_in_words() -> None:
    explained = {key: description for key, _, description in explain_keys()}
    for key, value in leaves(RunConfig(version=1).model_dump(mode="json")):
        # A section that is off by default is explained by the keys that it would have, free options by their key.
        below = [
            other
            for other in explained
            if f"{key}.".startswith(f"{other}.") or (value is None and other.startswith(f"{key}."))
        ]
        assert below, key
        assert all(explained[other] for other in below), key


def test_an_explanation_has_the_default_and_the_range() -> None:
    assert explain_keys("finetune.optimizer.name")[0][1] == '"adamw"'
    ((_, _, description),) = explain_keys("data.test_fraction")
    assert "[" in description and "<" in description
    assert {key.split(".")[0] for key, _, _ in explain_keys("data")} == {"data"}


def test_an_unknown_key_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match="finetune"):
        explain_keys("finetun")


def test_the_template_has_every_key_at_its_default() -> None:
    assert TEMPLATE.read_text(encoding="utf-8") == config_template()
    assert load_config(TEMPLATE) == RunConfig(version=1)
