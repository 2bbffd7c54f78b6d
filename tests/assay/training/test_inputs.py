from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.augmentation.warp import Augmenter
from assay.config import Policy
from assay.training.inputs import Batches, default_workers

POLICY = Policy(rotation_range=20, width_shift_range=0.1, horizontal_flip=True, brightness_range=(0.7, 1.3))


def images(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 12, 12, 3), dtype=np.uint8)


@given(
    count=st.integers(1, 40),
    size=st.integers(1, 17),
    epoch=st.integers(0, 5),
    workers=st.integers(1, 4),
    asked=st.randoms(use_true_random=False),
)
@settings(max_examples=30, deadline=None)
def test_batches_do_not_depend_on_workers_or_on_the_order_of_asking(count, size, epoch, workers, asked):
    inputs, labels = images(count), np.arange(count)
    augmenter = Augmenter(POLICY, (12, 12, 3), 7)
    one = Batches(inputs, labels, size, augmenter=augmenter, seed=7, shuffle=True, workers=1)
    many = Batches(inputs, labels, size, augmenter=augmenter, seed=7, shuffle=True, workers=workers)
    one.set_epoch(epoch)
    many.set_epoch(3)
    many[0]
    many.set_epoch(epoch)
    positions = list(range(len(one)))
    expected = [one[position] for position in positions]
    asked.shuffle(positions)
    for position in positions:
        got = many[position]
        np.testing.assert_array_equal(got[0], expected[position][0])
        np.testing.assert_array_equal(got[1], expected[position][1])
    seen = np.concatenate([labels for _, labels in expected])
    np.testing.assert_array_equal(np.sort(seen), np.arange(count))
    np.testing.assert_array_equal(seen, one.order(epoch))


def test_images_are_uint8_and_the_last_batch_is_smaller():
    batches = Batches(images(10), np.arange(10), 4)
    assert [len(batch) for batch, _ in batches] == [4, 4, 2]
    assert batches[0][0].dtype == np.uint8
    assert batches[2][1].tolist() == [8, 9]


def test_each_epoch_has_an_order_of_its_own_and_resuming_there_sees_it():
    def shown(batches: Batches, epoch: int) -> list[int]:
        batches.set_epoch(epoch)
        return np.concatenate([labels for _, labels in batches]).tolist()

    def fresh() -> Batches:
        return Batches(images(20), np.arange(20), 6, shuffle=True, seed=3)

    whole = fresh()
    epochs = [shown(whole, epoch) for epoch in range(4)]
    assert len({tuple(order) for order in epochs}) == 4
    assert shown(fresh(), 2) == epochs[2]


def test_an_error_in_a_worker_reaches_the_reader():
    class Failing:
        def batch(self, images, indices, epoch, out=None):
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        Batches(images(4), np.arange(4), 2, augmenter=Failing())[0]


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="Received: 4, 5"):
        Batches(images(4), np.arange(5), 2)
    with pytest.raises(IndexError):
        Batches(images(4), np.arange(4), 2)[2]


def test_there_is_always_a_worker():
    assert 1 <= default_workers() <= 8
