"""Optimizers: schedules by their formulas, and what weight decay and averages touch."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.config import OptimizerConfig
from assay.models.catalog import build_model
from assay.models.transfer import layer_rates
from assay.training.optimizers import build_optimizer, schedule_of


def _rates(config: OptimizerConfig, total_steps: int) -> list[float]:
    schedule = schedule_of(build_optimizer(config, total_steps))
    return [float(schedule(step)) for step in range(total_steps + 1)]


def test_inverse_time_is_the_old_decay_of_keras() -> None:
    config = OptimizerConfig(name="sgd", learning_rate=0.01, schedule="inverse_time", decay=1e-2)
    expected = [0.01 * (1.0 / (1.0 + 1e-2 * step)) for step in range(31)]
    np.testing.assert_allclose(_rates(config, 30), expected, rtol=1e-6)


def test_inverse_time_counts_the_optimizers_own_steps() -> None:
    weight = keras.Variable(np.zeros(1, "float32"))
    optimizer = build_optimizer(OptimizerConfig(name="sgd", learning_rate=0.5, schedule="inverse_time", decay=0.25), 10)
    expected = 0.0
    for step in range(4):
        optimizer.apply([keras.ops.ones(1)], [weight])
        expected -= 0.5 / (1 + 0.25 * step)
        np.testing.assert_allclose(np.asarray(weight), [expected], rtol=1e-6)


@settings(deadline=None, max_examples=15)
@given(total=st.integers(2, 60), warmup=st.integers(0, 80), peak=st.floats(1e-6, 1.0))
def test_cosine_rises_from_a_twentieth_and_falls_to_zero_at_the_last_step(total: int, warmup: int, peak: float) -> None:
    rates = _rates(OptimizerConfig(learning_rate=peak, schedule="cosine", warmup_steps=warmup), total)
    used = min(warmup, total // 2)
    assert rates[0] == pytest.approx(peak / 20 if used else peak, rel=1e-5)
    assert max(rates) == pytest.approx(peak, rel=1e-5)
    assert int(np.argmax(rates)) == used
    for step in range(used, total + 1):
        expected = peak * (1 + math.cos(math.pi * (step - used) / (total - used))) / 2
        assert rates[step] == pytest.approx(expected, rel=1e-4, abs=peak * 1e-6)
    assert rates[total] == pytest.approx(0, abs=peak * 1e-6)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "inverse_time"])
def test_a_factor_lowers_every_schedule(schedule: str) -> None:
    optimizer = build_optimizer(OptimizerConfig.model_validate({"schedule": schedule}), 20)
    before = float(schedule_of(optimizer)(3))
    schedule_of(optimizer).factor.assign(0.5)
    assert float(schedule_of(optimizer)(3)) == pytest.approx(before / 2)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop"])
def test_weight_decay_shrinks_kernels_and_leaves_biases_and_batch_norm(name: str) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.BatchNormalization()])
    for weight in model.trainable_weights:
        weight.assign(np.ones(weight.shape))
    config = OptimizerConfig.model_validate({"name": name, "learning_rate": 0.5, "weight_decay": 0.1})
    optimizer = build_optimizer(config, 10)
    optimizer.apply([keras.ops.zeros(weight.shape) for weight in model.trainable_weights], model.trainable_weights)
    after = {weight.name: np.asarray(weight).max() for weight in model.trainable_weights}
    assert after == pytest.approx({"kernel": 1 - 0.5 * 0.1, "bias": 1, "gamma": 1, "beta": 1})


def test_nesterov_momentum_differs_from_plain_momentum_as_published() -> None:
    weight = keras.Variable(np.zeros(1, "float32"))
    optimizer = build_optimizer(OptimizerConfig(name="sgd", learning_rate=1.0, momentum=0.5, nesterov=True), 10)
    for _ in range(2):
        optimizer.apply([keras.ops.ones(1)], [weight])
    # velocity -1 then -1.5; each step looks ahead: w += 0.5 * velocity - 1
    np.testing.assert_allclose(np.asarray(weight), [-1.5 - 1.75])


def test_the_average_follows_the_weights() -> None:
    weight = keras.Variable(np.zeros(1, "float32"))
    optimizer = build_optimizer(OptimizerConfig(name="sgd", learning_rate=1.0, ema=0.5), 10)
    for _ in range(3):
        optimizer.apply([keras.ops.ones(1)], [weight])
    optimizer.finalize_variable_values([weight])
    np.testing.assert_allclose(np.asarray(weight), [0.5 * (0.5 * -1 + 0.5 * -2) + 0.5 * -3])


def test_a_clipped_gradient_has_the_norm_given() -> None:
    weight = keras.Variable(np.zeros(2, "float32"))
    optimizer = build_optimizer(OptimizerConfig(name="sgd", learning_rate=1.0, clip_norm=1.0), 10)
    optimizer.apply([keras.ops.convert_to_tensor([30.0, 40.0])], [weight])
    np.testing.assert_allclose(np.asarray(weight), [-0.6, -0.8], rtol=1e-6)


def test_an_optimizer_survives_serialisation() -> None:
    config = OptimizerConfig(name="adamw", schedule="cosine", warmup_steps=3, weight_decay=0.01)
    optimizer = build_optimizer(config, 20)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    rates = [float(schedule_of(optimizer)(step)) for step in range(20)]
    assert [float(schedule_of(again)(step)) for step in range(20)] == pytest.approx(rates)


def test_a_decay_that_float32_cannot_notice_is_named_and_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    config = OptimizerConfig(name="adamw", learning_rate=5e-5, weight_decay=1e-4)
    weights = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    np.testing.assert_array_equal(weights - weights * np.float32(5e-5 * 1e-4), weights)
    assert build_optimizer(config, 10).weight_decay is None
    assert "weight_decay 0.0001 at learning rate 5e-05 is below what float32" in capsys.readouterr().out
    assert build_optimizer(config.model_copy(update={"weight_decay": 0.01}), 10).weight_decay == 0.01
    assert build_optimizer(OptimizerConfig(name="adamw"), 10).weight_decay == 0.004
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_deeper_layers_move_and_shrink_less(name: str) -> None:
    model = build_model("vgg16", (32, 32, 3), 2, options={"head": "pooled"})
    factors = layer_rates(model, 0.5)
    last, first = model.get_layer("block5_conv3").kernel, model.get_layer("block1_conv1").kernel
    assert (factors[last.path], factors[first.path]) == (0.5, 0.5**13)
    assert model.get_layer("head_output").kernel.path not in factors

    config = OptimizerConfig.model_validate({"name": name, "learning_rate": 0.01, "weight_decay": 0.1})
    moved = {}
    for rates in (None, factors):
        weights = [keras.Variable(np.ones(3, "float32"), name=f"weight{place}") for place in range(2)]
        paths = {weights[0].path: 0.5} if rates else None
        build_optimizer(config, 10, paths).apply([keras.ops.ones(3)] * 2, weights)
        moved[bool(rates)] = [1 - float(np.asarray(weight)[0]) for weight in weights]
    # A step and a decay of 0.1 times the rate: both are halved for the one, and the other's are as they were.
    assert moved[True][0] == pytest.approx(moved[False][0] / 2, rel=0.02)
    assert moved[True][1] == pytest.approx(moved[False][1], rel=1e-5)
