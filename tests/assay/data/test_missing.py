"""Missing values of sensor windows: filling, statistics, hiding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from assay.data.missing import (
    MissingValues,
    count_gaps,
    fill_missing,
    mark_missing,
    window_for_network,
    window_statistics,
    with_mask,
)
from assay.data.unusable import UnusableWindow

NAN = np.nan
values = st.floats(-100, 100, width=32)
windows = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 3)), elements=values | st.just(NAN)
)


@given(windows, st.sampled_from(["mean", "interpolate"]))
@settings(deadline=None)
def test_filling_leaves_nothing_missing_and_changes_nothing_else(array: np.ndarray, policy: str) -> None:
    means = [7.0] * array.shape[-1]
    filled = fill_missing(array, policy, means)
    there = ~np.isnan(array)
    assert not np.isnan(filled).any()
    np.testing.assert_array_equal(filled[there], array[there])
    assert filled.dtype == np.float32
    for window, original in zip(filled, array, strict=True):
        np.testing.assert_array_equal(fill_missing(original, policy, means), window)


def test_interpolation_is_linear_in_time_and_flat_at_the_ends() -> None:
    window = np.array([[NAN, 1, NAN], [2, NAN, NAN], [NAN, NAN, NAN], [NAN, 4, NAN], [8, NAN, NAN]], np.float32)
    filled = fill_missing(window, "interpolate", [0, 0, 5])
    np.testing.assert_allclose(filled[:, 0], [2, 2, 4, 6, 8])
    np.testing.assert_allclose(filled[:, 1], [1, 2, 3, 4, 4])
    np.testing.assert_allclose(filled[:, 2], 5)


def test_the_mean_is_that_of_the_channel() -> None:
    window = np.array([[NAN, 1], [3, NAN]], np.float32)
    np.testing.assert_array_equal(fill_missing(window, "mean", [10, 20]), [[10, 1], [3, 20]])


def test_nothing_may_be_missing_where_it_is_an_error() -> None:
    with pytest.raises(UnusableWindow, match=r"1 of 4 values are missing"):
        fill_missing(np.array([[NAN, 1], [3, 2]], np.float32), "error", [0, 0])
    whole = np.ones((2, 2), np.float32)
    assert fill_missing(whole, "error", [0, 0]) is whole


@given(hnp.arrays(np.float32, (12, 5, 2), elements=values | st.just(NAN)), st.integers(1, 12))
@settings(deadline=None)
def test_statistics_in_blocks_equal_those_of_the_whole(array: np.ndarray, size: int) -> None:
    mean, std = window_statistics((array[start : start + size] for start in range(0, 12, size)), 2)
    for channel in range(2):
        there = array[..., channel][~np.isnan(array[..., channel])].astype(np.float64)
        if len(there):
            assert mean[channel] == pytest.approx(there.mean(), rel=1e-9, abs=1e-9)
            assert std[channel] == pytest.approx(there.std(), rel=1e-6, abs=1e-6)
        else:
            assert (mean[channel], std[channel]) == (0, 0)


def test_hidden_values_depend_on_seed_epoch_and_row_alone() -> None:
    array = np.random.default_rng(0).normal(5, 1, (20, 40, 3)).astype(np.float32)
    hide = MissingValues(0.3, "mean", [0, 0, 0], seed=4)
    rows = np.arange(20)
    first = hide.batch(array, rows, 0)
    assert 0.2 < (first == 0).mean() < 0.4
    np.testing.assert_array_equal(hide.batch(array[10:12], rows[10:12], 0), first[10:12])
    assert (hide.batch(array, rows, 1) != first).any()
    assert (MissingValues(0.3, "mean", [0, 0, 0], seed=5).batch(array, rows, 0) != first).any()
    out = np.empty_like(array)
    assert hide.batch(array, rows, 0, out) is out
    np.testing.assert_array_equal(out, first)
    assert not np.isnan(array).any()
    assert (array != 0).all()


def test_gaps_are_runs_in_time_of_one_channel() -> None:
    window = np.array([[NAN, 1], [NAN, NAN], [3, NAN], [NAN, 4]], np.float32)
    assert count_gaps(window[None]) == (5, 3)
    assert count_gaps(np.stack([window, window])) == (10, 6)
    assert count_gaps(np.zeros((2, 3, 1), np.float32)) == (0, 0)


@pytest.mark.parametrize(("fraction", "gap"), [(0.05, 8.0), (0.3, 20.0), (0.3, 1.0), (0.6, 1.5)])
def test_hidden_values_come_in_gaps_of_the_length_asked_for(fraction: float, gap: float) -> None:
    array = np.ones((60, 1000, 2), np.float32)
    hidden = MissingValues(fraction, "mean", [0, 0], seed=1, gap=gap).batch(array, np.arange(60), 0) == 0
    values, gaps = count_gaps(np.where(hidden, np.float32(NAN), np.float32(1)))
    assert values / array.size == pytest.approx(fraction, rel=0.1)
    # Single values that are hidden independently lie beside each other by chance.
    assert values / gaps == pytest.approx(max(gap, 1 / (1 - fraction)), rel=0.1)


@given(
    hnp.arrays(np.float32, (3, 7, 2), elements=st.sampled_from([0.0, 1.0, 2.5, NAN])),
    st.lists(st.sampled_from([0.0, 2.5, 9.0]), max_size=2),
    st.none() | st.integers(2, 9),
)
@settings(deadline=None)
def test_what_a_sensor_says_when_it_fails_is_marked(array: np.ndarray, values: list[float], steps: int | None) -> None:
    expected = array.copy()
    expected[np.isin(array, values)] = NAN
    for window, original in zip(expected, expected.copy(), strict=True):
        for channel in range(2):
            line = original[:, channel]
            for first in range(8 - steps if steps else 0):
                if (line[first : first + steps] == line[first]).all():
                    window[first : first + steps, channel] = NAN
    marked = mark_missing(array, values, steps)
    np.testing.assert_array_equal(marked, expected)
    for window, alone in zip(marked, array, strict=True):
        np.testing.assert_array_equal(mark_missing(alone, values, steps), window)


def test_a_mask_says_what_was_missing_and_nothing_is_done_to_it() -> None:
    window = np.array([[0, 5], [3, 5], [4, 5], [NAN, 7]], np.float32)
    shown = window_for_network(window, "mean", [10, 20], values=[0], flat_steps=3, mask=True)
    np.testing.assert_array_equal(shown[:, :2], [[10, 20], [3, 20], [4, 20], [10, 7]])
    np.testing.assert_array_equal(shown[:, 2:], [[1, 1], [0, 1], [0, 1], [1, 0]])
    mean, std = window_statistics([shown[None]], 4, mask=True)
    assert (mean[:2], mean[2:], std[2:]) == ((6.75, 16.75), (0, 0), (0, 0))


def test_values_hidden_in_training_are_told_by_the_mask_too() -> None:
    array = np.random.default_rng(0).normal(5, 1, (20, 40, 3)).astype(np.float32)
    known = np.zeros(array.shape, bool)
    known[:, 3] = True
    plain = MissingValues(0.3, "mean", [0, 0, 0], seed=4).batch(array, np.arange(20), 0)
    masked = MissingValues(0.3, "mean", [0, 0, 0], seed=4, mask=True).batch(with_mask(array, known), np.arange(20), 0)
    np.testing.assert_array_equal(masked[..., :3], plain)
    np.testing.assert_array_equal(masked[..., 3:], (plain == 0) | known)
