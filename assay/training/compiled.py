"""One training step and one forward pass as TensorFlow functions, on one device or on several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from assay.models.heads import loss_for, probabilities

Array = npt.NDArray[Any]
# Images of one forward pass: beyond this a batch only costs memory.
INFERENCE_BATCH = 64


@dataclass(frozen=True)
class Prepared:
    """Batches where the devices can reach them.

    Attributes:
        tensors: Inputs, labels and weights; with a first axis of steps where there are several.
        count: Images of one batch, over all devices.
        steps: Number of batches.
    """

    tensors: tuple[Any, ...]
    count: Any
    steps: int


class TrainStep:
    """Runs training steps.

    The loss of a batch is the mean over its images of weighted cross-entropies plus the model's penalties.
    On several devices each takes a share of the batch, and the sum of their losses is that of the whole.

    Args:
        model: Raw inputs in, probabilities out.
        optimizer: From `build_optimizer`; its variables are made here.
        class_weights: Factor of each class in the loss, float (K,).
        label_smoothing: Probability mass moved off the given label.
        strategy: The one under which the model was built.
        jit: Whether to compile with XLA.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        *,
        class_weights: Array,
        label_smoothing: float,
        strategy: tf.distribute.Strategy,
        jit: bool,
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._weights = class_weights.astype(np.float32)
        self._strategy = strategy
        self._replicas = strategy.num_replicas_in_sync
        self._loss = loss_for("sigmoid" if model.output_shape[-1] == 1 else "softmax", label_smoothing=label_smoothing)
        with strategy.scope():
            optimizer.build(model.trainable_variables)
        # Replicas meet inside the optimizer, which neither XLA nor a function of their own allows.
        alone = self._replicas == 1
        self._one = tf.function(self._on_replica, jit_compile=True) if jit and alone else self._on_replica
        self._run_one = tf.function(self._step, reduce_retracing=True)
        self._run_several = tf.function(self._steps, reduce_retracing=True)

    def prepare(self, batches: Sequence[tuple[Array, Array]]) -> Prepared:
        """Bring batches to the devices; safe in another thread, so that the next ones come while a step runs.

        Args:
            batches: Inputs (B, ...) and labels int (B,); all of one size.
        """
        padded = [self._padded(batch) for batch in batches]
        count = tf.constant(len(batches[0][1]), tf.float32)
        if len(padded) == 1:
            return Prepared(tuple(self._share(part) for part in padded[0]), count, steps=1)
        stacked = [np.stack(parts) for parts in zip(*padded, strict=True)]
        return Prepared(tuple(self._share(part, axis=1) for part in stacked), count, steps=len(padded))

    def __call__(self, prepared: Prepared) -> npt.NDArray[np.float64]:
        """Take one step on each prepared batch, all in one call.

        Returns:
            (steps, 3): sum of the weighted losses, images decided rightly, images.
        """
        if prepared.steps == 1:
            sums = self._run_one(*prepared.tensors, prepared.count)[None]
        else:
            sums = self._run_several(*prepared.tensors, prepared.count, tf.constant(prepared.steps))
        return np.asarray(sums, dtype=np.float64)

    def _padded(self, batch: tuple[Array, Array]) -> tuple[Array, Array, Array]:
        inputs, labels = batch
        weights = np.ones(len(labels), dtype=np.float32)
        missing = -len(labels) % self._replicas
        if missing:
            # Weightless repeats of the first image: every device gets a share of one size.
            repeats = np.zeros(missing, dtype=np.int64)
            inputs = np.concatenate([inputs, inputs[repeats]])
            labels = np.concatenate([labels, labels[repeats]])
            weights = np.concatenate([weights, np.zeros(missing, dtype=np.float32)])
        return inputs, labels, weights

    def _share(self, values: Array, axis: int = 0) -> Any:
        if self._replicas == 1:
            return tf.constant(values)
        shares = np.split(values, self._replicas, axis=axis)
        return self._strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(shares[context.replica_id_in_sync_group])
        )

    def _step(self, inputs: Any, labels: Any, weights: Any, count: Any) -> Any:
        if self._replicas == 1:
            return self._one(inputs, labels, weights, count)
        sums = self._strategy.run(self._on_replica, args=(inputs, labels, weights, count))
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)

    def _steps(self, inputs: Any, labels: Any, weights: Any, count: Any, steps: Any) -> Any:
        results = tf.TensorArray(tf.float32, size=steps, element_shape=(3,))
        for step in tf.range(steps):
            # Each step begins with the weights that the one before it left.
            tf.autograph.experimental.set_loop_options(parallel_iterations=1)
            x, y, w = (self._batch_of(part, step) for part in (inputs, labels, weights))
            results = results.write(step, self._step(x, y, w, count))
        return results.stack()

    def _batch_of(self, stacked: Any, step: Any) -> Any:
        return stacked[step] if self._replicas == 1 else self._strategy.run(lambda part: part[step], args=(stacked,))

    def _on_replica(self, inputs: Any, labels: Any, weights: Any, count: Any) -> Any:
        with tf.GradientTape() as tape:
            output = self._model(inputs, training=True)
            truth = labels[:, None] if output.shape[-1] == 1 else labels
            losses = self._loss.call(truth, output) * weights * tf.gather(self._weights, labels)
            total = tf.reduce_sum(losses)
            penalties = sum((tf.cast(penalty, tf.float32) for penalty in self._model.losses), start=tf.constant(0.0))
            loss = self._optimizer.scale_loss(total / count + penalties / self._replicas)
        variables = self._model.trainable_variables
        self._optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        if output.shape[-1] == 1:
            decided = tf.cast(output[:, 0] >= 0.5, labels.dtype)
        else:
            decided = tf.argmax(output, axis=-1, output_type=labels.dtype)
        seen = tf.cast(weights > 0, tf.float32)
        return tf.stack([total, tf.reduce_sum(tf.cast(decided == labels, tf.float32) * seen), tf.reduce_sum(seen)])


class Forward:
    """Runs a model forward.

    Args:
        model: Any Keras model of one input and one output.
        jit: Whether to compile with XLA.
    """

    def __init__(self, model: keras.Model, *, jit: bool = False) -> None:
        self._function = tf.function(
            lambda inputs: model(inputs, training=False), jit_compile=jit or None, reduce_retracing=True
        )

    def __call__(self, inputs: Array) -> Any:
        """Return the model's output for one batch, a tensor (B, ...)."""
        return self._function(tf.constant(inputs))

    def probabilities(self, inputs: Any, batch_size: int = INFERENCE_BATCH) -> npt.NDArray[np.float32]:
        """Return the probability of every class.

        Args:
            inputs: (N, ...): an array, or anything with ``len`` and slices.
            batch_size: Images of one pass.

        Returns:
            float32 (N, K).
        """
        starts = range(0, len(inputs), batch_size)
        outputs = [self(np.asarray(inputs[start : start + batch_size])).numpy() for start in starts]
        return probabilities(np.concatenate(outputs))
