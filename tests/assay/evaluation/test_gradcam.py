"""Grad-CAM points at what decides, for every kind of network and number format, and falls back where it must."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from assay.evaluation.gradcam import explain, feature_map, overlay
from assay.models.catalog import build_model


def _squares(count: int, seed: int, size: int = 32):
    """Noise, with a bright 8x8 square somewhere in the images of class 1."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 90, (count, size, size, 3), dtype=np.uint8)
    labels = (np.arange(count) % 2).astype(np.int64)
    corners = generator.integers(0, size - 8, (count, 2))
    for image, label, (top, left) in zip(images, labels, corners, strict=True):
        if label:
            image[top : top + 8, left : left + 8] = generator.integers(180, 255, (8, 8, 3))
    return images, labels, corners


@pytest.fixture(scope="module")
def trained():
    """A small network that has learnt to see the square."""
    keras.utils.set_random_seed(0)
    model = build_model("cnn", (32, 32, 3), 2, options={"width": 8, "depth": 2, "dense": 0, "dropout": 0.0})
    images, labels, _ = _squares(256, 0)
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(images.astype(np.float32), labels, batch_size=32, epochs=12, verbose=0)
    images, labels, _ = _squares(64, 1)
    assert (model.predict_on_batch(images).argmax(axis=1) == labels).mean() > 0.9
    return model


def test_the_heat_lies_where_the_evidence_is(trained):
    images, labels, corners = _squares(24, 2)
    result = explain(trained, images[labels == 1], labels[labels == 1])
    assert result.method == "Grad-CAM"
    assert result.heat.shape == (12, 32, 32)
    assert result.heat.dtype == np.float32
    assert result.heat.min() >= 0 and result.heat.max() == 1
    hits = 0
    for heat, (top, left) in zip(result.heat, corners[labels == 1], strict=True):
        y, x = np.unravel_index(heat.argmax(), heat.shape)
        hits += top - 4 <= y < top + 12 and left - 4 <= x < left + 12
    assert hits >= 10


@pytest.mark.parametrize(
    ("name", "shape", "layer"),
    [("cnn3", (96, 96, 3), "block3_conv1"), ("vgg16", (64, 64, 3), "block5_conv3"), ("conv1d", (80, 3), "conv3")],
)
def test_the_last_map_with_places_is_found(name, shape, layer):
    model = build_model(name, shape, 2, channel_mean=(100.0,) * shape[-1], channel_std=(50.0,) * shape[-1])
    assert feature_map(model)[1] == layer
    inputs = np.random.default_rng(0).integers(0, 255, (3, *shape)).astype(np.float32)
    heat = explain(model, inputs, np.array([0, 1, 1]))
    assert heat.heat.shape == (3, *shape[:-1])
    assert heat.method == "Grad-CAM"
    assert np.isfinite(heat.heat).all()


def test_joined_branches_are_taken_after_the_join():
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, padding="same")(inputs)
    left = keras.layers.Conv2D(4, 1)(x)
    right = keras.layers.Conv2D(4, 3, padding="same")(x)
    x = keras.layers.Concatenate(name="join")([left, right])
    x = keras.layers.ReLU(name="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))
    assert feature_map(model)[1] == "relu"


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_gives_finite_maps(policy):
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(policy)
    try:
        model = build_model("cnn", (32, 32, 3), 2, options={"width": 8, "depth": 2, "dense": 0})
    finally:
        keras.mixed_precision.set_global_policy(before)
    images, labels, _ = _squares(6, 3)
    heat = explain(model, images, labels).heat
    assert np.isfinite(heat).all()
    assert heat.max() == 1


@pytest.mark.parametrize(("name", "shape"), [("fhr_mlp", (24, 40, 1)), ("lstm", (20, 3))])
def test_networks_without_convolution_show_saliency(name, shape):
    model = build_model(name, shape, 2, channel_mean=(100.0,) * shape[-1], channel_std=(50.0,) * shape[-1])
    inputs = np.random.default_rng(0).integers(0, 255, (3, *shape)).astype(np.float32)
    result = explain(model, inputs, np.array([0, 1, 0]))
    assert result.method == "saliency"
    assert result.layer == ""
    assert result.heat.shape == (3, *shape[:-1])
    assert result.heat.max() == 1


def test_frozen_bases_and_one_output_are_explained_too(trained):
    softmax = build_model("cnn", (32, 32, 3), 2, options={"width": 8, "depth": 2, "dense": 0}, seed=1)
    sigmoid = build_model("cnn", (32, 32, 3), 2, output="sigmoid", options={"width": 8, "depth": 2, "dense": 0}, seed=1)
    for layer, twin in zip(softmax.layers[:-1], sigmoid.layers[:-1], strict=True):
        twin.set_weights(layer.get_weights())
    kernel, bias = softmax.layers[-1].get_weights()
    sigmoid.layers[-1].set_weights([kernel[:, 1:] - kernel[:, :1], bias[1:] - bias[:1]])
    sigmoid.trainable = False
    images, labels, _ = _squares(6, 4)
    # The evidence for a class of two is the difference of the logits, whichever way the output is built.
    assert explain(sigmoid, images, labels).heat == pytest.approx(explain(softmax, images, labels).heat, abs=1e-3)


def test_nothing_to_explain_is_an_empty_answer(trained):
    assert explain(trained, np.zeros((0, 32, 32, 3), np.uint8), np.zeros(0, np.int64)).heat.shape == (0, 32, 32)


def test_the_overlay_leaves_cold_places_as_they_are():
    image = np.full((8, 8, 1), 120, np.uint8)
    heat = np.zeros((8, 8), np.float32)
    heat[0, 0] = 1
    picture = overlay(image, heat)
    assert picture.shape == (8, 8, 3)
    assert (picture[4:] == 120).all()
    assert (picture[0, 0] != 120).any()


def test_a_flattened_map_whose_weights_cancel_out_still_shows_its_evidence():
    """One filter that copies the image; the head wants light on the left and dark on the right, less of the former."""
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(1, 1, use_bias=False, name="copy")(inputs)
    x = keras.layers.Flatten()(x)
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid", use_bias=False, name="out")(x))
    kernel = np.full((8, 8), -2.0)
    kernel[:, :4] = 1.0
    model.set_weights([np.ones((1, 1, 1, 1)), kernel.reshape(64, 1) / 1000])
    image = np.full((1, 8, 8, 1), 9, np.uint8)
    heat = explain(model, image, np.array([1])).heat[0]
    assert (heat[:, :4] > 0.5).all()
    assert (heat[:, 4:] < 0.5).all()
