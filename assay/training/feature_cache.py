"""The feature cache: a frozen prefix runs once over each image (or each view of it), and the rest trains from there.

Caching changes no result: an augmented run shows view ``e mod K`` in epoch ``e`` whether cached or not, features
are kept in the precision that the prefix computes in, and batches come in the same order.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np
import numpy.typing as npt

from assay.config import Policy, RuntimeConfig
from assay.data.dataset import Dataset, Split
from assay.errors import AssayError, InputError
from assay.hashing import code_version, hash_json
from assay.models.transfer import CutPoint, cut_points, split_at
from assay.observability.progress import Progress, log
from assay.runtime import use_jit
from assay.training.compiled import INFERENCE_BATCH, Forward
from assay.training.data import augmenter_for, changes_images
from assay.training.feature_store import GIGABYTE, FeatureStore, cache_folder
from assay.training.inputs import Batches

Array = npt.NDArray[Any]
Mode = Literal["auto", "always", "never"]

# What the plan weighs against each other, of two ordinary cores and an ordinary disk. Only their ratio matters,
# and the choice is seldom close: VGG16 up to block4 computes 60 microseconds for each kilobyte that it hands on.
FLOPS_PER_SECOND = 200e9
BYTES_PER_SECOND = 500e6
# Below this gain the cache is not worth its place on the disk.
LEAST_SECONDS_SAVED = 2.0
LARGEST_FLOAT16 = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class CachePlan:
    """Where to cut a model, and what that saves.

    Attributes:
        cut: The last layer of the prefix, with its cost.
        views: Views of each training image that are kept; 0: those of the validation images alone.
        bytes: Size on disk.
        seconds_saved: Estimate over the whole phase, on two ordinary cores; it may be below 0.
    """

    cut: CutPoint
    views: int
    bytes: int
    seconds_saved: float


def plan_cache(
    points: Sequence[CutPoint],
    *,
    train_images: int,
    valid_images: int,
    epochs: int,
    views: int,
    value_bytes: int,
    room: int,
) -> CachePlan | None:
    """Choose where to cut a model by cost.

    A frozen prefix costs its operations for each image and epoch. Cached, it costs them once for each view,
    and reading and writing its features. Where every epoch shows new views, only those of the validation
    images can be kept.

    Args:
        points: Where the model can be cut; only frozen prefixes count.
        train_images: Images in the training split.
        valid_images: Images in the validation split, judged each epoch.
        epochs: Passes over the training split.
        views: Different views of each training image; 0: new ones each epoch.
        value_bytes: Size of one value of the features.
        room: Bytes that the cache may take.

    Returns:
        The plan that saves most among those that fit, or None where none fits.
    """
    kept = min(views, epochs)
    plans = []
    for point in points:
        if not point.frozen or not point.flops:
            continue
        size = math.prod(point.output_shape) * value_bytes
        for train_views in {kept, 0}:
            total = size * (train_views * train_images + valid_images)
            if total > room:
                continue
            spared = valid_images * (epochs - 1) + (train_images * (epochs - train_views) if train_views else 0)
            read = size * epochs * (valid_images + (train_images if train_views else 0))
            seconds = spared * point.flops / FLOPS_PER_SECOND - (total + read) / BYTES_PER_SECOND
            plans.append(CachePlan(point, train_views, total, seconds))
    return max(plans, key=lambda plan: plan.seconds_saved, default=None)


class FeatureBatches(Batches):
    """Batches of features in the order of the images that they were computed from.

    Args:
        views: Features (N, ...) of each view; epoch e shows view e modulo their number.
        labels: Class indices (N,).
        batch_size: Images a batch.
        seed: Of the order, as in `Batches`.
        shuffle: Whether each epoch has an order of its own.
        workers: Threads that gather; see `Batches`.
    """

    def __init__(
        self,
        views: Sequence[Array],
        labels: Array,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        workers: int | None = None,
    ) -> None:
        self.views = tuple(views)
        super().__init__(views[0], labels, batch_size, seed=seed, shuffle=shuffle, workers=workers)

    def _make(self, index: int, epoch: int, order: Array) -> tuple[Array, Array]:
        chosen = order[index * self.batch_size : (index + 1) * self.batch_size]
        return self.views[epoch % len(self.views)][chosen], self.labels[chosen]


@dataclass(frozen=True)
class FeatureSplit:
    """Features of a split.

    Attributes:
        inputs: (N, ...), memory-mapped.
        labels: Class indices (N,).
    """

    inputs: Array
    labels: Array


@dataclass(frozen=True)
class CachedModel:
    """A model whose frozen prefix has run.

    Attributes:
        tail: From features to probabilities; it shares its layers with the whole model, so training it trains that.
        views: Features of the training split by view; empty where each epoch shows new views.
        valid: Features of the validation split, on which `tail` is judged.
        layer: The last layer of the prefix.
    """

    tail: keras.Model
    views: tuple[Array, ...]
    valid: FeatureSplit
    layer: str

    def batches(self, labels: Array, batch_size: int, seed: int, runtime: RuntimeConfig) -> FeatureBatches:
        """Return the shuffled batches of features on which `tail` is trained."""
        return FeatureBatches(self.views, labels, batch_size, seed=seed, workers=runtime.workers)


def cache_features(
    model: keras.Model,
    dataset: Dataset,
    policy: Policy,
    *,
    epochs: int,
    seed: int,
    runtime: RuntimeConfig,
    mode: Mode = "auto",
) -> CachedModel | None:
    """Run a model's frozen prefix over a dataset and keep the features, where that pays.

    Args:
        model: From `build_model`, with its layers frozen as they will be in training.
        dataset: Its training and validation splits are run.
        policy: The augmentation; with ``views`` of K, K views of each training image are run.
        epochs: How long training will be.
        seed: Of the augmentation.
        runtime: Where the cache lies and how large it may be.
        mode: ``auto``: where it saves time; ``always``: wherever something can be kept; ``never``.

    Returns:
        The tail with its features, or None where nothing is cached.

    Raises:
        InputError: ``always`` was asked for and no features fit into the cache.
        AssayError: ``always`` was asked for and the features cannot be written.
    """
    if mode == "never" or epochs == 0 or dataset.kind != "image":
        return None
    store = FeatureStore(cache_folder(runtime), int(runtime.cache_gigabytes * GIGABYTE))
    changes = changes_images(policy)
    value_type = np.dtype(np.float32 if model.compute_dtype == "float32" else np.float16)
    points = cut_points(model)
    plan = plan_cache(
        points,
        train_images=len(dataset.train),
        valid_images=len(dataset.valid),
        epochs=epochs,
        views=policy.views if changes else 1,
        value_bytes=value_type.itemsize,
        room=store.room(),
    )
    if plan is None:
        if mode == "always" and any(point.frozen and point.flops for point in points):
            raise InputError(
                f"cache: always: no features of {model.name} fit into {store.room() / GIGABYTE:.1f} GB at "
                f"{store.folder}. Raise runtime.cache_gigabytes, free space, or set cache: auto."
            )
        return None
    if mode == "auto" and plan.seconds_saved < LEAST_SECONDS_SAVED:
        return None
    log(
        f"{model.name}: features after {plan.cut.layer} are kept, {plan.bytes / GIGABYTE:.2f} GB: "
        + (f"{plan.views} view{'s' if plan.views > 1 else ''} of each image" if plan.views else "validation alone")
    )
    with model.distribute_strategy.scope():
        prefix, tail = split_at(model, plan.cut.layer)
    extract = _Extraction(prefix, plan, dataset, policy if changes else Policy(), seed, runtime, store, value_type)
    try:
        views, valid = extract.run()
    except OSError as error:
        problem = f"{store.folder}: features cannot be kept ({error.strerror or error})."
        if mode == "always":
            raise AssayError(f"{problem} Free space, set runtime.cache_dir elsewhere, or set cache: auto.") from error
        log(f"{problem} The whole network runs at each step instead, which takes longer.")
        return None
    return CachedModel(tail, views, FeatureSplit(valid, dataset.valid.labels), plan.cut.layer)


@dataclass(frozen=True)
class _Extraction:
    """One prefix over the splits of one dataset."""

    prefix: keras.Model
    plan: CachePlan
    dataset: Dataset
    policy: Policy
    seed: int
    runtime: RuntimeConfig
    store: FeatureStore
    value_type: np.dtype[Any]

    def run(self) -> tuple[tuple[Array, ...], Array]:
        """Return the features of each view of the training split, and those of the validation split."""
        prefix_hash = weights_hash(self.prefix)
        keys = [self._key(prefix_hash, "train", view) for view in range(self.plan.views)]
        valid_key = self._key(prefix_hash, "valid", None)
        missing = sum(len(self.dataset.train) for key in keys if not self.store.has(key))
        missing += 0 if self.store.has(valid_key) else len(self.dataset.valid)
        forward = Forward(self.prefix, jit=use_jit(self.runtime))
        with Progress(f"features of {self.prefix.name}", total=missing, unit="images") as progress:
            keep = [*keys, valid_key]
            views = tuple(
                self._get(key, self.dataset.train, view, forward, progress, keep) for view, key in enumerate(keys)
            )
            return views, self._get(valid_key, self.dataset.valid, None, forward, progress, keep)

    def _get(
        self,
        key: str,
        split: Split,
        view: int | None,
        forward: Forward,
        progress: Progress,
        keep: Sequence[str],
    ) -> Array:
        def compute() -> Iterator[Array]:
            augmenter = None if view is None else augmenter_for(self.dataset, self.policy, self.seed)
            batches = Batches(
                split.inputs, split.labels, INFERENCE_BATCH, augmenter=augmenter, workers=self.runtime.workers
            )
            batches.set_epoch(view or 0)
            for index in range(len(batches)):
                features = keras.ops.cast(forward(batches[index][0]), "float32").numpy()
                if self.value_type == np.float16:
                    np.clip(features, -LARGEST_FLOAT16, LARGEST_FLOAT16, out=features)
                progress.advance(len(features))
                yield features.astype(self.value_type, copy=False)

        shape = (len(split), *self.plan.cut.output_shape)
        return self.store.get(key, shape, self.value_type, compute, keep)

    def _key(self, prefix_hash: str, split: str, view: int | None) -> str:
        changed = view is not None and changes_images(self.policy)
        return hash_json(
            {
                "dataset": self.dataset.fingerprint,
                "split": split,
                "prefix": prefix_hash,
                "layer": self.plan.cut.layer,
                "precision": [self.prefix.dtype_policy.name, self.value_type.name],
                "augmentation": [self.policy.model_dump(mode="json", exclude={"views"}), self.seed, view]
                if changed
                else None,
                "code": code_version(),
            }
        )[:40]


def weights_hash(model: keras.Model) -> str:
    """Return a hash of a model's layers, with their settings, and of all its weights' values."""
    digest = hashlib.sha256()
    for layer in model.layers:
        settings = {key: value for key, value in layer.get_config().items() if key != "trainable"}
        digest.update(f"{layer.name} {type(layer).__name__} {hash_json(_plain(settings))}".encode())
    for weight in model.weights:
        digest.update(np.ascontiguousarray(weight).data)
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else repr(value)
