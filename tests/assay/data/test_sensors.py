"""Decoding windows of sensor data."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from assay.data.sensors import decode_window
from assay.data.unusable import UnusableWindow


def npy(values: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, **options)
    return buffer.getvalue()


@given(
    arrays.arrays(np.float32, st.tuples(st.integers(1, 9), st.integers(1, 4)), elements=st.floats(-1e6, 1e6, width=32))
)
def test_arrays_and_text_give_the_same_window(values: np.ndarray) -> None:
    text = "\n".join(";".join(repr(float(cell)) for cell in row) for row in values)
    for data in (npy(values), text.encode()):
        window = decode_window(data)
        assert window.dtype == np.float32
        np.testing.assert_array_equal(window, values)


def test_a_line_of_names_is_passed_over_and_empty_cells_are_missing() -> None:
    window = decode_window("\ufeffx,y\r\n1,2\r\n,nan\r\n?,-3.5\r\n".encode())
    np.testing.assert_array_equal(window, np.array([[1, 2], [np.nan, np.nan], [np.nan, -3.5]], np.float32))


def test_one_channel_may_be_a_vector_and_integers_are_cast() -> None:
    assert decode_window(npy(np.arange(5))).shape == (5, 1)
    assert decode_window(b"1\n2\n3\n").shape == (3, 1)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (npy(np.ones((4, 2)))[:-10], "truncated or broken array"),
        (npy(np.array(["a", "b"])), "not numbers"),
        (npy(np.array([{}]), allow_pickle=True), "truncated or broken array"),
        (npy(np.ones((2, 3, 4))), r"its shape is \(2, 3, 4\)"),
        (npy(np.array([[1, np.inf]])), "1 infinite values"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "neither a .npy array nor CSV text"),
        (b"x,y\n", "no rows of numbers"),
        (b"1,2\n3\n", "row 2 has 1 values, the first has 2"),
        (b"1,2\n3,abc\n", "row 2 holds 'abc', no number"),
    ],
)
def test_unusable_windows_say_why(data: bytes, reason: str) -> None:
    with pytest.raises(UnusableWindow, match=reason):
        decode_window(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_window_or_a_reason(data: bytes) -> None:
    try:
        assert decode_window(data).ndim == 2
    except UnusableWindow as reason:
        assert str(reason)
