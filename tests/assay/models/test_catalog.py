"""Every experiment of the lab notes has its exact shape; wrong names, options and inputs are told in one line."""

from __future__ import annotations

import random
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest

from assay.errors import InputError
from assay.models.catalog import build_model, check_options, describe, find_model, list_models

NOTES = [
    ("cnn3", 12_800, 912_642),
    ("cnn4", 10_368, 793_922),
    ("cnn6", 8_192, 811_490),
    ("cnn9", 4_608, 775_874),
    ("vgg16", 4_608, 15_895_874),
]

OTHERS = [
    # Counted by hand: kernel * inputs * filters + filters, layer by layer.
    ("fhr_cnn1", (240, 1201, 1), 2, 603 + (14 * 37 * 3 * 2 + 2)),
    ("fhr_cnn2", (240, 1201, 1), 2, 804 + 6_408 + (49 * 129 * 8 * 128 + 128) + 258),
    ("fhr_mlp", (24, 120, 1), 2, (24 * 120 * 512 + 512) + (512 * 512 + 512) + 1_026),
    ("conv1d", (80, 3), 6, 520_486),
    ("lstm", (80, 3), 6, 4 * 128 * (3 + 128 + 1) + 774),
]


@pytest.mark.parametrize(("name", "flatten", "parameters"), NOTES)
def test_the_notes_networks_have_their_exact_size(name: str, flatten: int, parameters: int) -> None:
    description = describe(name, (96, 96, 3))
    assert description.total == parameters
    assert next(row for row in description.rows if row.name == "head_flatten").output_shape == (flatten,)
    assert description.trainable + description.frozen == description.total
    assert sum(row.parameters for row in description.rows) == description.total


@pytest.mark.parametrize(("name", "shape", "classes", "parameters"), OTHERS)
def test_networks_for_traces_and_sensor_windows_have_their_exact_size(
    name: str, shape: tuple[int, ...], classes: int, parameters: int
) -> None:
    assert describe(name, shape, num_classes=classes).total == parameters


