"""The feature cache: where it cuts, and that training from it is training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.config import FinetuneConfig, Policy, RuntimeConfig, TrainConfig
from assay.data.dataset import Dataset
from assay.errors import AssayError, InputError
from assay.models.catalog import build_model
from assay.models.transfer import CutPoint, cut_points, freeze_base, unfreeze_from
from assay.models.weights import load_weights
from assay.runtime import apply_runtime
from assay.training.compiled import Forward
from assay.training.data import training_batches
from assay.training.feature_cache import CachedModel, FeatureBatches, cache_features, plan_cache
from assay.training.finetune import finetune
from assay.training.fit import fit

FLIPS = Policy(horizontal_flip=True, vertical_flip=True, quarter_turns=True)


def _point(name: str, size: int, flops: float, frozen: bool = True) -> CutPoint:
    return CutPoint(name, (size,), int(flops), frozen)


# VGG16 at 96x96: values handed on and operations up to there, of the measured table.
BLOCKS = [
    _point("block1_pool", 147_456, 0.75e9),
    _point("block3_pool", 36_864, 3.0e9),
    _point("block4_pool", 18_432, 4.9e9),
    _point("block5_pool", 4_608, 5.6e9),
]
PCAM = {"train_images": 4000, "valid_images": 1000, "value_bytes": 2}


def test_the_last_frozen_layer_is_the_cut_where_there_is_room() -> None:
    plan = plan_cache(BLOCKS, epochs=10, views=1, room=10**9, **PCAM)
    assert plan is not None
    assert (plan.cut.layer, plan.views, plan.bytes) == ("block5_pool", 1, 5000 * 9216)
    tail = [*BLOCKS[:2], _point("block4_pool", 18_432, 4.9e9, frozen=False)]
    plan = plan_cache(tail, epochs=10, views=4, room=10**10, **PCAM)
    assert plan is not None
    assert (plan.cut.layer, plan.views, plan.bytes) == ("block3_pool", 4, (4 * 4000 + 1000) * 73_728)


def test_where_room_is_short_validation_alone_is_kept_or_a_smaller_layer() -> None:
    wide_last = [BLOCKS[3], _point("wide", 40_000, 5.7e9)]
    plan = plan_cache(wide_last, epochs=10, views=1, room=100 * 10**6, **PCAM)
    assert plan is not None and plan.cut.layer == "block5_pool"
    plan = plan_cache(BLOCKS[:2], epochs=10, views=1, room=80 * 10**6, **PCAM)
    assert plan is not None and (plan.cut.layer, plan.views) == ("block3_pool", 0)
    assert plan_cache(BLOCKS, epochs=10, views=1, room=10**6, **PCAM) is None


def test_new_views_each_epoch_leave_only_the_validation_images_to_keep() -> None:
    plan = plan_cache(BLOCKS, epochs=10, views=0, room=10**10, **PCAM)
    assert plan is not None and (plan.cut.layer, plan.views) == ("block5_pool", 0)


def test_nothing_is_saved_in_one_epoch_or_by_a_cheap_prefix() -> None:
    one = plan_cache(BLOCKS, epochs=1, views=1, room=10**10, **PCAM)
    assert one is not None and one.seconds_saved < 0
    cheap = plan_cache([_point("stem", 147_456, 0.01e9)], epochs=10, views=1, room=10**11, **PCAM)
    assert cheap is not None and cheap.seconds_saved < 0
    assert plan_cache([_point("trained", 10, 1e9, frozen=False)], epochs=9, views=1, room=10**9, **PCAM) is None


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 10**6), min_size=1, max_size=5),
    epochs=st.integers(1, 50),
    views=st.integers(0, 8),
    room=st.integers(0, 10**11),
)
def test_a_plan_fits_and_no_other_that_fits_saves_more(sizes: list[int], epochs: int, views: int, room: int) -> None:
    points = [_point(f"layer{index}", size, 1e8 * (index + 1)) for index, size in enumerate(sizes)]
    plan = plan_cache(points, epochs=epochs, views=views, room=room, **PCAM)
    smallest = min(sizes) * 2 * PCAM["valid_images"]
    assert (plan is None) == (smallest > room)
    if plan is not None:
        assert plan.bytes <= room
        assert plan.views in (0, min(views, epochs))
        for point in points:
            alone = plan_cache([point], epochs=epochs, views=views, room=room, **PCAM)
            assert alone is None or alone.seconds_saved <= plan.seconds_saved


def _vgg(dataset: Dataset, weights: Path, first: str | None, dropout: float = 0.0) -> keras.Model:
    options = {"head": "pooled", "dropout": dropout}
    model = build_model("vgg16", dataset.input_shape, dataset.num_classes, options=options, seed=4)
    load_weights(model, str(weights))
    if first is None:
        freeze_base(model)
    else:
        unfreeze_from(model, first)
    return model


def _cache(model: keras.Model, dataset: Dataset, policy: Policy, runtime: RuntimeConfig, **changes: Any) -> CachedModel:
    cached = cache_features(
        model, dataset, policy, **{"epochs": 10, "seed": 3, "runtime": runtime, "mode": "always", **changes}
    )
    assert cached is not None
    return cached


@pytest.fixture
def local(exact: RuntimeConfig, tmp_path: Path) -> RuntimeConfig:
    """Float32, deterministic, with a cache of the test's own."""
    runtime = exact.model_copy(update={"cache_dir": str(tmp_path / "cache")})
    apply_runtime(runtime, 0)
    return runtime


