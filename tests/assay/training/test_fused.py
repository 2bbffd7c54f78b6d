"""The fused updates are Keras's own."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from assay.training.fused import FusedAdam, FusedSGD


def _trajectory(optimizer: keras.optimizers.Optimizer, steps: int = 25) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    weights = [keras.Variable(random.normal(size=shape).astype(np.float32)) for shape in ((5, 7), (3,))]
    optimizer.build(weights)

    @tf.function
    def apply(*gradients: Any) -> None:
        optimizer.apply_gradients(zip(gradients, weights, strict=True))

    for _ in range(steps):
        apply(*(tf.constant(random.normal(size=weight.shape).astype(np.float32)) for weight in weights))
    return [np.array(variable) for variable in (*weights, *optimizer.variables)]


@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [
        (FusedAdam, keras.optimizers.Adam, {}),
        (FusedAdam, keras.optimizers.Adam, {"beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-3}),
        (FusedAdam, keras.optimizers.AdamW, {"weight_decay": 0.1, "clipnorm": 0.5, "use_ema": True}),
        (FusedAdam, keras.optimizers.Adam, {"amsgrad": True}),
        (FusedSGD, keras.optimizers.SGD, {}),
        (FusedSGD, keras.optimizers.SGD, {"momentum": 0.9}),
        (FusedSGD, keras.optimizers.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ],
)
def test_weights_and_state_follow_kerass(ours: Any, theirs: Any, options: dict[str, Any]) -> None:
    for one, other in zip(_trajectory(ours(0.05, **options)), _trajectory(theirs(0.05, **options)), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)
