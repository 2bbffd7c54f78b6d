from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from assay.augmentation.policy import load_policy, save_policy
from assay.config import ColorJitter, Policy
from assay.errors import InputError

POLICIES = st.builds(
    Policy,
    rotation_range=st.floats(0, 180),
    width_shift_range=st.floats(0, 1),
    zoom_range=st.floats(0, 0.99),
    brightness_range=st.none() | st.tuples(st.floats(0, 1), st.floats(1, 10)),
    color_jitter=st.none() | st.builds(ColorJitter, hue=st.floats(0, 0.5)),
    fill_mode=st.sampled_from(["nearest", "reflect", "wrap", "constant"]),
    views=st.integers(0, 64),
)


@given(policy=POLICIES)
def test_a_policy_survives_being_written_and_read(policy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("policy")
    save_policy(policy, folder / "policy.json")
    assert load_policy(folder) == policy
    assert load_policy(folder / "policy.json") == policy
    assert [file.name for file in folder.iterdir()] == ["policy.json"]


def test_a_missing_policy_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"policy\.json: no such policy"):
        load_policy(tmp_path / "policy.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not readable as JSON"),
        (json.dumps({"rotation_rang": 3}), "Did you mean 'rotation_range'"),
        (json.dumps({"rotation_range": 300}), r"rotation_range.*Received: 300"),
        (json.dumps([1]), "Received"),
    ],
)
def test_a_policy_that_is_none_says_what_is_wrong(tmp_path, content, message):
    file = tmp_path / "policy.json"
    file.write_text(content)
    with pytest.raises(InputError, match=message) as error:
        load_policy(file)
    assert "\n" not in str(error.value)


def test_a_brightness_range_must_be_in_order():
    with pytest.raises(ValidationError, match="low <= high"):
        Policy(brightness_range=(1.5, 0.5))