def test_predictions_from_cached_features_are_the_full_models(
    few: Dataset, vgg16_weights: Path, local: RuntimeConfig
) -> None:
    model = _vgg(few, vgg16_weights, None)
    cached = _cache(model, few, Policy(), local)
    assert cached.layer == "head_pool" or cached.layer.startswith("block5"), cached.layer
    full = Forward(model).probabilities(few.valid.inputs)
    np.testing.assert_allclose(Forward(cached.tail).probabilities(cached.valid.inputs), full, atol=1e-5)


@pytest.mark.parametrize("policy", [Policy(), FLIPS.model_copy(update={"views": 2})], ids=["plain", "two views"])
def test_weights_after_fifty_steps_are_those_of_the_uncached_run(
    few: Dataset, vgg16_weights: Path, local: RuntimeConfig, policy: Policy
) -> None:
    # 80 images in batches of 8 are 10 steps an epoch.
    config = TrainConfig.model_validate(
        {"epochs": 5, "batch_size": 8, "optimizer": {"name": "sgd", "learning_rate": 5e-4, "momentum": 0.9}}
    )
    models = [_vgg(few, vgg16_weights, "block5_conv3") for _ in range(2)]
    plain = training_batches(few, policy, 8, 3, local)
    arguments: dict[str, Any] = {"phase": "unfrozen", "seed": 3}
    without = fit(models[0], plain, few.valid, config, local, **arguments)
    cached = _cache(models[1], few, policy, local, epochs=5)
    assert len(cached.views) == max(1, policy.views)
    assert cached.layer == "block5_conv2"
    batches = FeatureBatches(cached.views, few.train.labels, 8, seed=3)
    within = fit(cached.tail, batches, cached.valid, config, local, **arguments)
    assert [row["step"] for row in within.rows] == [10, 20, 30, 40, 50]
    for one, other in zip(without.rows, within.rows, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-4)
    for one, other in zip(models[0].weights, models[1].weights, strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), atol=1e-4)
    moved = np.abs(np.asarray(models[1].get_layer("block5_conv3").kernel) - _kernel(vgg16_weights)).max()
    assert moved > 1e-3, "the tail of the model itself has been trained"


def _kernel(weights: Path) -> np.ndarray:
    base = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))
    base.load_weights(weights)
    return np.asarray(base.get_layer("block5_conv3").kernel)


def test_half_precision_features_are_those_that_the_full_model_computes(
    few: Dataset, vgg16_weights: Path, local: RuntimeConfig
) -> None:
    before = keras.mixed_precision.global_policy().name
    try:
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
        model = _vgg(few, vgg16_weights, "block4_conv1")
        cached = _cache(model, few, Policy(), local)
        assert (cached.layer, cached.valid.inputs.dtype) == ("block3_pool", np.float16)
        full = Forward(model).probabilities(few.valid.inputs)
        np.testing.assert_allclose(Forward(cached.tail).probabilities(cached.valid.inputs), full, atol=2e-3)
    finally:
        keras.mixed_precision.set_global_policy(before)


