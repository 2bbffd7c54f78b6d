"""Charts are well-formed SVG that stays inside its axes, whatever the data or the names hold."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.pages.svg import Chart, interval_bar, number, ticks

finite = st.floats(-1e6, 1e6)


@given(finite, finite, st.integers(2, 12))
def test_ticks_are_few_round_and_inside(low, high, most):
    low, high = min(low, high), max(low, high)
    values = ticks(low, high, most)
    assert 1 <= len(values) <= most + 1
    slack = 1e-6 * max(1.0, abs(low), abs(high))
    assert all(low - slack <= value <= high + slack for value in values)
    assert values == sorted(values)


def test_ticks_of_the_unit_interval_are_fifths():
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.25, "0.25"), (1200, "1,200"), (0.9951, "0.995"), (3e-5, "3e-05"), (40, "40")]
)
def test_numbers_are_short(value, text):
    assert number(value) == text


@given(st.lists(st.tuples(st.floats(allow_nan=True, allow_infinity=True), st.floats(allow_nan=True)), max_size=20))
def test_any_points_make_a_well_formed_chart_within_its_frame(points):
    chart = Chart("any", x_title="x", y_title="y")
    chart.line(points, "s1", "<&> 'name'")
    root = ElementTree.fromstring(chart.svg())
    for line in root.iter("polyline"):
        for place in line.attrib["points"].split():
            x, y = map(float, place.split(","))
            assert 0 <= x <= chart.width and 0 <= y <= chart.height


def test_names_cannot_break_out_of_a_chart():
    chart = Chart('"><script>alert(1)</script>', x_title="<b>")
    chart.text(0, 0, "</svg><script>")
    chart.bar((0, 1), (0, 1), "s1", "<script>")
    chart.dot(0, 0, "s1", '"&<')
    page = chart.svg()
    ElementTree.fromstring(page)
    assert "<script" not in page


def test_a_line_breaks_where_a_value_is_missing():
    chart = Chart("gap")
    chart.line([(0, 0), (0.2, 0.2), (0.4, math.nan), (0.6, 0.6), (0.8, 0.8)], "s1")
    assert len(list(ElementTree.fromstring(chart.svg()).iter("polyline"))) == 2


def test_a_constant_can_be_drawn():
    chart = Chart("flat", y=(0.5, 0.5))
    assert all(math.isfinite(side) for side in chart.at(0.5, 0.5))


def test_an_interval_bar_shows_what_is_known():
    whole = ElementTree.fromstring(interval_bar(0.7, 0.8, 0.9, (0.5, 1.0), reference=0.85, label="a < b"))
    assert whole.attrib["aria-label"] == "a < b"
    assert len(list(whole.iter("circle"))) == 1
    assert [line.attrib["class"].strip() for line in whole.iter("line")].count("whisker") == 3
    nothing = ElementTree.fromstring(interval_bar(math.nan, math.nan, math.nan, (0.0, 1.0)))
    assert not list(nothing.iter("circle"))
    value = ElementTree.fromstring(interval_bar(math.nan, 0.5, math.nan, (0.0, 1.0)))
    assert next(iter(value.iter("circle"))).attrib["cx"] == "50.00%"
