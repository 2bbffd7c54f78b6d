"""Pictures inside a page show the pixels and the values that they were given, at a bounded size."""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ElementTree

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.pages.pictures import image_element, window_element


def decoded(element: str) -> np.ndarray:
    data = re.search(r'src="data:image/jpeg;base64,([^"]+)"', element)
    assert data
    return cv2.imdecode(np.frombuffer(base64.b64decode(data[1]), np.uint8), cv2.IMREAD_UNCHANGED)


@given(st.integers(1, 700), st.integers(1, 700), st.sampled_from([0, 128]), st.sampled_from([112, 480]))
def test_no_side_is_longer_than_the_largest_nor_the_longest_shorter_than_the_smallest(height, width, smallest, largest):
    image = decoded(image_element(np.zeros((height, width, 1), np.uint8), "", largest=largest, smallest=smallest))
    longest = max(image.shape[:2])
    assert longest == min(max(height, width, smallest), largest)


def test_small_differences_of_hue_survive():
    """Red and green stripes one pixel wide: with halved colour resolution they would become brown."""
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, ::2, 0], image[:, 1::2, 1] = 200, 200
    shown = decoded(image_element(image, "stripes"))[:, :, ::-1].astype(int)
    assert np.abs(shown - image).mean() < 12


def test_a_grey_image_stays_grey():
    image = np.linspace(0, 255, 64 * 64).reshape(64, 64, 1).astype(np.uint8)
    shown = decoded(image_element(image, "ramp"))
    assert shown.ndim == 2
    assert np.abs(shown.astype(int) - image[:, :, 0]).max() < 8


def test_words_cannot_break_out_of_the_element():
    hostile = '"><script>alert(1)</script>'
    assert "<script" not in image_element(np.zeros((4, 4, 3), np.uint8), hostile)
    assert "<script" not in window_element(np.zeros((4, 1), np.float32), hostile)


def points(line: ElementTree.Element) -> list[tuple[float, float]]:
    return [tuple(map(float, place.split(","))) for place in line.attrib["points"].split()]  # type: ignore[misc]


@given(
    st.lists(st.lists(st.floats(width=32), min_size=3, max_size=3), min_size=1, max_size=40),
    st.tuples(st.integers(20, 300), st.integers(20, 300)),
)
def test_any_window_is_drawn_within_its_frame(values, size):
    window = np.clip(np.array(values, np.float32), -1e30, 1e30)
    root = ElementTree.fromstring(window_element(window, "any", size=size))
    for line in root.findall("polyline"):
        assert all(0 <= x <= size[0] and 0 <= y <= size[1] for x, y in points(line))


def test_a_long_window_has_no_more_points_than_the_drawing_has_pixels():
    window = np.random.default_rng(0).normal(size=(5000, 20)).astype(np.float32)
    lines = ElementTree.fromstring(window_element(window, "long", size=(200, 100))).findall("polyline")
    assert len(lines) == 8
    assert {len(points(line)) for line in lines} == {200}


def test_changed_values_are_marked_on_the_scale_of_the_original():
    original = np.array([[0.0], [1.0], [2.0], [3.0]], np.float32)
    changed = np.array([[0.0], [1.5], [2.0], [1.5]], np.float32)
    root = ElementTree.fromstring(window_element(changed, "hidden", size=(100, 50), original=original))
    dots = [(float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in root.findall("circle")]
    line = points(root.findall("polyline")[0])
    assert dots == [line[1], line[3]]
    assert line[1][1] == pytest.approx(25, abs=0.1), "half of the original's range is half way up"


def test_heat_lies_behind_the_steps_that_it_belongs_to():
    heat = np.array([0, 0, 1, 0.01], np.float32)
    root = ElementTree.fromstring(window_element(np.zeros((4, 1), np.float32), "warm", size=(200, 100), heat=heat))
    (warm,) = root.findall("rect")
    assert (float(warm.attrib["x"]), float(warm.attrib["width"]), warm.attrib["opacity"]) == (100, 50, "0.60")
