"""All that changes while one phase is trained, how it is saved, and how it is taken up again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from assay.config import TrainConfig
from assay.hashing import hash_json
from assay.models.transfer import layer_rates
from assay.training.callbacks import Best, NotLearning, Watch
from assay.training.checkpoint import TrainingState
from assay.training.history import History
from assay.training.inputs import Batches
from assay.training.metrics import class_weights, prior_shift
from assay.training.optimizers import build_optimizer, schedule_of

Array = npt.NDArray[Any]
TAIL_SUFFIX = "_tail"  # of the models that `split_at` makes


@dataclass
class Position:
    """Where a run stands: the epoch (from 0), the steps of it that are done, and their sums."""

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    correct: float = 0.0
    images: float = 0.0


class RunState:
    """One phase between its start and its end.

    Args:
        model: What is trained.
        config: Epochs, optimizer, watchers.
        train: The training batches.
        valid_labels: Class indices of the validation split (N,).
        seed: Of the run; part of its identity.
        history: What has happened so far.
    """

    def __init__(
        self,
        model: keras.Model,
        config: TrainConfig,
        train: Batches,
        valid_labels: Array,
        seed: int,
        history: History,
    ) -> None:
        self.model, self.config, self.history = model, config, history
        name = model.name.removesuffix(TAIL_SUFFIX)
        self.name = name if history.phase == "train" else f"{name}, {history.phase}"
        self.at = Position()
        classes = max(2, model.output_shape[-1])
        counts = np.bincount(train.labels, minlength=classes)
        self.class_weights = class_weights(config, counts)
        self.prior_shift = prior_shift(config, counts)
        self.watch = Watch(
            config.callbacks,
            Best(history.monitor, history.best_value, history.best_loss),
            NotLearning(
                counts / counts.sum(),
                config.callbacks.not_learning_steps,
                self.class_weights,
                np.bincount(valid_labels, minlength=classes),
                config.label_smoothing,
            ),
        )
        with model.distribute_strategy.scope():
            decay = config.optimizer.layer_decay
            rates = layer_rates(model, decay) if decay != 1 else None
            optimizer = build_optimizer(config.optimizer, config.epochs * len(train), rates)
            if any(layer.compute_dtype == "float16" for layer in model._flatten_layers()):
                optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        self.optimizer, self.schedule = optimizer, schedule_of(optimizer)
        self.variables = _changing_variables(model)
        # The starting weights are the best until an epoch beats what is known of them.
        self.best_weights = self.weights()
        self.identity = hash_json(
            [config.fingerprint(), seed, len(train.labels), [[v.name, list(v.shape)] for v in self.variables]]
        )

    def weights(self) -> list[Array]:
        """Return copies of all that training changes in the model."""
        return values_of(self.variables)

    def take_best(self) -> None:
        """Give the model the weights of the best epoch."""
        assign(self.variables, self.best_weights)

    def to_checkpoint(self) -> TrainingState:
        """Return everything that the run's future depends on; see `take_up`."""
        arrays = {
            **_numbered("model", self.weights()),
            **_numbered("best", self.best_weights),
            **_numbered("optimizer", values_of(self.optimizer.variables)),
        }
        values = {
            "identity": self.identity,
            "at": asdict(self.at),
            "history": self.history.to_json(),
            "watch": self.watch.state(),
        }
        return TrainingState(arrays, values)

    def take_up(self, state: TrainingState) -> None:
        """Go to where a checkpoint of this same run left it."""
        self.at = Position(**state.values["at"])
        self.history.restore(state.values["history"])
        self.watch.restore(state.values["watch"])
        self.schedule.factor.assign(self.watch.rate_factor)
        assign(self.variables, _of_kind("model", state.arrays))
        assign(self.optimizer.variables, _of_kind("optimizer", state.arrays))
        self.best_weights = _of_kind("best", state.arrays)


def _changing_variables(model: keras.Model) -> list[Any]:
    """Return all state of a model that training changes: weights, statistics and seeds, not the frozen weights."""
    frozen = {id(weight) for layer in model._flatten_layers() if not layer.trainable for weight in layer.weights}
    return [variable for variable in model.variables if id(variable) not in frozen]


def values_of(variables: Sequence[Any]) -> list[Array]:
    """Return copies of variables' values."""
    return [np.array(variable) for variable in variables]


def assign(variables: Sequence[Any], values: Sequence[Array]) -> None:
    """Give variables their values, in order."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _numbered(kind: str, values: Sequence[Array]) -> dict[str, Array]:
    return {f"{kind}/{number}": value for number, value in enumerate(values)}


def _of_kind(kind: str, arrays: dict[str, Array]) -> list[Array]:
    count = sum(name.startswith(f"{kind}/") for name in arrays)
    return [arrays[f"{kind}/{number}"] for number in range(count)]
