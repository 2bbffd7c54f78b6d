"""The compact network stays small at any size of image, and its attention can learn where to look."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from assay.models.catalog import build_model, describe
from assay.models.layers import AttentionPooling


@pytest.mark.parametrize("shape", [(96, 96, 3), (28, 28, 1), (240, 1201, 1), (7, 5, 3)])
def test_it_stays_under_200_000_parameters_at_any_size(shape: tuple[int, ...]) -> None:
    description = describe("compact", shape)
    assert description.total < 200_000
    assert next(row for row in description.rows if row.name == "head_pool").output_shape == (96,)


def test_its_arithmetic_is_no_more_than_cnn3s() -> None:
    assert describe("compact", (96, 96, 3)).flops < describe("cnn3", (96, 96, 3)).flops


def test_attention_begins_as_the_average() -> None:
    features = np.random.default_rng(0).normal(size=(3, 4, 5, 6)).astype("float32")
    np.testing.assert_allclose(AttentionPooling()(features), features.mean(axis=(1, 2)), atol=1e-6)


def test_attention_learns_that_the_label_depends_on_the_centre_alone() -> None:
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(256, 5, 5, 1)).astype("float32")
    centre = maps[:, 2, 2, 0]
    inputs = keras.Input((5, 5, 1))
    pooling = AttentionPooling()
    model = keras.Model(inputs, pooling(inputs))
    model.compile(keras.optimizers.Adam(0.1), "mse")
    model.fit(maps, centre, epochs=25, batch_size=64, verbose=0)
    assert np.argmax(pooling.position.numpy()) == 2 * 5 + 2
    assert np.corrcoef(model.predict(maps, verbose=0)[:, 0], centre)[0, 1] > 0.95


def test_attention_is_saved_with_the_model(tmp_path) -> None:
    model = build_model("compact", (20, 24, 3), 2)
    model.get_layer("head_attention").position.assign(np.linspace(-1, 1, 9))
    images = np.random.default_rng(0).integers(0, 256, (2, 20, 24, 3), dtype=np.uint8)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(images, verbose=0), model.predict(images, verbose=0), atol=1e-6)
