"""ZCA whitening equals Keras's on small images, decorrelates large ones by their strongest components, and is saved."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from keras.src.legacy.preprocessing.image import ImageDataGenerator

from assay.augmentation.whitening import LARGEST_EXACT, fit_whitening
from assay.errors import InputError
from assay.models.catalog import build_model
from assay.models.transfer import split_at


def images(count: int, side: int, channels: int = 1) -> np.ndarray:
    """Smooth random images: neighbouring pixels are correlated, as in real ones."""
    rng = np.random.default_rng(0)
    rough = rng.normal(128, 60, (count, side, side, channels))
    smooth = (rough + np.roll(rough, 1, axis=1) + np.roll(rough, 1, axis=2)) / 3
    return np.clip(smooth, 0, 255).astype(np.uint8)


def whitened(batch: np.ndarray, **options: object) -> tuple[keras.Model, np.ndarray]:
    whitening = fit_whitening(batch)
    model = build_model("cnn3", batch.shape[1:], 2, whitening=whitening, **options)
    return model, split_at(model, "preprocess_whiten")[0].predict(batch, verbose=0)


def test_it_equals_keras_on_small_images() -> None:
    batch = images(600, 22)
    _, result = whitened(batch)
    generator = ImageDataGenerator(featurewise_center=True, zca_whitening=True)
    generator.fit(batch / np.float32(255))
    expected = np.stack([generator.standardize(image / np.float32(255)) for image in batch[:50]])
    # Keras decomposes in float32, which costs it two digits along the weakest components; the values spread by 1.
    np.testing.assert_allclose(result[:50], expected, atol=0.03)
    assert np.abs(result[:50] - expected).mean() < 0.003


def test_what_comes_out_is_uncorrelated() -> None:
    batch = images(2000, 22)
    _, result = whitened(batch)
    flat = result.reshape(len(result), -1)
    np.testing.assert_allclose(flat.T @ flat / len(flat), np.eye(22 * 22), atol=0.01)


def test_larger_images_are_whitened_along_their_strongest_components() -> None:
    batch = images(120, 33, 3)
    assert batch[0].size > LARGEST_EXACT
    whitening = fit_whitening(batch)
    assert whitening.matrix.shape == (33 * 33 * 3, 120)
    _, result = whitened(batch)
    spread = np.linalg.svd(result.reshape(len(batch), -1), compute_uv=False)[:100] / np.sqrt(len(batch))
    np.testing.assert_allclose(spread, 1, atol=0.02)


def test_its_weights_are_saved_and_never_trained(tmp_path: Path) -> None:
    batch = images(64, 22)
    model, expected = whitened(batch)
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.train_on_batch(batch, np.arange(64) % 2)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    result = split_at(loaded, "preprocess_whiten")[0].predict(batch, verbose=0)
    np.testing.assert_array_equal(result, expected)


def test_images_beyond_the_limit_are_told() -> None:
    with pytest.raises(InputError, match="224x224x3"):
        fit_whitening(np.zeros((2, 300, 300, 3), np.uint8))


def test_one_image_is_not_enough() -> None:
    with pytest.raises(InputError, match="at least two"):
        fit_whitening(images(1, 8))


def test_it_is_for_networks_from_scratch() -> None:
    with pytest.raises(InputError, match="networks from scratch"):
        build_model("vgg16", (32, 32, 3), 2, whitening=fit_whitening(images(4, 8, 3)))
