"""What a config may say: values that do not fit together are refused, and sections know whether they have changed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.config import Policy, parse_config
from assay.errors import InputError


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"data": {"valid_fraction": 0.45, "test_fraction": 0.45}}, ["valid_fraction", "0.45"]),
        ({"data": {"image_size": [96, 4]}}, ["image_size", "[96, 4]"]),
        ({"search": {"space": {"depth": [9]}}}, ["depth", "1..8", "[9]"]),
        ({"baseline": {"optimizer": {"nesterov": True}}}, ["nesterov", "momentum"]),
        ({"baseline": {"optimizer": {"decay": 1e-6}}}, ["decay", "inverse_time"]),
        ({"augment": {"policy": {"brightness_range": [1.5, 0.5]}}}, ["brightness_range", "[1.5, 0.5]"]),
        ({name: {"enabled": False} for name in ("baseline", "search", "finetune")}, ["at least one of"]),
        ({"validate": {"folds": 1}}, ["validate.folds", "2 to 20", "Received: 1"]),
        (
            {"validate": {"folds": 5}, "augment": {"ablation": {"adopt": True}}},
            ["augment.ablation.adopt", "validate.folds 5"],
        ),
        ({"data": {"missing_values": [float("inf")]}}, ["finite numbers", "inf"]),
        ({"data": {"missing_mask": True}}, ["missing_mask", "always say that nothing is missing"]),
        ({"validate": {"folds": 5}, "data": {"missing": "mean"}}, ["data.missing", "validate.folds 5"]),
    ],
)
def test_values_that_do_not_fit_together_are_refused_by_name(values: dict[str, Any], names: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        parse_config({"version": 1, **values})
    message = str(caught.value)
    assert "\n" not in message
    for name in names:
        assert name in message


def test_a_section_that_has_not_changed_keeps_its_fingerprint() -> None:
    one = parse_config({"version": 1, "finetune": {"epochs": 3}})
    other = parse_config({"version": 1, "finetune": {"epochs": 4}})
    assert one.data.fingerprint() == other.data.fingerprint()
    assert one.finetune.fingerprint() != other.finetune.fingerprint()


@given(st.tuples(st.floats(0, 3), st.floats(0, 3)))
def test_a_range_of_brightness_is_taken_exactly_where_it_is_one(given_range: tuple[float, float]) -> None:
    low, high = given_range
    if low <= high:
        assert Policy(brightness_range=given_range).brightness_range == given_range
    else:
        with pytest.raises(ValueError, match="brightness_range"):
            Policy(brightness_range=given_range)
