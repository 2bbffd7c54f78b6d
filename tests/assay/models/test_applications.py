"""Backbones of keras.applications lie flat under their heads, with stable names and the notes' phases."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from assay.errors import InputError
from assay.models.applications import BACKBONES
from assay.models.catalog import build_model, find_model, list_models
from assay.models.transfer import base_layers, cut_points, freeze_base, split_at, unfreeze_from

INCEPTION_BASE = 21_802_784


@pytest.fixture(scope="module")
def reference() -> keras.Model:
    """InceptionV3 as the notes built it: whose layers an index means."""
    return keras.applications.InceptionV3(include_top=False, weights=None, input_shape=(96, 96, 3))


@pytest.fixture(scope="module")
def inception() -> keras.Model:
    return build_model("inception_v3", (96, 96, 3), 2)


def parameters(layers: list[keras.Layer]) -> int:
    return sum(layer.count_params() for layer in layers)


def test_inception_has_the_notes_head(inception: keras.Model) -> None:
    assert inception.count_params() == INCEPTION_BASE + (2048 * 1024 + 1024) + (1024 * 2 + 2)
    assert [layer.name for layer in inception.layers][-3:] == ["head_pool", "head_dense", "head_output"]


def test_inceptions_phases_train_the_head_then_the_base_from_layer_249(
    inception: keras.Model, reference: keras.Model
) -> None:
    head = (2048 * 1024 + 1024) + (1024 * 2 + 2)
    frozen = freeze_base(inception)
    assert (frozen.trainable, frozen.frozen) == (head, INCEPTION_BASE)

    # Layer by layer, the base is the reference's, so that an index means the same in both.
    base = base_layers(inception)
    assert [type(layer) for layer in base] == [type(layer) for layer in reference.layers]
    assert [layer.output.shape for layer in base[1:]] == [layer.output.shape for layer in reference.layers[1:]]

    unfrozen = unfreeze_from(inception, 249)
    tail = [layer for layer in reference.layers[249:] if not isinstance(layer, keras.layers.BatchNormalization)]
    assert unfrozen.trainable == head + parameters(tail) == head + 11_108_352
    assert unfrozen.trainable + unfrozen.frozen == inception.count_params()
    assert [point.layer for point in cut_points(inception) if point.frozen][-1] == "mixed8"


def test_names_do_not_depend_on_what_was_built_before(inception: keras.Model) -> None:
    names = [layer.name for layer in inception.layers]
    assert names == [layer.name for layer in build_model("inception_v3", (96, 96, 3), 2).layers]
    assert {"conv2d", "conv2d_93", "batch_normalization_93", "mixed10"} <= set(names)


def test_inception_is_cut_only_where_one_tensor_passes(inception: keras.Model) -> None:
    legal = [point.layer for point in cut_points(inception)]
    assert [name for name in legal if name.startswith("mixed")] == [f"mixed{block}" for block in range(11)]
    with pytest.raises(InputError, match="nearest places are 'mixed0' or 'mixed1'"):
        split_at(inception, "conv2d_14")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), dtype=np.uint8)
    prefix, tail = split_at(inception, "mixed8")
    joined = tail.predict(prefix.predict(pixels, verbose=0), verbose=0)
    np.testing.assert_allclose(joined, inception.predict(pixels, verbose=0), atol=1e-5)


def test_an_image_too_small_names_the_size_needed() -> None:
    with pytest.raises(InputError, match="at least 75x75"):
        build_model("inception_v3", (74, 96, 3), 2)


def test_every_class_of_keras_applications_is_offered() -> None:
    classes = {name for name in dir(keras.applications) if name[0].isupper()}
    assert classes == {backbone.constructor for backbone in BACKBONES.values()}
    # Others may register theirs: the kills of `bench.faults` do.
    own = [entry for entry in list_models() if entry.family != "faults"]
    assert {entry.name for entry in own if entry.pretrained} == set(BACKBONES)


def test_a_backbone_is_found_by_its_name_in_keras() -> None:
    assert find_model("EfficientNetV2B0").name == "efficientnet_v2_b0"
    assert find_model("ResNet50V2").name == "resnet50_v2"


def test_a_backbone_is_frozen_cut_and_saved(tmp_path) -> None:
    model = build_model("mobilenet_v3_small", (32, 40, 3), 3, options={"dense": 16})
    counts = freeze_base(model)
    features = model.get_layer("head_pool").output.shape[-1]
    assert counts.trainable == features * 16 + 16 + 16 * 3 + 3
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 40, 3), dtype=np.uint8)
    expected = model.predict(pixels, verbose=0)
    prefix, tail = split_at(model, "head_pool")
    np.testing.assert_allclose(tail.predict(prefix.predict(pixels, verbose=0), verbose=0), expected, atol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(pixels, verbose=0), expected, atol=1e-5)
