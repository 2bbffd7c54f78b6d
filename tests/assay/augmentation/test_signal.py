"""Changes of sensor windows: what each does, and what they depend on."""

from __future__ import annotations

import numpy as np
import pytest

from assay.augmentation.signal import SignalAugmenter, signal_in_words
from assay.augmentation.warp import check_fits
from assay.config import Policy, SignalChange
from assay.data.missing import MissingValues
from assay.errors import InputError

MEAN, STD = (10.0, -2.0), (2.0, 0.5)
ROWS = np.arange(40)


@pytest.fixture
def windows() -> np.ndarray:
    random = np.random.default_rng(0)
    return (random.normal(size=(40, 100, 2)) * STD + MEAN).astype(np.float32)


def changed(windows: np.ndarray, epoch: int = 0, **values: float) -> np.ndarray:
    return SignalAugmenter(SignalChange(**values), None, MEAN, STD, seed=3).batch(windows, ROWS, epoch)


def test_a_shift_moves_the_whole_window_and_repeats_its_ends(windows: np.ndarray) -> None:
    moves = set()
    for before, after in zip(windows, changed(windows, shift=0.1), strict=True):
        (move,) = [
            move for move in range(-10, 11) if np.array_equal(after, before[np.clip(np.arange(100) + move, 0, 99)])
        ]
        moves.add(move)
    assert min(moves) < -5 and max(moves) > 5


def test_a_scale_multiplies_what_lies_about_the_mean_by_one_factor_a_channel(windows: np.ndarray) -> None:
    factors = (changed(windows, scale=0.5) - MEAN) / (windows - np.array(MEAN, np.float32))
    each = np.median(factors, axis=1)
    np.testing.assert_allclose(factors, np.broadcast_to(each[:, None], factors.shape), rtol=1e-2)
    assert np.exp(-0.5) <= each.min() < 0.8 and 1.3 < each.max() <= np.exp(0.5)
    assert not np.allclose(each[:, 0], each[:, 1]), "channels have factors of their own"


def test_noise_is_measured_in_deviations_of_its_channel(windows: np.ndarray) -> None:
    noise = changed(windows, jitter=0.1) - windows
    np.testing.assert_allclose(noise.std(axis=(0, 1)), [0.2, 0.05], rtol=0.05)
    np.testing.assert_allclose(noise.mean(axis=(0, 1)), [0, 0], atol=0.01)


def test_changes_depend_on_seed_epoch_and_row_alone(windows: np.ndarray) -> None:
    augmenter = SignalAugmenter(SignalChange(jitter=0.1, scale=0.1, shift=0.1), None, MEAN, STD, seed=3)
    first, before = augmenter.batch(windows, ROWS, 0), windows.copy()
    np.testing.assert_array_equal(augmenter.batch(windows[7:9], ROWS[7:9], 0), first[7:9])
    assert (augmenter.batch(windows, ROWS, 1) != first).any()
    out = np.empty_like(windows)
    assert augmenter.batch(windows, ROWS, 0, out) is out
    np.testing.assert_array_equal(out, first)
    np.testing.assert_array_equal(windows, before)
    fixed = SignalAugmenter(SignalChange(jitter=0.1), None, MEAN, STD, seed=3, views=2)
    np.testing.assert_array_equal(fixed.batch(windows, ROWS, 3), fixed.batch(windows, ROWS, 1))


def test_values_are_hidden_last(windows: np.ndarray) -> None:
    hide = MissingValues(0.3, "mean", MEAN, seed=3)
    both = SignalAugmenter(SignalChange(jitter=0.1), hide, MEAN, STD, seed=3).batch(windows, ROWS, 0)
    np.testing.assert_array_equal(both, hide.batch(changed(windows, jitter=0.1), ROWS, 0))


def test_it_is_told_in_words_and_refused_for_images() -> None:
    assert signal_in_words(None) == signal_in_words(SignalChange()) == []
    assert signal_in_words(SignalChange(shift=0.05)) == ["moved in time by up to 0.05 of the window"]
    with pytest.raises(InputError, match=r"augment\.policy\.signal changes sensor windows, and the data are images"):
        check_fits(Policy(signal=SignalChange(jitter=0.1)), (8, 8, 3))


def test_a_mask_moves_in_time_with_its_window_and_is_else_left_alone(windows: np.ndarray) -> None:
    mask = (np.random.default_rng(1).random(windows.shape) < 0.2).astype(np.float32)
    change = SignalChange(jitter=0.1, scale=0.1, shift=0.1)
    plain = SignalAugmenter(change, None, MEAN, STD, seed=3).batch(windows, ROWS, 0)
    both = np.concatenate([windows, mask], axis=2)
    augmenter = SignalAugmenter(change, None, (*MEAN, 0, 0), (*STD, 0, 0), seed=3, mask=True)
    changed_too = augmenter.batch(both, ROWS, 0)
    np.testing.assert_array_equal(changed_too[..., :2], plain)
    moved = SignalAugmenter(SignalChange(shift=0.1), None, MEAN, STD, seed=3).batch(mask, ROWS, 0)
    np.testing.assert_array_equal(changed_too[..., 2:], moved)
