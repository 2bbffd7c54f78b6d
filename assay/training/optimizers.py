"""Optimizers and learning-rate schedules from their config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from assay.config import OptimizerConfig
from assay.observability.progress import log
from assay.training.fused import FusedAdam, FusedSGD

WARMUP_START = 1 / 20  # fraction of the peak rate at step 0
ADAMW_WEIGHT_DECAY = 0.004  # Keras's default
# A weight less half a unit in its last place, or less, is the same weight.
FLOAT32_NOTICES = 2.0**-25
NOT_DECAYED = ("bias", "gamma", "beta")  # offsets and BatchNorm's scale: shrinking them regularises nothing


def build_optimizer(
    config: OptimizerConfig, total_steps: int, rate_factors: Mapping[str, float] | None = None
) -> keras.optimizers.Optimizer:
    """Build the optimizer that a config describes.

    Its learning rate is always a `Schedule`, so that a plateau can lower any of them.

    Args:
        config: The update rule, its schedule and its options.
        total_steps: Steps of the whole run; at the last one a cosine has fallen to 0.
        rate_factors: Factors on the rate by path of the variable; see `layer_rates`. Not for rmsprop.

    Returns:
        A Keras optimizer without variables yet.
    """
    common: dict[str, Any] = {
        "learning_rate": Schedule(_rate(config, total_steps)),
        "weight_decay": _weight_decay(config),
        "clipnorm": config.clip_norm,
        "use_ema": config.ema is not None,
        "ema_momentum": 0.99 if config.ema is None else config.ema,
    }
    optimizer: keras.optimizers.Optimizer
    if config.name == "rmsprop":
        optimizer = keras.optimizers.RMSprop(momentum=config.momentum, **common)
    else:
        if config.name == "sgd":
            optimizer = FusedSGD(momentum=config.momentum, nesterov=config.nesterov, **common)
        else:
            optimizer = FusedAdam(**common)
        optimizer.rate_factors = dict(rate_factors or {})
    if common["weight_decay"]:
        optimizer.exclude_from_weight_decay(var_names=list(NOT_DECAYED))
    return optimizer


def _weight_decay(config: OptimizerConfig) -> float | None:
    decay = config.weight_decay
    if decay is None:
        return ADAMW_WEIGHT_DECAY if config.name == "adamw" else None
    if 0 < decay * config.learning_rate < FLOAT32_NOTICES:
        # Such a decay costs a pass over all weights at each step and changes none of them.
        least = FLOAT32_NOTICES / config.learning_rate
        log(
            f"weight_decay {decay:g} at learning rate {config.learning_rate:g} is below what float32 weights can "
            f"notice: none is applied. From {least:.1g} on it has an effect."
        )
        return None
    return decay or None


def _rate(config: OptimizerConfig, total_steps: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    peak = config.learning_rate
    if config.schedule == "inverse_time":
        # The `decay` of Keras's old optimizers: lr / (1 + decay * step), anew at each step.
        return keras.optimizers.schedules.InverseTimeDecay(peak, decay_steps=1, decay_rate=config.decay)
    if config.schedule == "cosine":
        # A run shorter than twice its warm-up still spends half of its steps coming down.
        warmup = min(config.warmup_steps, total_steps // 2)
        return keras.optimizers.schedules.CosineDecay(
            peak * WARMUP_START if warmup else peak,
            decay_steps=max(1, total_steps - warmup),
            warmup_target=peak if warmup else None,
            warmup_steps=warmup,
        )
    return peak


@keras.saving.register_keras_serializable("assay")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate times a factor that callbacks may lower while a run goes on.

    Args:
        rate: A constant, or the rate as a function of the step.
    """

    def __init__(self, rate: float | keras.optimizers.schedules.LearningRateSchedule) -> None:
        super().__init__()
        self.rate = rate
        self.factor = keras.Variable(
            1.0, dtype="float32", trainable=False, name="rate_factor", aggregation="only_first_replica"
        )

    def __call__(self, step: Any) -> Any:
        rate = self.rate(step) if callable(self.rate) else self.rate
        return keras.ops.cast(rate, "float32") * self.factor

    def get_config(self) -> dict[str, Any]:
        """Return what the schedule is rebuilt from; the factor is a run's own state."""
        rate = keras.saving.serialize_keras_object(self.rate) if callable(self.rate) else self.rate
        return {"rate": rate}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Schedule:
        """Rebuild a schedule from `get_config`."""
        rate = config["rate"]
        return cls(keras.saving.deserialize_keras_object(rate) if isinstance(rate, dict) else rate)


def schedule_of(optimizer: keras.optimizers.Optimizer) -> Schedule:
    """Return the schedule of an optimizer made by `build_optimizer`, also inside a loss-scaling one."""
    return getattr(optimizer, "inner_optimizer", optimizer)._learning_rate
