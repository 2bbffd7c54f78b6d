from __future__ import annotations

import numpy as np
import pytest

from assay.augmentation.parameters import Parameters, draw, matrices
from assay.config import ColorJitter, Policy

FULL = Policy(
    rotation_range=30,
    quarter_turns=True,
    width_shift_range=0.1,
    height_shift_range=0.3,
    shear_range=20,
    zoom_range=0.2,
    brightness_range=(0.5, 1.5),
    horizontal_flip=True,
    vertical_flip=True,
    color_jitter=ColorJitter(hue=0.1, saturation=0.3, value=0.2),
)


def test_draws_fill_their_ranges_in_the_units_of_the_policy():
    drawn = draw(FULL, (40, 80), 0, 0, np.arange(20_000))
    ranges = {
        "rotation": (-30, 30),
        "shift_x": (-8, 8),
        "shift_y": (-12, 12),
        "shear": (-20, 20),
        "zoom_x": (0.8, 1.2),
        "zoom_y": (0.8, 1.2),
        "brightness": (0.5, 1.5),
        "hue": (-0.1, 0.1),
        "saturation": (np.exp(-0.3), np.exp(0.3)),
        "value": (np.exp(-0.2), np.exp(0.2)),
    }
    for name, (low, high) in ranges.items():
        values = getattr(drawn, name)
        assert low <= values.min() and values.max() <= high, name
        assert values.max() - values.min() > 0.99 * (high - low), name
    for name in ("flip_horizontal", "flip_vertical"):
        assert abs(getattr(drawn, name).mean() - 0.5) < 0.02
    np.testing.assert_allclose(np.bincount(drawn.turns) / 20_000, 0.25, atol=0.02)


def test_leaving_an_operation_out_leaves_the_draws_of_the_others_as_they_were():
    indices = np.arange(50)
    every = draw(FULL, (96, 96), 3, 1, indices)
    fewer = draw(FULL.model_copy(update={"rotation_range": 0.0, "brightness_range": None}), (96, 96), 3, 1, indices)
    assert (fewer.rotation == 0).all() and (fewer.brightness == 1).all()
    for name in ("shift_x", "shift_y", "shear", "zoom_x", "zoom_y", "flip_horizontal", "turns", "hue", "value"):
        np.testing.assert_array_equal(getattr(every, name), getattr(fewer, name))


def test_a_policy_without_operations_changes_nothing():
    drawn = draw(Policy(), (30, 50), 0, 0, np.arange(4))
    assert drawn.lossless().all()
    np.testing.assert_array_equal(matrices(drawn, (30, 50)), np.broadcast_to([[1.0, 0, 0], [0, 1, 0]], (4, 2, 3)))


@pytest.mark.parametrize(
    ("change", "place", "shows"),
    [
        ({"shift_x": 5}, (10, 20), (15, 20)),
        ({"shift_y": 5}, (10, 20), (10, 25)),
        ({"flip_horizontal": True}, (0, 7), (59, 7)),
        ({"flip_vertical": True}, (0, 7), (0, 32)),
        ({"zoom_x": 2}, (29.5, 3), (29.5, 3)),
        ({"zoom_x": 2}, (30.5, 3), (31.5, 3)),
        ({"zoom_y": 0.5}, (5, 21.5), (5, 20.5)),
        ({"rotation": 90}, (30.5, 19.5), (29.5, 20.5)),
    ],
)
def test_a_matrix_says_which_place_of_the_input_a_pixel_shows(change, place, shows):
    matrix = matrices(Parameters.one(**change), (40, 60))[0]
    np.testing.assert_allclose(matrix @ [*place, 1], shows, atol=1e-9)


@pytest.mark.parametrize("turns", range(4))
def test_quarter_turns_are_counter_clockwise(turns):
    image = np.arange(25).reshape(5, 5)
    matrix = matrices(Parameters.one(turns=turns), (5, 5))[0]
    turned = np.rot90(image, turns)
    for row in range(5):
        for column in range(5):
            x, y = matrix @ [column, row, 1]
            assert image[round(y), round(x)] == turned[row, column]


def test_the_parameters_of_one_image_can_be_read_by_name():
    assert Parameters.one(rotation=12).at(0)["rotation"] == 12
    assert len(Parameters.identity(7)) == 7
