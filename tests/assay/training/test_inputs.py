from __future__ import annotations

import keras
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


def numbered(count: int) -> np.ndarray:
    """Images that hold nothing but their own number."""
    return np.repeat(np.arange(count, dtype=np.uint8), 16).reshape(count, 4, 4, 1)


class Recorder(keras.layers.Layer):
    """Passes its input on and notes, outside the graph, the numbers of the images of each step."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[list[int]] = []

    def call(self, inputs):
        import tensorflow as tf

        def note(numbers):
            self.steps.append(numbers.astype(int).tolist())
            return np.float32(0)

        zero = tf.numpy_function(note, [inputs[:, 0, 0, 0]], tf.float32)
        return inputs + tf.reshape(zero, [])


def recorded_fit(batches: Batches, *, epochs: int, initial_epoch: int = 0) -> list[list[int]]:
    recorder = Recorder()
    model = keras.Sequential([keras.Input((4, 4, 1)), recorder, keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(batches, epochs=epochs, initial_epoch=initial_epoch, verbose=0, shuffle=False)
    return recorder.steps


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


def test_weights_follow_their_images():
    batches = Batches(images(9), np.arange(9), 4, weights=np.arange(9) / 10, shuffle=True, seed=1)
    for _, labels, weights in batches:
        assert weights.dtype == np.float32
        np.testing.assert_allclose(weights, labels / 10, rtol=1e-6)


def test_keras_shows_each_epoch_in_its_own_order():
    batches = Batches(numbered(20), np.zeros(20), 6, shuffle=True, seed=3)
    steps = recorded_fit(batches, epochs=3)
    shown = np.concatenate(steps).reshape(3, 20)
    for epoch in range(3):
        np.testing.assert_array_equal(shown[epoch], batches.order(epoch))
    assert not np.array_equal(shown[0], shown[1])
    assert batches.epoch == 3


def test_a_resumed_fit_sees_what_it_would_have_seen():
    def batches():
        return Batches(numbered(20), np.zeros(20), 6, shuffle=True, seed=3)

    whole = recorded_fit(batches(), epochs=4)
    rest = batches()
    rest.set_epoch(2)
    resumed = recorded_fit(rest, epochs=4, initial_epoch=2)
    assert resumed == whole[8:]


def test_uint8_batches_train_as_float_arrays_do():
    inputs, labels = images(24), np.arange(24) % 2

    def trained(data) -> np.ndarray:
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [keras.Input((12, 12, 3)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(1)]
        )
        model.compile("sgd", "mse")
        if isinstance(data, Batches):
            model.fit(data, epochs=2, verbose=0, shuffle=False)
        else:
            model.fit(data, labels, epochs=2, batch_size=8, verbose=0, shuffle=False)
        return model.get_weights()[0]

    np.testing.assert_allclose(trained(Batches(inputs, labels, 8)), trained(inputs.astype("float32")), rtol=1e-6)


def test_an_error_in_a_worker_reaches_the_reader():
    class Failing:
        def batch(self, images, indices, epoch, out=None):
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        Batches(images(4), np.arange(4), 2, augmenter=Failing())[0]


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="Received: 4, 5"):
        Batches(images(4), np.arange(5), 2)
    with pytest.raises(ValueError, match="Received: 4, 4, 3"):
        Batches(images(4), np.arange(4), 2, weights=np.ones(3))
    with pytest.raises(IndexError):
        Batches(images(4), np.arange(4), 2)[2]


def test_there_is_always_a_worker():
    assert 1 <= default_workers() <= 8
