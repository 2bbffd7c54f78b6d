"""What is searched: from a trial's values to the network, its inputs and its training config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from assay.config import ModelConfig, OptimizerConfig, SearchConfig, TrainConfig
from assay.data.dataset import Dataset
from assay.errors import InputError
from assay.models.transfer import base_layers, freeze_base, split_at
from assay.models.weights import load_weights
from assay.search.space import CONV1D_POOL, Values, is_window, second_filters, stem_stride
from assay.search.spec import SearchSpec
from assay.training.data import build_for, training_batches
from assay.training.feature_cache import FeatureBatches, FeatureSplit, cache_features
from assay.training.fit import Judged
from assay.training.inputs import Batches

SGD_MOMENTUM = 0.9
# Running statistics settle within a round of few epochs; Keras's 0.99 would judge it on half-made ones.
NORM_MOMENTUM = 0.9
# Views of each image that heads are trained on, where the policy changes images and names no number.
HEAD_VIEWS = 2
# Of all trials together, for the cache's plan: its features are worth keeping.
MANY_EPOCHS = 1000


def architecture(search: SearchConfig, values: Values, input_shape: tuple[int, ...]) -> ModelConfig:
    """Return the registered model that a trial's values mean.

    Args:
        search: Says which hypermodel.
        values: A trial's values; see `SearchSpace.values`.
        input_shape: H, W, C of images in pixels, or T, C of sensor windows.
    """
    if search.hypermodel == "vgg16_head":
        head = "pooled" if values["pooling"] == "average" else "flatten"
        options = {"head": head, "dense": values["dense"], "dropout": values["dropout"]}
        return ModelConfig(name="vgg16", options=options)
    if is_window(input_shape):
        filters = {"filters": values["width"], "second_filters": second_filters(values["width"])}
        options = {**filters, "kernel": values["kernel"], "pool": CONV1D_POOL, "dropout": values["dropout"]}
        return ModelConfig(name="conv1d", options={**options, "kernel_initializer": "he_normal"})
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
        class_weights=search.class_weights,
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
    """A CNN of any width, depth and head for images, of any width and kernel for windows, trained from scratch.

    Args:
        spec: The search.
        dataset: What it trains on.
    """

    def __init__(self, spec: SearchSpec, dataset: Dataset) -> None:
        self.spec, self.dataset = spec, dataset
        self.weights_hash = ""

    def prepare(self) -> None:
        """Do once what all trials need; the chief does it before workers begin."""

    def build(self, values: Values, seed: int) -> Built:
        """Build a trial's network with fresh weights drawn by ``seed``."""
        model = self._whole(values, seed)
        return Built(model, model)

    def training(self, values: Values, seed: int) -> Batches:
        """Return the batches that `Built.trainable` is trained on."""
        return training_batches(self.dataset, self.spec.policy, values["batch_size"], seed, self.spec.runtime)

    def validation(self, values: Values) -> Judged:
        """Return what each epoch of `Built.trainable` is judged on."""
        return self.dataset.valid

    def finish(self, built: Built) -> None:
        """Give the whole network the weights that training did not need; here it has them all."""

    def _whole(self, values: Values, seed: int) -> Any:
        chosen = architecture(self.spec.search, values, self.dataset.input_shape)
        return build_for(self.dataset, chosen, self.spec.policy, seed)


@dataclass(frozen=True)
class _Features:
    """What comes out of the frozen prefix before one kind of head; see `CachedModel`."""

    layer: str
    views: tuple[Any, ...]
    valid: FeatureSplit


class HeadHyperModel(HyperModel):
    """A head on VGG16's frozen convolutions, which run once over the images and not in each trial."""

    def __init__(self, spec: SearchSpec, dataset: Dataset) -> None:
        super().__init__(spec, dataset)
        policy = spec.policy
        self._policy = policy if policy.views else policy.model_copy(update={"views": HEAD_VIEWS})
        self._features: dict[str, _Features] = {}

    def prepare(self) -> None:
        """Compute the features of every kind of head in the space."""
        for pooling in dict.fromkeys(self.spec.search.space.pooling):
            self._features_of(pooling)

    def build(self, values: Values, seed: int) -> Built:
        """Build a trial's network; its convolutions have no weights worth keeping until `finish`."""
        features = self._features_of(values["pooling"])
        whole = self._whole(values, seed)
        freeze_base(whole)
        _, tail = split_at(whole, features.layer)
        return Built(whole, tail)

    def training(self, values: Values, seed: int) -> Batches:
        """Return batches of features; epoch e shows view e modulo their number."""
        return FeatureBatches(
            self._features_of(values["pooling"]).views,
            self.dataset.train.labels,
            values["batch_size"],
            seed=seed,
            workers=self.spec.runtime.workers,
        )

    def validation(self, values: Values) -> Judged:
        """Return the features of the validation split."""
        return self._features_of(values["pooling"]).valid

    def finish(self, built: Built) -> None:
        """Give the convolutions the weights that the features were computed with."""
        pretrained = self._pretrained(self.spec.search.space.pooling[0])
        for layer in base_layers(built.whole):
            layer.set_weights(pretrained.get_layer(layer.name).get_weights())

    def _pretrained(self, pooling: str) -> Any:
        """Build a network whose base is the one that all trials share, also where its weights are random."""
        model = self._whole({"pooling": pooling, "dense": 0, "dropout": 0.0}, self.spec.seed)
        self.weights_hash = load_weights(model, self.spec.search.weights)
        freeze_base(model)
        return model

    def _features_of(self, pooling: str) -> _Features:
        if pooling not in self._features:
            cached = cache_features(
                self._pretrained(pooling),
                self.dataset,
                self._policy,
                epochs=MANY_EPOCHS,
                seed=self.spec.seed,
                runtime=self.spec.runtime,
                mode="always",
            )
            if cached is None or not cached.views:
                raise InputError(
                    "search.hypermodel vgg16_head: the features of the training images do not fit into the cache. "
                    f"Raise runtime.cache_gigabytes. Received: {self.spec.runtime.cache_gigabytes:g}"
                )
            self._features[pooling] = _Features(cached.layer, cached.views, cached.valid)
        return self._features[pooling]


def open_hypermodel(spec: SearchSpec, dataset: Dataset) -> HyperModel:
    """Return the hypermodel that a search names."""
    return {"cnn": HyperModel, "vgg16_head": HeadHyperModel}[spec.search.hypermodel](spec, dataset)
