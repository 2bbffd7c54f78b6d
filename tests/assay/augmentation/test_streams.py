from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from assay.augmentation.streams import uniforms

SEED = st.integers(0, 2**31 - 1)
EPOCH = st.integers(0, 10_000)


@given(SEED, EPOCH, st.lists(st.integers(0, 2**40), min_size=1, max_size=20), st.integers(1, 20))
def test_a_draw_depends_on_its_address_alone(seed, epoch, indices, count):
    together = uniforms(seed, epoch, np.array(indices), count)
    for row, index in zip(together, indices, strict=True):
        np.testing.assert_array_equal(row, uniforms(seed, epoch, np.array([index]), count)[0])


@given(SEED, EPOCH, st.integers(1, 20))
def test_asking_for_more_draws_leaves_the_first_ones_as_they_were(seed, epoch, count):
    indices = np.arange(5)
    np.testing.assert_array_equal(
        uniforms(seed, epoch, indices, count), uniforms(seed, epoch, indices, count + 3)[:, :count]
    )


def test_draws_are_uniform_and_independent_across_images_epochs_and_seeds():
    draws = uniforms(0, 0, np.arange(20_000), 4)
    assert draws.min() >= 0 and draws.max() < 1
    counts = np.histogram(draws, bins=20, range=(0, 1))[0]
    expected = draws.size / 20
    # Chi-square of 19 degrees of freedom: 43.8 is exceeded once in a thousand.
    assert ((counts - expected) ** 2 / expected).sum() < 43.8
    others = [uniforms(0, 1, np.arange(20_000), 4), uniforms(1, 0, np.arange(20_000), 4), np.roll(draws, 1, axis=0)]
    for other in [*others, np.roll(draws, 1, axis=1)]:
        assert abs(np.corrcoef(draws.ravel(), other.ravel())[0, 1]) < 0.015


def test_no_two_epochs_or_seeds_share_a_stream():
    first = [uniforms(seed, epoch, np.arange(50), 2) for seed in range(6) for epoch in range(6)]
    assert len(np.unique(np.concatenate(first).ravel())) == 36 * 50 * 2
