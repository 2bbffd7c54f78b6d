"""The space: values that a data set cannot take are removed, and networks are counted without being built."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.config import SearchConfig, SpaceConfig
from assay.errors import InputError
from assay.search.hypermodels import architecture
from assay.search.space import (
    VGG16_PARAMETERS,
    count_parameters,
    largest_depth,
    resolve_space,
    shortest_window,
    stem_stride,
)


def configured(**space: object) -> SearchConfig:
    return SearchConfig(space=SpaceConfig.model_validate(space))


def test_depths_that_leave_nothing_to_pool_are_removed_and_said() -> None:
    space = resolve_space(configured(depth=[1, 3, 4, 6]), (8, 20, 3), images=1000)
    assert space.choices["depth"] == (1, 3)
    assert len(space.removed) == 1
    assert "search.space.depth: 4, 6 removed" in space.removed[0] and "8 x 20" in space.removed[0]


def test_batches_larger_than_the_training_split_are_removed_and_said() -> None:
    space = resolve_space(configured(batch_size=[16, 64]), (32, 32, 3), images=40)
    assert space.choices["batch_size"] == (16,)
    assert "batch_size: 64 removed: the training split holds 40 examples" in space.removed[0]


def test_a_field_without_any_value_left_is_an_error() -> None:
    with pytest.raises(InputError, match=r"search.space.depth: no value fits.*Received: \[5, 6\]"):
        resolve_space(configured(depth=[5, 6]), (16, 16, 3), images=100)


def test_a_value_given_twice_counts_once() -> None:
    assert resolve_space(configured(width=[8, 8, 16]), (16, 16, 3), images=100).choices["width"] == (8, 16)


def test_windows_have_the_fields_of_conv1d_and_kernels_that_fit() -> None:
    space = resolve_space(configured(kernel=[3, 5, 9]), (35, 6), images=100)
    assert space.fields == ("width", "kernel", "dropout", "optimizer", "batch_size", "learning_rate")
    assert space.choices["kernel"] == (3, 5)
    assert "search.space.kernel: 9 removed: windows of 35 steps" in space.removed[0]
    with pytest.raises(InputError, match="vgg16_head needs images"):
        resolve_space(SearchConfig(hypermodel="vgg16_head"), (128, 9), images=100)


@pytest.mark.parametrize("kernel", [1, 3, 5, 10])
def test_the_shortest_window_is_what_conv1d_takes(kernel: int) -> None:
    from assay.models.catalog import build_model

    values = {"width": 5, "kernel": kernel, "dropout": 0.5}
    shape = (shortest_window(kernel), 3)
    chosen = architecture(SearchConfig(), values, shape)
    statistics = {"channel_mean": (0.0,) * 3, "channel_std": (1.0,) * 3}
    model = build_model(chosen.name, shape, 4, options=chosen.options, **statistics)
    assert count_parameters(SearchConfig(), values, shape, 4) == model.count_params()
    with pytest.raises(InputError, match="too small"):
        build_model(chosen.name, (shape[0] - 1, 3), 4, options=chosen.options, **statistics)


def test_vgg16_needs_its_32_pixels_and_only_the_heads_fields() -> None:
    search = SearchConfig(hypermodel="vgg16_head")
    with pytest.raises(InputError, match=r"32 pixels or more.* 31 x 64"):
        resolve_space(search, (31, 64, 3), images=100)
    fields = resolve_space(search, (32, 32, 3), images=100).fields
    assert fields == ("pooling", "dense", "dropout", "optimizer", "batch_size", "learning_rate")


def test_the_rate_is_rounded_to_what_a_table_shows_and_bookkeeping_is_left_out() -> None:
    space = resolve_space(configured(), (32, 32, 3), images=100)
    drawn = {**space.hyperparameters().values, "learning_rate": 0.00123456, "tuner/epochs": 3}
    values = space.values(drawn)
    assert tuple(values) == space.fields
    assert values["learning_rate"] == 0.00123


@given(side=st.integers(1, 4000), other=st.integers(1, 4000))
def test_the_stem_bounds_the_first_feature_map(side: int, other: int) -> None:
    stride = stem_stride((side, other, 3))
    assert side * other / stride**2 <= 128 * 128
    assert stride == 1 or side * other > 128 * 128


@settings(max_examples=12, deadline=None)
@given(
    shape=st.tuples(st.integers(8, 150), st.integers(8, 150), st.sampled_from([1, 3])),
    width=st.integers(1, 5),
    depth=st.integers(1, 4),
    kernel=st.integers(1, 5),
    pooling=st.sampled_from(["average", "flatten"]),
    dense=st.sampled_from([0, 7]),
    classes=st.integers(2, 4),
)
def test_weights_are_counted_as_keras_counts_them(
    shape: tuple[int, int, int], width: int, depth: int, kernel: int, pooling: str, dense: int, classes: int
) -> None:
    from assay.models.catalog import build_model

    depth = min(depth, largest_depth(shape))
    values = {"width": width, "depth": depth, "kernel": kernel, "pooling": pooling, "dense": dense, "dropout": 0.5}
    search = SearchConfig()
    chosen = architecture(search, values, shape)
    statistics = {"channel_mean": (100.0,) * shape[2], "channel_std": (50.0,) * shape[2]}
    model = build_model(chosen.name, shape, classes, options=chosen.options, **statistics)
    assert count_parameters(search, values, shape, classes) == model.count_params()


@pytest.mark.parametrize(("pooling", "dense"), itertools.product(["average", "flatten"], [0, 10]))
def test_heads_on_vgg16_are_counted_as_keras_counts_them(pooling: str, dense: int) -> None:
    from assay.models.catalog import build_model

    search = SearchConfig(hypermodel="vgg16_head")
    values = {"pooling": pooling, "dense": dense, "dropout": 0.0}
    shape = (70, 33, 3)
    chosen = architecture(search, values, shape)
    model = build_model(chosen.name, shape, 2, options=chosen.options)
    assert count_parameters(search, values, shape, 2) == model.count_params() > VGG16_PARAMETERS
