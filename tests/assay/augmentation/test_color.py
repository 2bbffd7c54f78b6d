from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.augmentation.color import LUMINANCE, color_matrices
from assay.augmentation.parameters import Parameters


@given(st.floats(-0.5, 0.5), st.floats(0, 4), st.floats(0.2, 3))
def test_grey_stays_grey_and_only_brightness_and_value_change_its_level(hue, saturation, factor):
    matrix = color_matrices(Parameters.one(hue=hue, saturation=saturation, brightness=factor, value=0.5))[0]
    np.testing.assert_allclose(matrix @ np.ones(3), np.full(3, factor * 0.5), rtol=1e-5)


def test_saturation_keeps_luminance_and_zero_is_grey():
    color = np.array([200.0, 120.0, 190.0])
    grey = color_matrices(Parameters.one(saturation=0))[0] @ color
    np.testing.assert_allclose(grey, np.full(3, LUMINANCE @ color), rtol=1e-5)
    strong = color_matrices(Parameters.one(saturation=1.7))[0] @ color
    assert LUMINANCE @ strong == pytest.approx(LUMINANCE @ color, rel=1e-5)


def test_a_third_of_the_color_circle_moves_each_channel_to_the_next():
    matrix = color_matrices(Parameters.one(hue=1 / 3))[0]
    np.testing.assert_allclose(matrix @ [200, 120, 190], [190, 200, 120], rtol=1e-4)


@pytest.mark.parametrize("hue", [-0.04, 0.04])
def test_a_small_turn_moves_the_mean_color_as_hsv_does(hue):
    rng = np.random.default_rng(0)
    tissue = np.clip(rng.normal((178, 142, 173), 15, (200, 200, 3)), 0, 255).astype(np.float32)
    hsv = cv2.cvtColor(tissue / 255, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + 360 * hue) % 360
    expected = 255 * cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).mean(axis=(0, 1))
    turned = (tissue @ color_matrices(Parameters.one(hue=hue))[0].T).mean(axis=(0, 1))
    assert np.abs(turned - expected).max() < 3
    assert np.abs(tissue.mean(axis=(0, 1)) - expected).max() > 3
