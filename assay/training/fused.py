"""Keras's Adam and SGD with each update in one pass over the weights.

Keras composes an update of elementary operations, each a pass over memory: for the 13 million weights of VGG16's last
eight layers that is a sixth of a bfloat16 training step on two cores. TensorFlow has the same updates as single
kernels. The formulas are Keras's; on several devices its own code runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf


class LayerRates(keras.optimizers.Optimizer):
    """What an optimizer needs for learning rates that differ from weight to weight."""

    # By path of the variable; one that is not named has the whole rate.
    rate_factors: Mapping[str, float] = {}
    weight_decay: float | None

    def rate_factor(self, variable: Any) -> float:
        """Return the factor on the rate of a variable that this optimizer was built for."""
        # TensorFlow's own variables come here, which know no path.
        return self.rate_factors.get(self._trainable_variables[self._get_variable_index(variable)].path, 1.0)

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        # Decay goes with the rate, so a weight that moves less is drawn to zero less.
        decay = self.weight_decay
        if decay is None or not self.rate_factors:
            super()._apply_weight_decay(variables)
            return
        try:
            for variable in variables:
                self.weight_decay = decay * self.rate_factor(variable)
                super()._apply_weight_decay([variable])
        finally:
            self.weight_decay = decay


@keras.saving.register_keras_serializable("assay")
class FusedAdam(LayerRates, keras.optimizers.Adam):
    """`keras.optimizers.Adam` (with ``weight_decay``: AdamW), updated by ``ResourceApplyAdam``."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        learning_rate *= self.rate_factor(variable)
        if self.amsgrad or not _can_fuse(gradient, variable):
            super().update_step(gradient, variable, learning_rate)
            return
        index = self._get_variable_index(variable)
        step = tf.cast(self.iterations + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(tf.constant(self.beta_1, tf.float32), step),
            beta2_power=tf.pow(tf.constant(self.beta_2, tf.float32), step),
            lr=tf.cast(learning_rate, tf.float32),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


@keras.saving.register_keras_serializable("assay")
class FusedSGD(LayerRates, keras.optimizers.SGD):
    """`keras.optimizers.SGD`, updated by ``ResourceApplyKerasMomentum``."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        learning_rate *= self.rate_factor(variable)
        if self.momentum == 0 or not _can_fuse(gradient, variable):
            super().update_step(gradient, variable, learning_rate)
            return
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle,
            accum=self.momentums[self._get_variable_index(variable)].value.handle,
            lr=tf.cast(learning_rate, tf.float32),
            grad=gradient,
            momentum=self.momentum,
            use_nesterov=self.nesterov,
        )


def _can_fuse(gradient: Any, variable: Any) -> bool:
    return (
        isinstance(gradient, tf.Tensor)
        and gradient.dtype == variable.dtype == tf.float32
        and not tf.distribute.has_strategy()
        and hasattr(variable, "handle")
    )
