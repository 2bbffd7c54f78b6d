from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from assay.augmentation.examples import choose_examples


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 70), st.integers(0, 5))
def test_examples_are_spread_over_the_classes(labels, count, seed):
    labels = np.array(labels)
    chosen = choose_examples(labels, count, seed)
    assert len(chosen) == len(set(chosen.tolist())) == min(count, len(labels))
    taken = np.bincount(labels[chosen], minlength=4)
    left = np.bincount(labels, minlength=4) - taken
    # A class with images to spare has as many as any other.
    assert all(taken[label] >= taken.max() - 1 for label in range(4) if left[label])
    np.testing.assert_array_equal(chosen, choose_examples(labels, count, seed))
