"""Every experiment of the lab notes has its exact shape; wrong names, options and inputs are told in one line."""

from __future__ import annotations

import numpy as np
import pytest

from assay.errors import InputError
from assay.models.registry import build_model, check_options, describe, find_model, list_models

NOTES = [
    ("cnn3", 12_800, 912_642),
    ("cnn4", 10_368, 793_922),
    ("cnn6", 8_192, 811_490),
    ("cnn9", 4_608, 775_874),
    ("vgg16", 4_608, 15_895_874),
]


@pytest.mark.parametrize(("name", "flatten", "parameters"), NOTES)
def test_the_notes_networks_have_their_exact_size(name: str, flatten: int, parameters: int) -> None:
    description = describe(name, (96, 96, 3))
    assert description.total == parameters
    assert next(row for row in description.rows if row.name == "head_flatten").output_shape == (flatten,)
    assert description.trainable + description.frozen == description.total
    assert sum(row.parameters for row in description.rows) == description.total


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    first, same, other = (build_model("cnn3", (28, 28, 1), 2, seed=seed) for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(first.get_weights(), same.get_weights(), strict=True))
    assert not np.array_equal(first.get_weights()[0], other.get_weights()[0])


@pytest.mark.parametrize(
    ("name", "shape", "layer", "need"),
    [
        ("cnn9", (40, 50, 3), "block3_conv3", "50x50"),
        ("cnn3", (10, 96, 3), "block3_conv1", "22x22"),
        ("vgg16", (31, 50, 3), "block5_pool", "32x32"),
    ],
)
def test_an_input_too_small_names_the_layer_and_the_size_needed(
    name: str, shape: tuple[int, ...], layer: str, need: str
) -> None:
    with pytest.raises(InputError, match=rf"layer '{layer}'.*at least {need}"):
        build_model(name, shape, 2)


def test_the_least_size_that_is_named_is_enough_and_one_less_is_not() -> None:
    build_model("cnn9", (50, 50, 3), 2)
    with pytest.raises(InputError):
        build_model("cnn9", (49, 50, 3), 2)


def test_an_unknown_model_offers_the_nearest_names() -> None:
    with pytest.raises(InputError, match="Did you mean 'vgg16'"):
        find_model("vg16")


def test_capitals_and_underscores_in_a_name_make_no_difference() -> None:
    assert find_model("VGG_16").name == "vgg16"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"droput": 0.2}, "Did you mean 'dropout'"),
        ({"dropout": 1.0}, "less than 1"),
        ({"kernel_initializer": "he"}, "he_normal"),
    ],
)
def test_options_are_checked_before_anything_is_built(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_options("cnn3", options)


def test_each_option_of_each_model_is_described() -> None:
    assert len(list_models()) >= 6
    for entry in list_models():
        assert entry.summary
        assert all(description for _, _, description in entry.describe_options())


@pytest.mark.parametrize("shape", [(96, 96), (96, 96, 3, 1), (0, 96, 3)])
def test_an_image_network_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="height, width, channels"):
        build_model("cnn3", shape, 2)


def test_sigmoid_is_for_two_classes() -> None:
    assert build_model("cnn3", (32, 32, 3), 2, output="sigmoid").output_shape == (None, 1)
    with pytest.raises(InputError, match="use softmax"):
        build_model("cnn3", (32, 32, 3), 3, output="sigmoid")


def test_l2_and_initializer_reach_the_kernels() -> None:
    model = build_model("cnn3", (32, 32, 3), 2, options={"l2": 0.001, "kernel_initializer": "he_normal"})
    assert len(model.losses) == 5
    assert type(model.get_layer("block2_conv1").kernel_initializer).__name__ == "HeNormal"
