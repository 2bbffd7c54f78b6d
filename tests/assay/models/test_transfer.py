"""Freezing, unfreezing and cutting a transfer model, by the layers' names and indices in keras.applications."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from assay.errors import InputError
from assay.models.catalog import build_model
from assay.models.transfer import base_layers, cut_points, freeze_base, split_at, unfreeze_from


@pytest.fixture
def vgg() -> keras.Model:
    return build_model("vgg16", (32, 32, 3), 2, options={"head": "pooled"})


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)


def test_the_notes_phases_train_exactly_these_parameters() -> None:
    model = build_model("vgg16", (96, 96, 3), 2)
    assert freeze_base(model).trainable == 15_895_362 - 14_714_688
    last_eight = unfreeze_from(model, -8)
    assert (last_eight.trainable, last_eight.frozen) == (14_159_874, 1_736_000)
    assert unfreeze_from(model, "block4_conv1") == last_eight
    everything = unfreeze_from(model, None)
    assert (everything.trainable, everything.frozen) == (15_895_362, 512)


def test_the_base_has_the_names_and_indices_of_keras_applications(vgg: keras.Model) -> None:
    reference = keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
    assert [layer.name for layer in base_layers(vgg)][1:] == [layer.name for layer in reference.layers][1:]
    assert [layer.name for layer in vgg.layers if layer not in base_layers(vgg)] == [
        "preprocess_bgr",
        "preprocess_rescale",
        "head_pool",
        "head_dropout",
        "head_output",
    ]


def test_unfreezing_by_index_and_by_name_are_the_same(vgg: keras.Model) -> None:
    index = [layer.name for layer in base_layers(vgg)].index("block5_conv1")
    assert unfreeze_from(vgg, index) == unfreeze_from(vgg, "block5_conv1")
    assert vgg.get_layer("block5_conv1").trainable
    assert not vgg.get_layer("block4_conv3").trainable


def test_an_unknown_layer_offers_the_nearest_and_an_index_its_range(vgg: keras.Model) -> None:
    with pytest.raises(InputError, match="Did you mean 'block4_conv1'"):
        unfreeze_from(vgg, "block4conv1")
    with pytest.raises(InputError, match=r"indices 0 to 18.*Received: 19"):
        unfreeze_from(vgg, 19)


def test_batch_normalisation_of_an_unfrozen_base_keeps_its_statistics() -> None:
    inputs = keras.Input((8, 8, 3), name="input")
    x = keras.layers.Conv2D(4, 3, name="conv")(inputs)
    x = keras.layers.BatchNormalization(name="conv_bn")(x)
    x = keras.layers.GlobalAveragePooling2D(name="head_pool")(x)
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax", name="head_output")(x), name="small")
    unfreeze_from(model, None)
    model.compile("sgd", "sparse_categorical_crossentropy")
    before, kernel = [w.copy() for w in model.get_layer("conv_bn").get_weights()], model.get_layer("conv").get_weights()
    model.train_on_batch(np.random.default_rng(0).normal(5, 2, (16, 8, 8, 3)), np.arange(16) % 2)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_layer("conv_bn").get_weights(), strict=True))
    assert not np.array_equal(kernel[0], model.get_layer("conv").get_weights()[0])


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("layer", ["preprocess_rescale", "block5_conv2"])
def test_prefix_and_tail_together_are_the_model(policy: str, layer: str, pixels: np.ndarray) -> None:
    keras.mixed_precision.set_global_policy(policy)
    try:
        model = build_model("vgg16", (32, 32, 3), 2, options={"head": "pooled"})
    finally:
        keras.mixed_precision.set_global_policy("float32")
    prefix, tail = split_at(model, layer)
    joined = tail.predict(prefix.predict(pixels, verbose=0), verbose=0)
    np.testing.assert_allclose(joined, model.predict(pixels, verbose=0), atol=1e-6 if policy == "float32" else 2e-2)


def test_training_the_tail_trains_the_model_which_can_still_be_saved(
    vgg: keras.Model, pixels: np.ndarray, tmp_path
) -> None:
    unfreeze_from(vgg, "block5_conv1")
    (*_, cut) = [point.layer for point in cut_points(vgg) if point.frozen]
    assert cut == "block4_pool"
    prefix, tail = split_at(vgg, cut)
    before = vgg.predict(pixels, verbose=0)
    tail.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    tail.train_on_batch(prefix.predict(pixels, verbose=0), np.array([0, 1, 0, 1]))
    after = vgg.predict(pixels, verbose=0)
    assert not np.allclose(before, after)
    vgg.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(pixels, verbose=0), after, atol=1e-6)


def test_cut_points_say_what_a_cache_costs_and_saves() -> None:
    model = build_model("vgg16", (96, 96, 3), 2, options={"head": "pooled"})
    freeze_base(model)
    points = {point.layer: point for point in cut_points(model)}
    shapes = [points[f"block{block}_pool"].output_shape for block in (5, 4, 3)]
    assert shapes == [(3, 3, 512), (6, 6, 512), (12, 12, 256)]
    assert points["block5_pool"].flops == pytest.approx(5.64e9, rel=0.001)
    assert not points["head_dropout"].frozen
    assert [name for name, point in points.items() if point.frozen][-1] == "head_pool"


def test_a_head_on_several_layers_is_cached_as_one_tensor_and_its_blocks_unfreeze(pixels: np.ndarray) -> None:
    model = build_model("vgg16", (32, 32, 3), 2, options={"head": "multilayer"})
    freeze_base(model)
    frozen = [point for point in cut_points(model) if point.frozen]
    assert (frozen[-1].layer, frozen[-1].output_shape) == ("head_features", (256 + 512 + 512,))
    averages = keras.Model(model.input, [model.get_layer(f"block{block}_pool").output for block in (3, 4, 5)])
    expected = np.concatenate([maps.mean(axis=(1, 2)) for maps in averages.predict(pixels, verbose=0)], axis=1)
    prefix, tail = split_at(model, "head_features")
    features = prefix.predict(pixels, verbose=0)
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        tail.predict(features, verbose=0), model.predict(pixels, verbose=0), rtol=1e-5, atol=1e-6
    )
    # Where the last blocks train, the features of the first three are what can be kept: nothing later is one tensor.
    unfreeze_from(model, "block4_conv1")
    assert [point.layer for point in cut_points(model) if point.frozen][-1] == "block3_pool"


def test_a_model_that_trains_from_its_first_layer_has_nothing_frozen_but_its_preprocessing() -> None:
    points = cut_points(build_model("cnn3", (32, 32, 3), 2))
    assert [point.layer for point in points if point.frozen] == ["preprocess_rescale"]


def test_a_cut_inside_of_a_branch_names_the_nearest_legal_places() -> None:
    inputs = keras.Input((8, 8, 3), name="input")
    stem = keras.layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    branch = keras.layers.Conv2D(4, 3, padding="same", name="branch")(stem)
    joined = keras.layers.Add(name="joined")([stem, branch])
    pooled = keras.layers.GlobalAveragePooling2D(name="head_pool")(joined)
    model = keras.Model(inputs, keras.layers.Dense(2, name="head_output")(pooled), name="branched")
    assert [point.layer for point in cut_points(model)] == ["stem", "joined", "head_pool"]
    with pytest.raises(InputError, match="nearest places are 'stem' or 'joined'"):
        split_at(model, "branch")
    with pytest.raises(InputError, match="Did you mean 'joined'"):
        split_at(model, "joint")
