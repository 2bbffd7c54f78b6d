from __future__ import annotations

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


@pytest.mark.parametrize("content", ["{", "[1]", "{}", "null", '{"rotation_range": 3}', "\udcff"])
def test_what_augment_did_not_write_is_no_policy(tmp_path, content):
    file = tmp_path / "policy.json"
    file.write_text(content, errors="surrogateescape")
    with pytest.raises(InputError, match="--force augment") as error:
        load_policy(file)
    assert "\n" not in str(error.value)


@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_policy_with_any_bit_flipped_is_refused_or_the_same(place, bit, tmp_path_factory):
    file = tmp_path_factory.mktemp("policy") / "policy.json"
    policy = Policy(rotation_range=15, zoom_range=0.2)
    save_policy(policy, file)
    content = bytearray(file.read_bytes())
    content[place % len(content)] ^= 1 << bit
    file.write_bytes(content)
    try:
        assert load_policy(file) == policy
    except InputError as error:
        assert "\n" not in str(error)


def test_a_brightness_range_must_be_in_order():
    with pytest.raises(ValidationError, match="low <= high"):
        Policy(brightness_range=(1.5, 0.5))
