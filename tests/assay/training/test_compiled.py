"""A training step on several devices, in half precision, and what it costs nothing to check."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from assay.config import OptimizerConfig
from assay.training.compiled import Forward, TrainStep
from assay.training.optimizers import build_optimizer

# Run in a process of its own: devices can only be divided before TensorFlow is first used.
SEVERAL = """
    import sys
    import numpy as np, tensorflow as tf
    devices = int(sys.argv[1])
    processor = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * devices)
    sys.path.insert(0, {tests!r})
    import test_fit
    from pathlib import Path
    from assay.config import RuntimeConfig, TrainConfig
    from assay.data.dataset import Dataset
    from assay.runtime import apply_runtime, strategy_for
    runtime = RuntimeConfig(precision="float32", workers=2, steps_per_execution=int(sys.argv[3]))
    apply_runtime(runtime, 0)
    strategy = strategy_for(32)
    assert strategy.num_replicas_in_sync == devices, strategy
    with strategy.scope():
        model = test_fit.network(dropout=0.0, l2=0.01)
    optimizer = {{"name": "sgd", "learning_rate": 0.05, "momentum": 0.9}}
    changes = {{"epochs": 2, "class_weights": "balanced", "optimizer": optimizer}}
    store = sys.argv[4] if len(sys.argv) > 4 else None
    data = Dataset.open(Path({data!r}))
    history = test_fit.train(data, model, changes, runtime, store=store)
    rows = [[row[key] for key in ("step", "loss", "accuracy", "val_loss", "val_auc")] for row in history.rows]
    np.savez(sys.argv[2], *[np.asarray(weight) for weight in model.weights], rows=np.array(rows))
"""


@pytest.mark.parametrize("steps_in_a_call", [1, 3])
def test_two_devices_train_as_one_does_on_the_same_global_batch(
    spots: object, tmp_path: Path, steps_in_a_call: int
) -> None:
    # 200 images in batches of 32: the last batch of 8 is shared out too.
    program = textwrap.dedent(SEVERAL).format(tests=str(Path(__file__).parent), data=str(spots.root))  # type: ignore[attr-defined]
    outcome = {}
    for devices in (1, 2):
        target = tmp_path / f"{devices}.npz"
        arguments = [str(devices), str(target), str(steps_in_a_call), str(tmp_path / f"store{devices}")]
        done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        outcome[devices] = np.load(target)
    np.testing.assert_allclose(outcome[2]["rows"], outcome[1]["rows"], rtol=1e-4, atol=1e-5)
    for name in outcome[1].files:
        np.testing.assert_allclose(outcome[2][name], outcome[1][name], rtol=1e-4, atol=1e-5)


def _dense(policy: str) -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    x = keras.layers.Dense(8, activation="relu", dtype=policy)(inputs)
    return keras.Model(inputs, keras.layers.Dense(2, activation="softmax", dtype="float32")(x))


def test_float16_scales_its_loss_and_learns() -> None:
    model = _dense("mixed_float16")
    optimizer = keras.optimizers.LossScaleOptimizer(build_optimizer(OptimizerConfig(learning_rate=0.02), 60))
    step = TrainStep(
        model,
        optimizer,
        class_weights=np.ones(2),
        label_smoothing=0.0,
        strategy=tf.distribute.get_strategy(),
        jit=False,
    )
    random = np.random.default_rng(0)
    x = random.normal(size=(64, 6)).astype(np.float32)
    y = (x[:, 0] > x[:, 1]).astype(np.int64)
    sums = np.array([step(step.prepare([(x, y)]))[0] for _ in range(60)])
    assert float(optimizer.dynamic_scale) > 1
    assert sums[-1, 0] < 0.5 * sums[0, 0]
    assert (sums[:, 2] == 64).all()


def test_each_image_counts_in_the_loss_by_its_class() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(8, 6)).astype(np.float32), random.integers(0, 2, 8)
    model = _dense("float32")
    probabilities = Forward(model).probabilities(x)
    step = TrainStep(
        model,
        build_optimizer(OptimizerConfig(), 1),
        class_weights=np.array([1.0, 3.0]),
        label_smoothing=0.0,
        strategy=tf.distribute.get_strategy(),
        jit=False,
    )
    loss, correct, images = step(step.prepare([(x, y)]))[0]
    losses = -np.log(probabilities[np.arange(8), y])
    assert loss == pytest.approx((losses * np.array([1.0, 3.0])[y]).sum(), rel=1e-5)
    assert images == 8
    assert correct == (probabilities.argmax(axis=1) == y).sum()


def test_predictions_do_not_depend_on_how_the_split_is_batched() -> None:
    model = _dense("float32")
    x = np.random.default_rng(0).normal(size=(70, 6)).astype(np.float32)
    forward = Forward(model)
    np.testing.assert_allclose(forward.probabilities(x, 64), forward.probabilities(x, 7), atol=1e-6)
