from __future__ import annotations

import numpy as np
import pytest

from assay.augmentation.operations import OPERATIONS, active_operations, describe
from assay.augmentation.parameters import Parameters, draw
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
    zca_whitening=True,
    fill_mode="reflect",
    views=3,
)


def test_every_field_of_a_policy_is_an_operation_or_says_how_it_is_done():
    how, of_windows = {"fill_mode", "fill_value", "views"}, {"signal"}
    assert {operation.field for operation in OPERATIONS} | how | of_windows == set(Policy.model_fields)
    assert active_operations(FULL) == list(OPERATIONS)
    assert active_operations(Policy(fill_mode="wrap", views=2)) == []


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.field)
def test_an_operation_can_be_left_out_or_taken_alone(operation):
    fewer = operation.left_out(FULL)
    assert operation not in active_operations(fewer)
    assert len(active_operations(fewer)) == len(OPERATIONS) - 1
    alone = operation.alone(FULL)
    assert active_operations(alone) == [operation]
    assert (alone.fill_mode, alone.views) == ("reflect", 3)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.field)
def test_no_draw_goes_beyond_the_extremes(operation):
    size = (40, 80)
    extremes = operation.extremes(FULL, size)
    drawn = draw(operation.alone(FULL), size, 0, 0, np.arange(500))
    for name in vars(drawn):
        neutral = Parameters.one().at(0)[name]
        ends = [change.get(name, neutral) for change in extremes] + [neutral]
        values = getattr(drawn, name)
        assert values.min() >= min(ends) - 1e-9 and values.max() <= max(ends) + 1e-9, name
    assert operation.range(FULL, size)


def test_changes_are_told_by_what_the_eye_sees():
    """Where the matrix looks further right, the picture moves to the left."""
    change = {"shift_x": 5.0, "shift_y": -2.5, "rotation": 10.0, "zoom_x": 0.5, "flip_vertical": 1.0}
    assert describe(change) == ["↺ 10.0°", "← 5.0 ↓ 2.5 px", "zoom 2.00 × 1.00", "mirrored ↕"]
    assert describe({}) == []
    assert describe({"turns": 3, "brightness": 1.25, "hue": -0.1, "saturation": 0.8, "value": 1.1, "shear": 5}) == [
        "turned 270°",
        "shear +5.00°",
        "bright ×1.25",
        "hue -36°",
        "sat. ×0.80",
        "value ×1.10",
    ]


def test_the_saying_of_a_turn_is_that_of_the_picture():
    from assay.augmentation.warp import Augmenter

    image = np.zeros((21, 21, 1), np.uint8)
    image[10, 18] = 255
    augmenter = Augmenter(Policy(), image.shape, 0)
    turned = augmenter.apply(image[None], Parameters.one(rotation=90))[0]
    moved = augmenter.apply(image[None], Parameters.one(shift_x=4, shift_y=3))[0]
    assert turned[2, 10] == 255  # counter-clockwise: from the right to the top
    assert moved[7, 14] == 255  # to the left and up
