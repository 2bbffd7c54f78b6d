"""What a dataset and a policy mean for training: the network built to fit, and its batches in order, augmented."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assay.augmentation.signal import SignalAugmenter
from assay.augmentation.warp import Augmenter
from assay.augmentation.whitening import fit_whitening
from assay.config import ModelConfig, Policy, RuntimeConfig, SignalChange
from assay.data.dataset import Dataset
from assay.data.missing import has_mask, hidden_values
from assay.models.catalog import build_model
from assay.training.inputs import Batches, BatchTransform

if TYPE_CHECKING:
    import keras


def build_for(dataset: Dataset, config: ModelConfig, policy: Policy, seed: int) -> keras.Model:
    """Build a registered model for a dataset, with the training split's statistics where it uses them.

    Args:
        dataset: Gives input shape, classes, channel statistics and, for ZCA whitening, training images.
        config: Which model, with its options.
        policy: Says whether images are whitened.
        seed: Of the initial weights.

    Raises:
        InputError: The model does not suit the data.
    """
    whitening = None
    if policy.zca_whitening and dataset.kind == "image":
        whitening = fit_whitening(dataset.train.inputs, seed=seed)
    return build_model(
        config.name,
        dataset.input_shape,
        dataset.num_classes,
        output=config.output,
        options=config.options,
        seed=seed,
        channel_mean=dataset.mean,
        channel_std=dataset.std,
        whitening=whitening,
    )


def augmenter_for(dataset: Dataset, policy: Policy, seed: int) -> BatchTransform | None:
    """Return what changes training batches of a dataset, or None where nothing does.

    Raises:
        InputError: The policy does not fit the images.
    """
    if dataset.kind == "sensor":
        hide = hidden_values(dataset, seed)
        if hide is None and policy.signal in (None, SignalChange()):
            return None
        mask = has_mask(dataset)
        return SignalAugmenter(policy.signal, hide, dataset.mean, dataset.std, seed, policy.views, mask=mask)
    if not changes_images(policy):
        return None
    height, width, channels = dataset.input_shape
    return Augmenter(policy, (height, width, channels), seed)


def changes_images(policy: Policy) -> bool:
    """Return whether a policy asks for any random change."""
    neutral = Policy(views=policy.views, fill_mode=policy.fill_mode, fill_value=policy.fill_value)
    return policy.model_copy(update={"zca_whitening": False, "signal": None}) != neutral


def training_batches(dataset: Dataset, policy: Policy, batch_size: int, seed: int, runtime: RuntimeConfig) -> Batches:
    """Return the shuffled, augmented batches of the training split."""
    return Batches(
        dataset.train.inputs,
        dataset.train.labels,
        batch_size,
        augmenter=augmenter_for(dataset, policy, seed),
        seed=seed,
        shuffle=True,
        workers=runtime.workers,
    )
