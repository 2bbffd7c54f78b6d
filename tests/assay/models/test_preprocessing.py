"""A model's own preprocessing is the one that its network was made for, in any precision, and survives saving."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

from assay.errors import InputError
from assay.models.applications import BACKBONES
from assay.models.catalog import Spec, build_model
from assay.models.preprocessing import preprocess
from assay.models.transfer import split_at

MEAN, STD = (180.0, 140.0, 175.0), (40.0, 50.0, 35.0)


def spec(name: str, channels: int = 3) -> Spec:
    known = channels == 3
    return Spec(name, (9, 7, channels), 2, "softmax", MEAN if known else None, STD if known else None)


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 9, 7, 3), dtype=np.uint8)


@pytest.fixture(params=["float32", "mixed_bfloat16"])
def policy(request: pytest.FixtureRequest) -> Iterator[str]:
    keras.mixed_precision.set_global_policy(request.param)
    yield request.param
    keras.mixed_precision.set_global_policy("float32")


def shown(name: str, how: str, images: np.ndarray) -> np.ndarray:
    """Return what a network's first layer is given."""
    inputs = keras.Input(images.shape[1:], dtype="float32")
    mode = BACKBONES[name].mode if name in BACKBONES else None
    outputs = preprocess(inputs, spec(name, images.shape[-1]), how, mode)
    return keras.Model(inputs, outputs).predict(images, verbose=0)


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_each_backbone_is_shown_what_its_own_preprocess_input_gives(name: str, pixels: np.ndarray) -> None:
    module = importlib.import_module(f"keras.applications.{BACKBONES[name].module}")
    expected = module.preprocess_input(pixels.astype("float32"))
    np.testing.assert_allclose(shown(name, "backbone", pixels), expected, rtol=1e-5, atol=2e-6)


@pytest.mark.usefixtures("policy")
def test_it_is_computed_in_float32_whatever_the_networks_precision(pixels: np.ndarray) -> None:
    np.testing.assert_allclose(shown("cnn3", "rescale", pixels), pixels / 255, atol=1e-7)
    expected = keras.applications.vgg16.preprocess_input(pixels.astype("float32"))
    np.testing.assert_array_equal(shown("vgg16", "backbone", pixels), expected)


def test_standardize_uses_the_training_splits_statistics(pixels: np.ndarray) -> None:
    np.testing.assert_allclose(shown("cnn3", "standardize", pixels), (pixels - np.array(MEAN)) / STD, atol=1e-5)


def test_none_hands_the_pixels_on(pixels: np.ndarray) -> None:
    np.testing.assert_array_equal(shown("cnn3", "none", pixels), pixels)


def test_a_constant_channel_is_not_divided_by_zero(pixels: np.ndarray) -> None:
    inputs = keras.Input((9, 7, 3))
    flat = Spec("cnn3", (9, 7, 3), 2, "softmax", (0.0, 0.0, 7.0), (1.0, 1.0, 0.0))
    images = pixels.copy()
    images[..., 2] = 7
    result = keras.Model(inputs, preprocess(inputs, flat, "standardize")).predict(images, verbose=0)
    assert np.all(result[..., 2] == 0)


def test_standardize_without_statistics_is_told() -> None:
    with pytest.raises(InputError, match="channel_mean"):
        build_model("cnn3", (32, 32, 3), 2, options={"preprocessing": "standardize"})


def test_grey_images_are_shown_to_a_colour_network_as_grey(pixels: np.ndarray) -> None:
    grey = pixels[..., :1]
    expected = keras.applications.vgg16.preprocess_input(np.repeat(grey, 3, axis=-1).astype("float32"))
    np.testing.assert_array_equal(shown("vgg16", "backbone", grey), expected)


def test_four_channels_are_refused_by_a_pretrained_network() -> None:
    with pytest.raises(InputError, match="Received: 4 channels"):
        build_model("vgg16", (32, 32, 4), 2)


def test_a_network_with_its_own_preprocessing_takes_no_other() -> None:
    with pytest.raises(InputError, match="its own preprocessing"):
        build_model("mobilenet_v3_small", (32, 32, 3), 2, options={"preprocessing": "rescale"})


def test_it_has_no_weights_and_survives_saving(tmp_path: Path) -> None:
    model = build_model("vgg16", (32, 32, 1), 2, options={"head": "pooled"})
    before = split_at(model, "preprocess_rescale")[0]
    assert before.count_params() == 0
    before.save(tmp_path / "prefix.keras")
    images = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 1), dtype=np.uint8)
    loaded = keras.saving.load_model(tmp_path / "prefix.keras")
    np.testing.assert_array_equal(loaded.predict(images, verbose=0), before.predict(images, verbose=0))