def test_features_are_computed_again_only_where_something_that_matters_has_changed(
    few: Dataset, vgg16_weights: Path, local: RuntimeConfig, tmp_path: Path
) -> None:
    files = tmp_path / "cache" / "features"

    def count(policy: Policy = FLIPS, views: int = 2, first: str | None = None, **changes: Any) -> int:
        shown = policy.model_copy(update={"views": views})
        _cache(_vgg(few, vgg16_weights, first), few, shown, local, **changes)
        return len(list(files.iterdir()))

    assert count() == 3  # two views and the validation split
    assert count() == 3
    assert count(views=3) == 4
    assert count(epochs=2) == 4
    assert count(seed=4) == 6
    assert count(Policy(), views=0) == 7  # the training split as it is; validation is there
    assert count(first="block5_conv1") == 10


def test_where_every_epoch_shows_new_views_the_validation_split_alone_is_kept(
    few: Dataset, vgg16_weights: Path, local: RuntimeConfig
) -> None:
    cached = _cache(_vgg(few, vgg16_weights, "block5_conv1"), few, FLIPS, local)
    assert cached.views == ()
    assert len(cached.valid.inputs) == len(few.valid)


def test_never_and_nothing_to_gain_leave_the_model_whole(
    few: Dataset, vgg16_weights: Path, local: RuntimeConfig, tmp_path: Path
) -> None:
    model = _vgg(few, vgg16_weights, "block1_conv1")
    for mode, epochs in (("never", 10), ("always", 10), ("auto", 10)):
        assert cache_features(model, few, Policy(), epochs=epochs, seed=0, runtime=local, mode=mode) is None  # type: ignore[arg-type]
    assert not (tmp_path / "cache").exists()


def test_no_room_for_what_is_asked_is_said(few: Dataset, vgg16_weights: Path, local: RuntimeConfig) -> None:
    model = _vgg(few, vgg16_weights, None)
    tight = local.model_copy(update={"cache_gigabytes": 1e-6})
    with pytest.raises(InputError, match=r"no features of vgg16 fit into 0\.0 GB.*cache_gigabytes"):
        cache_features(model, few, Policy(), epochs=9, seed=0, runtime=tight, mode="always")
    assert cache_features(model, few, Policy(), epochs=9, seed=0, runtime=tight, mode="auto") is None


def test_a_random_layer_is_never_part_of_the_prefix(few: Dataset) -> None:
    model = build_model("vgg16", few.input_shape, 2, options={"head": "flatten"})
    freeze_base(model)
    frozen = [point.layer for point in cut_points(model) if point.frozen]
    assert frozen[-1] == "head_flatten"


def test_fine_tuning_from_the_cache_is_fine_tuning(
    few: Dataset, vgg16_weights: Path, local: RuntimeConfig, tmp_path: Path
) -> None:
    values = {
        "weights": str(vgg16_weights),
        "frozen": {"epochs": 3, "batch_size": 20, "optimizer": {"learning_rate": 1e-2}},
        "epochs": 2,
        "batch_size": 20,
        "unfreeze_from": "block5_conv3",
        "optimizer": {"name": "adamw", "learning_rate": 1e-5},
    }
    tables = {}
    for cache in ("always", "never"):
        config = FinetuneConfig.model_validate({**values, "cache": cache})
        result = finetune(config, local, few.root, FLIPS, tmp_path / cache, 1, str(tmp_path / "store"))
        tables[cache] = result.history
    for column in ("loss", "val_loss", "val_auc"):
        np.testing.assert_allclose(tables["always"][column], tables["never"][column], atol=2e-4)


def test_a_cache_that_cannot_be_written_costs_time_only_unless_it_was_asked_for(
    few: Dataset, vgg16_weights: Path, local: RuntimeConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no folder")
    model = _vgg(few, vgg16_weights, None)
    blocked = local.model_copy(update={"cache_dir": str(tmp_path / "file")})
    arguments: dict[str, Any] = {"epochs": 5000, "seed": 0, "runtime": blocked}
    assert cache_features(model, few, Policy(), mode="auto", **arguments) is None
    assert "features cannot be kept (Not a directory)" in capsys.readouterr().out
    with pytest.raises(AssayError, match=r"cannot be kept \(Not a directory\)\. .*runtime\.cache_dir"):
        cache_features(model, few, Policy(), mode="always", **arguments)
