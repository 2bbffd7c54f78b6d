"""Sections in one line: short, readable, and read back to the very same values."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.config import (
    AugmentConfig,
    BaselineConfig,
    DataConfig,
    FinetuneConfig,
    SearchConfig,
    Section,
    read_brief,
    write_brief,
)
from assay.errors import InputError

TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
OPTIONS = st.dictionaries(TEXT, st.one_of(st.integers(), st.booleans(), TEXT, st.none()), max_size=3)


def test_a_section_of_defaults_is_nothing() -> None:
    for section in (AugmentConfig(), BaselineConfig(), FinetuneConfig(), DataConfig()):
        assert write_brief(section) == ""
        assert read_brief(type(section), "", "test") == section


def test_what_differs_is_named_as_on_the_command_line() -> None:
    baseline = BaselineConfig.model_validate({"epochs": 3, "model": {"name": "cnn6"}})
    assert write_brief(baseline) == "epochs: 3, model.name: cnn6"
    data = DataConfig(source="demo://tissue?images=120&size=32", image_size=(32, 48))
    assert write_brief(data) == "source: 'demo://tissue?images=120&size=32', image_size: [32, 48]"


def test_no_part_of_it_needs_escapes_where_it_is_shown_as_json() -> None:
    data = DataConfig(source="gs://bucket/a b, c: d", classes=("no", "yes: sure", "1"))
    assert '"' not in write_brief(data)
    assert read_brief(DataConfig, write_brief(data), "test") == data


@given(TEXT.filter(bool), st.lists(TEXT, unique=True, max_size=4), st.booleans())
def test_any_text_comes_back(source: str, classes: list[str], duplicates: bool) -> None:
    data = DataConfig(source=source, classes=tuple(classes) or None, near_duplicates=duplicates)
    line = write_brief(data)
    assert "\n" not in line
    assert read_brief(DataConfig, line, "test") == data


@given(
    OPTIONS,
    st.floats(min_value=1e-12, max_value=10, allow_nan=False),
    st.one_of(st.none(), st.integers(0, 30), TEXT),
    st.integers(0, 10_000),
)
def test_any_options_numbers_and_layers_come_back(
    options: dict[str, Any], rate: float, layer: str | int | None, epochs: int
) -> None:
    finetune = FinetuneConfig.model_validate(
        {
            "model": {"name": "vgg16", "options": options},
            "optimizer": {"learning_rate": rate},
            "unfreeze_from": layer,
            "frozen": {"epochs": epochs},
        }
    )
    assert read_brief(FinetuneConfig, write_brief(finetune), "test") == finetune


def test_a_part_that_defaults_to_nothing_comes_back_whole() -> None:
    augment = AugmentConfig.model_validate({"policy": {"color_jitter": {"hue": 0.05}, "brightness_range": [0.9, 1.1]}})
    assert read_brief(AugmentConfig, write_brief(augment), "test") == augment


@pytest.mark.parametrize(
    ("section", "line", "named"),
    [
        (BaselineConfig, "epochs: many", "epochs"),
        (BaselineConfig, "epoch: 3", "epochs"),
        (SearchConfig, "trials.many: 3", "trials.many"),
        (SearchConfig, "}{", "key: value"),
    ],
)
def test_a_wrong_line_is_one_that_names_it(section: type[Section], line: str, named: str) -> None:
    with pytest.raises(InputError, match=named) as caught:
        read_brief(section, line, "search")
    assert "\n" not in str(caught.value)
