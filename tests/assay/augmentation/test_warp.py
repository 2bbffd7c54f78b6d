from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.augmentation.parameters import Parameters
from assay.augmentation.warp import Augmenter
from assay.config import ColorJitter, Policy
from assay.errors import InputError

FILL_MODES = ("nearest", "reflect", "wrap", "constant")
FULL = Policy(
    rotation_range=30,
    quarter_turns=True,
    width_shift_range=0.1,
    height_shift_range=0.1,
    shear_range=5,
    zoom_range=0.2,
    brightness_range=(0.5, 1.5),
    horizontal_flip=True,
    vertical_flip=True,
    color_jitter=ColorJitter(hue=0.1, saturation=0.3, value=0.2),
)


def textured(*shape: int, seed: int = 0) -> np.ndarray:
    """Smooth structure with noise on it, as in a photograph: interpolation errors show, but not noise alone."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    waves = sum(
        rng.uniform(10, 30) * np.sin(rng.uniform(0.05, 0.5) * x + rng.uniform(0.05, 0.5) * y + rng.uniform(0, 6))
        for _ in range(6)
    )
    return np.clip(128 + waves[..., None] + rng.normal(0, 8, shape), 0, 255).astype(np.uint8)


def keras_result(image: np.ndarray, change: dict[str, float], fill_mode: str, fill_value: float) -> np.ndarray:
    """Apply the same parameters with Keras's ImageDataGenerator."""
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    shift = np.array([change["shift_x"], change["shift_y"]])
    height, width = image.shape[:2]
    if height != width:
        # Keras turns a rectangle about the centre of its transpose: take the displacement back out.
        angle, shear = np.deg2rad(change["rotation"]), np.deg2rad(change["shear"])
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        sheared = np.array([[1, -np.sin(shear)], [0, np.cos(shear)]])
        linear = rotation @ sheared @ np.diag([change["zoom_x"], change["zoom_y"]])
        offset = np.array([(height - width) / 2, (width - height) / 2])
        shift = shift + np.linalg.solve(rotation, linear @ offset - offset)
    return ImageDataGenerator(fill_mode=fill_mode, cval=fill_value).apply_transform(
        image.astype(np.float32),
        {
            "theta": change["rotation"],
            # The generator draws tx from height_shift_range, but its tx moves the image along the width.
            "tx": shift[0],
            "ty": shift[1],
            "shear": change["shear"],
            "zx": change["zoom_x"],
            "zy": change["zoom_y"],
            "flip_horizontal": change["flip_horizontal"],
            "flip_vertical": change["flip_vertical"],
            "brightness": None if change["brightness"] == 1 else change["brightness"],
        },
    )


def steps(count: int, size: float, start: float = 0.0) -> st.SearchStrategy[float]:
    """Multiples of a step that is no fraction of a pixel: at a jump of the border mode rounding decides."""
    return st.integers(-count, count).map(lambda step: start + step * size)


CHANGES = st.fixed_dictionaries(
    {
        "rotation": steps(180, 0.997),
        "shift_x": steps(20, 0.971),
        "shift_y": steps(20, 0.971),
        "shear": steps(30, 0.983),
        "zoom_x": steps(40, 0.00991, 1.0),
        "zoom_y": steps(40, 0.00991, 1.0),
        "flip_horizontal": st.booleans(),
        "flip_vertical": st.booleans(),
        # Keras cuts off decimals before it multiplies: above a factor of 1.5 that alone is 3 grey levels.
        "brightness": steps(50, 0.01, 1.0),
    }
)


@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("shape", [(64, 64, 3), (64, 64, 1), (40, 72, 3)])
@settings(max_examples=25, deadline=None)
@given(change=CHANGES, seed=st.integers(0, 1000))
def test_the_warp_equals_keras_on_identical_parameters(fill_mode, shape, change, seed):
    image = textured(*shape, seed=seed)
    augmenter = Augmenter(Policy(fill_mode=fill_mode, fill_value=30), shape, 0)
    ours = augmenter.apply(image[None], Parameters.one(**change))[0]
    keras = keras_result(image, change, fill_mode, 30)
    errors = np.abs(keras - ours)
    assert np.percentile(errors, 99) <= 2.5
    assert errors.mean() <= 2


@pytest.mark.parametrize("channels", [1, 3])
def test_keras_draws_can_be_replayed(channels):
    """The generator's own random parameters, with its units: shear in degrees, shifts in pixels."""
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    generator = ImageDataGenerator(
        rotation_range=15,
        width_shift_range=0.1,
        height_shift_range=0.1,
        shear_range=0.1,
        zoom_range=0.2,
        brightness_range=(0.5, 1.5),
        horizontal_flip=True,
        vertical_flip=True,
    )
    augmenter = Augmenter(Policy(), (96, 96, channels), 0)
    for seed in range(25):
        image = textured(96, 96, channels, seed=seed)
        drawn = generator.get_random_transform(image.shape, seed)
        keras = generator.apply_transform(image.astype(np.float32), drawn)
        parameters = Parameters.one(
            rotation=drawn["theta"],
            shift_x=drawn["tx"],
            shift_y=drawn["ty"],
            shear=drawn["shear"],
            zoom_x=drawn["zx"],
            zoom_y=drawn["zy"],
            flip_horizontal=drawn["flip_horizontal"],
            flip_vertical=drawn["flip_vertical"],
            brightness=drawn["brightness"],
        )
        ours = augmenter.apply(image[None], parameters)[0]
        assert np.percentile(np.abs(keras - ours), 99) <= 2.5


