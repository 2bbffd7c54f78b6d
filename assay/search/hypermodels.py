"""What is searched: from a trial's values to the network, its inputs and its training config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from assay.config import ModelConfig, OptimizerConfig, SearchConfig, TrainConfig
from assay.data.dataset import Dataset
from assay.search.space import Values, stem_stride
from assay.search.spec import SearchSpec
from assay.training.data import training_batches
from assay.training.fit import Judged
from assay.training.inputs import Batches

SGD_MOMENTUM = 0.9
# Running statistics settle within a round of few epochs; Keras's 0.99 would judge it on half-made ones.
NORM_MOMENTUM = 0.9


def architecture(search: SearchConfig, values: Values, input_shape: tuple[int, ...]) -> ModelConfig:
    """Return the registered model that a trial's values mean.

    Args:
        search: Says which hypermodel.
        values: A trial's values; see `SearchSpace.values`.
        input_shape: H, W, C of images, in pixels.
    """
    if search.hypermodel == "vgg16_head":
        head = "pooled" if values["pooling"] == "average" else "flatten"
        options = {"head": head, "dense": values["dense"], "dropout": values["dropout"]}
        return ModelConfig(name="vgg16", options=options)
    return ModelConfig(
        name="cnn",
        options={
            "preprocessing": "standardize",
            "width": values["width"],
            "depth": values["depth"],
            "kernel": values["kernel"],
            "stride": stem_stride(input_shape),
            "batch_norm": True,
            "norm_momentum": NORM_MOMENTUM,
            "kernel_initializer": "he_normal",
            "pool_dropout": 0.0,
            "pooling": values["pooling"],
            "dense": values["dense"],
            "dropout": values["dropout"],
        },
    )


def train_config(search: SearchConfig, values: Values) -> TrainConfig:
    """Return how a trial is trained: at full length, which a round of hyperband ends before."""
    name = values["optimizer"]
    momentum = {"momentum": SGD_MOMENTUM, "nesterov": True} if name == "sgd" else {}
    return TrainConfig(
        epochs=search.epochs,
        batch_size=values["batch_size"],
        optimizer=OptimizerConfig(name=name, learning_rate=values["learning_rate"], **momentum),
        callbacks=search.callbacks.model_copy(update={"monitor": search.objective}),
    )


@dataclass(frozen=True)
class Built:
    """A trial's network.

    Attributes:
        whole: Raw pixels in, probabilities out.
        trainable: What training runs on: the whole, or a tail of it that shares its weights.
    """

    whole: Any
    trainable: Any


class HyperModel:
    """A CNN of any width, depth and head, trained on images from scratch.

    Args:
        spec: The search.
        dataset: What it trains on.
    """

    def __init__(self, spec: SearchSpec, dataset: Dataset) -> None:
        self.spec, self.dataset = spec, dataset
        self.weights_hash = ""

    def build(self, values: Values, seed: int) -> Built:
        """Build a trial's network with fresh weights drawn by ``seed``."""
        from assay.models.registry import build_model

        chosen = architecture(self.spec.search, values, self.dataset.input_shape)
        model = build_model(
            chosen.name,
            self.dataset.input_shape,
            self.dataset.num_classes,
            options=chosen.options,
            seed=seed,
            channel_mean=self.dataset.mean,
            channel_std=self.dataset.std,
        )
        return Built(model, model)

    def training(self, batch_size: int, seed: int) -> Batches:
        """Return the batches that `Built.trainable` is trained on."""
        return training_batches(self.dataset, self.spec.policy, batch_size, seed, self.spec.runtime)

    def validation(self) -> Judged:
        """Return what each epoch of `Built.trainable` is judged on."""
        return self.dataset.valid

    def finish(self, built: Built) -> None:
        """Give the whole network the weights that training did not need; here it has them all."""


def open_hypermodel(spec: SearchSpec, dataset: Dataset) -> HyperModel:
    """Return the hypermodel that a search names."""
    return HyperModel(spec, dataset)