def test_the_layers_of_fhr_cnn2_are_the_notes() -> None:
    shapes = {row.name: row.output_shape for row in describe("fhr_cnn2", (240, 1201, 1)).rows}
    assert shapes["conv1"] == (58, 148, 4)
    assert shapes["conv2"] == shapes["pool"] == (49, 129, 8)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("cnn", (20, 33, 3)),
        ("fhr_cnn1", (60, 200, 1)),
        ("fhr_cnn2", (60, 200, 1)),
        ("fhr_mlp", (9, 30, 1)),
        ("conv1d", (80, 3)),
        ("lstm", (20, 3)),
        ("compact", (33, 48, 1)),
    ],
)
def test_each_network_gives_float32_probabilities_and_learns_in_bfloat16(name: str, shape: tuple[int, ...]) -> None:
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = build_model(
            name, shape, 3, channel_mean=(0.0,) * shape[-1], channel_std=(1.0,) * shape[-1], options={"l2": 1e-4}
        )
    finally:
        keras.mixed_precision.set_global_policy("float32")
    inputs = np.random.default_rng(0).integers(0, 256, (6, *shape)).astype("float32")
    output = model.predict(inputs, verbose=0)
    assert output.dtype == np.float32
    np.testing.assert_allclose(output.sum(axis=1), 1, atol=1e-5)
    before = model.get_weights()
    model.compile("adam", "sparse_categorical_crossentropy")
    model.train_on_batch(inputs, np.arange(6) % 3)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    assert any(not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_the_searched_cnn_takes_its_shape_from_its_options() -> None:
    options = {"width": 8, "depth": 2, "kernel": 5, "dense": 0, "batch_norm": True, "pooling": "average"}
    rows = {row.name: row for row in describe("cnn", (32, 32, 3), options=options).rows}
    assert rows["block2_conv1"].output_shape == (16, 16, 16)
    assert rows["block2_conv1"].parameters == 5 * 5 * 8 * 16
    assert rows["block1_norm1"].parameters == 4 * 8
    assert "head_dense" not in rows and rows["head_pool"].output_shape == (16,)
    with pytest.raises(InputError, match=r"layer 'block6_pool'.*at least 64x64"):
        build_model("cnn", (32, 32, 3), 2, options={"depth": 6})


def test_arithmetic_is_what_was_measured() -> None:
    # measured.md: 5.64 GFLOP forward; cnn3 436 MFLOP forward and backward, the first layer having no input gradient.
    assert describe("vgg16", (96, 96, 3)).flops == pytest.approx(5.64e9, rel=0.001)
    cnn3 = describe("cnn3", (96, 96, 3))
    first = next(row for row in cnn3.rows if row.name == "block1_conv1")
    assert 3 * cnn3.flops - first.flops == pytest.approx(436e6, rel=0.002)


def test_models_are_listed_and_checked_without_loading_keras() -> None:
    code = (
        "import sys; from assay.models.catalog import check_options, list_models; "
        "list_models(); check_options('vgg16', {'head': 'pooled'}); "
        "assert not {'keras', 'tensorflow'} & set(sys.modules), 'keras was loaded'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_sensor_network_refuses_images_and_says_what_takes_them() -> None:
    with pytest.raises(InputError, match=r"\(time, channels\).*cnn3"):
        build_model("conv1d", (96, 96, 3), 2)
    with pytest.raises(InputError, match=r"layer 'conv4'.*at least 75 steps"):
        build_model("conv1d", (74, 3), 2)


def test_threads_that_draw_random_numbers_meanwhile_change_no_weight() -> None:
    ended = threading.Event()

    def draw() -> None:
        while not ended.is_set():
            random.random()

    def weights() -> list[np.ndarray]:
        return build_model("cnn3", (24, 24, 1), 2, seed=5).get_weights()

    before, alone = random.getstate(), weights()
    assert random.getstate() == before, "Python's own generator stays as it was"
    thread = threading.Thread(target=draw)
    thread.start()
    try:
        for one, other in zip(alone, weights(), strict=True):
            np.testing.assert_array_equal(one, other)
    finally:
        ended.set()
        thread.join()


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    first, same, other = (build_model("cnn3", (28, 28, 1), 2, seed=seed) for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(first.get_weights(), same.get_weights(), strict=True))
    assert not np.array_equal(first.get_weights()[0], other.get_weights()[0])


@pytest.mark.parametrize(
    ("name", "shape", "layer", "need"),
    [
        ("cnn9", (40, 50, 3), "block3_conv3", "50x50"),
        ("cnn3", (10, 96, 3), "block3_conv1", "22x22"),
        ("vgg16", (31, 50, 3), "block5_pool", "32x32"),
    ],
)
def test_an_input_too_small_names_the_layer_and_the_size_needed(
    name: str, shape: tuple[int, ...], layer: str, need: str
) -> None:
    with pytest.raises(InputError, match=rf"layer '{layer}'.*at least {need}"):
        build_model(name, shape, 2)


def test_the_least_size_that_is_named_is_enough_and_one_less_is_not() -> None:
    build_model("cnn9", (50, 50, 3), 2)
    with pytest.raises(InputError):
        build_model("cnn9", (49, 50, 3), 2)


def test_an_unknown_model_offers_the_nearest_names() -> None:
    with pytest.raises(InputError, match="Did you mean 'vgg16'"):
        find_model("vg16")


def test_capitals_and_underscores_in_a_name_make_no_difference() -> None:
    assert find_model("VGG_16").name == "vgg16"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"droput": 0.2}, "Did you mean 'dropout'"),
        ({"dropout": 1.0}, "less than 1"),
        ({"kernel_initializer": "he"}, "he_normal"),
    ],
)
def test_options_are_checked_before_anything_is_built(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_options("cnn3", options)


def test_each_option_of_each_model_is_described() -> None:
    assert len(list_models()) >= 6
    for entry in list_models():
        assert entry.summary
        assert all(option.description for option in entry.options.model_fields.values())


@pytest.mark.parametrize("shape", [(96, 96), (96, 96, 3, 1), (0, 96, 3)])
def test_an_image_network_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="height, width, channels"):
        build_model("cnn3", shape, 2)


def test_sigmoid_is_for_two_classes() -> None:
    assert build_model("cnn3", (32, 32, 3), 2, output="sigmoid").output_shape == (None, 1)
    with pytest.raises(InputError, match="use softmax"):
        build_model("cnn3", (32, 32, 3), 3, output="sigmoid")


def test_l2_and_initializer_reach_the_kernels() -> None:
    model = build_model("cnn3", (32, 32, 3), 2, options={"l2": 0.001, "kernel_initializer": "he_normal"})
    assert len(model.losses) == 5
    assert type(model.get_layer("block2_conv1").kernel_initializer).__name__ == "HeNormal"