@given(
    policy=st.sampled_from([FULL, FULL.model_copy(update={"fill_mode": "constant"}), Policy(quarter_turns=True)]),
    epoch=st.integers(0, 50),
    cuts=st.lists(st.integers(1, 11), max_size=4),
)
@settings(max_examples=25, deadline=None)
def test_an_image_is_augmented_alike_in_every_batch_and_thread(policy, epoch, cuts):
    images = np.stack([textured(24, 24, 3, seed=seed) for seed in range(12)])
    order = np.random.default_rng(epoch).permutation(12)
    augmenter = Augmenter(policy, (24, 24, 3), seed=5)
    whole = augmenter.batch(images, np.arange(12), epoch)
    parts = np.split(order, sorted(set(cuts)))
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda part: augmenter.batch(images[part], part, epoch), parts))
    for part, result in zip(parts, results, strict=True):
        np.testing.assert_array_equal(result, whole[part])


def test_epochs_and_seeds_differ_and_the_input_is_left_alone():
    images = np.stack([textured(32, 32, 3, seed=seed) for seed in range(4)])
    before = images.copy()
    indices = np.arange(4)
    first = Augmenter(FULL, (32, 32, 3), 0).batch(images, indices, 0)
    assert not np.array_equal(first, Augmenter(FULL, (32, 32, 3), 0).batch(images, indices, 1))
    assert not np.array_equal(first, Augmenter(FULL, (32, 32, 3), 1).batch(images, indices, 0))
    np.testing.assert_array_equal(images, before)


def test_the_result_is_written_into_the_array_given():
    images = np.stack([textured(20, 30, 1)] * 2)
    out = np.zeros_like(images)
    policy = Policy(rotation_range=10, brightness_range=(0.5, 0.6))
    augmenter = Augmenter(policy, (20, 30, 1), 0)
    assert augmenter.batch(images, np.arange(2), 0, out) is out
    np.testing.assert_array_equal(out, augmenter.batch(images, np.arange(2), 0))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("horizontal", [False, True])
@pytest.mark.parametrize("vertical", [False, True])
def test_flips_and_quarter_turns_lose_nothing(channels, turns, horizontal, vertical):
    image = np.random.default_rng(0).integers(0, 256, (16, 16, channels), dtype=np.uint8)
    change = Parameters.one(turns=turns, flip_horizontal=horizontal, flip_vertical=vertical)
    expected = np.rot90(image, turns)
    if horizontal:
        expected = expected[:, ::-1]
    if vertical:
        expected = expected[::-1]
    augmenter = Augmenter(Policy(), image.shape, 0)
    np.testing.assert_array_equal(augmenter.apply(image[None], change)[0], expected)
    # The composed matrix says the same as the lossless path: a turn by no degrees at all takes the warp.
    barely = Parameters.one(turns=turns, flip_horizontal=horizontal, flip_vertical=vertical, rotation=1e-9)
    np.testing.assert_array_equal(augmenter.apply(image[None], barely)[0], expected)


def test_brightness_multiplies_and_clips():
    image = np.array([0, 10, 100, 200], dtype=np.uint8).reshape(2, 2, 1)
    augmenter = Augmenter(Policy(), (2, 2, 1), 0)
    bright = augmenter.apply(image[None], Parameters.one(brightness=1.5))[0, :, :, 0]
    np.testing.assert_array_equal(bright, [[0, 15], [150, 255]])


def test_a_policy_with_views_shows_its_first_epochs_in_turn():
    images = np.stack([textured(16, 16, 3, seed=seed) for seed in range(7)])
    fresh = Augmenter(FULL, (16, 16, 3), 2)
    views = Augmenter(FULL.model_copy(update={"views": 3}), (16, 16, 3), 2)
    for epoch in range(7):
        shown = views.batch(images, np.arange(7), epoch)
        np.testing.assert_array_equal(shown, fresh.batch(images, np.arange(7), epoch % 3))


@pytest.mark.parametrize(
    ("policy", "shape", "message"),
    [
        (Policy(quarter_turns=True), (240, 1201, 1), "quarter_turns needs square images. Received: 240x1201"),
        (Policy(color_jitter=ColorJitter(hue=0.1)), (32, 32, 1), "color_jitter needs colour images"),
        (Policy(), (32, 32, 4), "1 or 3 channels. Received: 4"),
    ],
)
def test_a_policy_that_does_not_fit_the_images_is_refused(policy, shape, message):
    with pytest.raises(InputError, match=message):
        Augmenter(policy, shape, 0)


def test_images_of_another_shape_or_type_are_refused():
    augmenter = Augmenter(Policy(), (8, 8, 3), 0)
    with pytest.raises(ValueError, match="Received: float32"):
        augmenter.batch(np.zeros((2, 8, 8, 3), np.float32), np.arange(2), 0)
    with pytest.raises(ValueError, match="Received: uint8 of shape"):
        augmenter.batch(np.zeros((2, 8, 9, 3), np.uint8), np.arange(2), 0)
