"""What a dataset and a policy mean for training: batches in their order, augmented."""

from __future__ import annotations

from assay.augmentation.policy import Policy
from assay.augmentation.warp import Augmenter
from assay.config import RuntimeConfig
from assay.data.dataset import Dataset
from assay.training.inputs import Batches, BatchTransform


def augmenter_for(dataset: Dataset, policy: Policy, seed: int) -> BatchTransform | None:
    """Return what changes training batches of a dataset, or None where nothing does.

    Raises:
        InputError: The policy does not fit the images.
    """
    if dataset.kind != "image" or not changes_images(policy):
        return None
    height, width, channels = dataset.input_shape
    return Augmenter(policy, (height, width, channels), seed)


def changes_images(policy: Policy) -> bool:
    """Return whether a policy asks for any random change."""
    neutral = Policy(views=policy.views, fill_mode=policy.fill_mode, fill_value=policy.fill_value)
    return policy.model_copy(update={"zca_whitening": False}) != neutral


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
