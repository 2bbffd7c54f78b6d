"""The augment step: a policy that fits the images, shown on a page, and put to the test where that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from assay.augmentation.examples import choose_examples
from assay.augmentation.operations import active_operations
from assay.augmentation.policy import POLICY_FILE, save_policy
from assay.augmentation.preview import write_preview
from assay.augmentation.sensor_preview import write_sensor_preview
from assay.augmentation.signal import signal_in_words
from assay.augmentation.warp import check_fits
from assay.config import AugmentConfig, Policy
from assay.data.dataset import Dataset, Split
from assay.errors import InputError
from assay.observability.progress import log
from assay.storage.files import new_file

PREVIEW_FILE = "preview.html"


@dataclass(frozen=True)
class AugmentResult:
    """What the step resolved.

    Attributes:
        policy: What all that follows trains with.
        metrics: Flat names, finite values.
    """

    policy: Policy
    metrics: dict[str, float] = field(default_factory=dict)


class Recommendation(Protocol):
    """What came of putting a policy to the test.

    Attributes:
        recommended: The policy without what harms.
        metrics: Flat names, finite values.
    """

    @property
    def recommended(self) -> Policy: ...

    @property
    def metrics(self) -> dict[str, float]: ...


# Puts a policy to the test on a data set and writes what it found into a folder: training lies above this package.
Ablate = Callable[[Policy, Dataset, Path], Recommendation]


def augment(augment: AugmentConfig, dataset_dir: Path, out_dir: Path, seed: int, *, ablate: Ablate) -> AugmentResult:
    """Resolve the policy, show it and, where asked, measure which of its operations help.

    Args:
        augment: The policy, the number of images shown, the ablation.
        dataset_dir: What preprocess wrote; its training split is shown.
        out_dir: Created where missing; gets ``preview.html``, ``ablation.csv``, ``.md`` and ``.html`` where the
            ablation is enabled, and last ``policy.json``.
        seed: Of the run.
        ablate: Called where the ablation is enabled and the policy holds an operation.

    Returns:
        The policy that the rest of the run takes, and metrics.

    Raises:
        InputError: An operation does not fit the data.
    """
    dataset = Dataset.open(dataset_dir)
    policy = augment.policy
    check_policy(policy, dataset)
    operations = active_operations(policy)
    if dataset.kind == "sensor":
        with new_file(out_dir / PREVIEW_FILE) as stage:
            write_sensor_preview(stage, dataset, policy.signal, augment.preview_images, seed)
        save_policy(policy, out_dir / POLICY_FILE)
        return AugmentResult(policy, {"augment_operations": float(len(signal_in_words(policy.signal)))})
    chosen = choose_examples(dataset.train.labels, augment.preview_images, seed)
    images = dataset.train.inputs[chosen]
    with new_file(out_dir / PREVIEW_FILE) as stage:
        metrics = write_preview(
            stage,
            policy,
            images,
            [dataset.classes[label] for label in dataset.train.labels[chosen]],
            chosen,
            seed,
            whitened=_whitened(dataset.train, images, seed) if policy.zca_whitening else None,
        )
    metrics["augment_operations"] = float(len(operations))
    if augment.ablation.enabled:
        if operations:
            result = ablate(policy, dataset, out_dir)
            metrics |= result.metrics
            if augment.ablation.adopt:
                policy = result.recommended
        else:
            log("the ablation has nothing to leave out: the policy holds no operation")
    save_policy(policy, out_dir / POLICY_FILE)
    return AugmentResult(policy, metrics)


def check_policy(policy: Policy, dataset: Dataset) -> None:
    """Check that a policy asks for nothing that cannot be done to the examples of a data set.

    Raises:
        InputError: It does.
    """
    if dataset.kind == "sensor":
        check_sensor(policy)
    else:
        height, width, channels = dataset.input_shape
        check_fits(policy, (height, width, channels))


def check_sensor(policy: Policy) -> None:
    """Check that a policy asks for nothing that is done to images alone.

    Raises:
        InputError: It does.
    """
    operations = active_operations(policy)
    if operations:
        fields = ", ".join(operation.field for operation in operations)
        raise InputError(
            f"augment.policy: {fields} change images, and the data are sensor windows. Remove them; for windows there "
            "is augment.policy.signal, and for values that can be missing at test time data.simulate_missing."
        )


def _whitened(split: Split, images: np.ndarray, seed: int) -> np.ndarray:
    from assay.augmentation.whitening import fit_whitening

    whitening = fit_whitening(split.inputs, seed=seed)
    values = images.reshape(len(images), -1).astype(np.float32) / 255 - whitening.mean
    values = values @ whitening.matrix
    if whitening.matrix.shape[0] != whitening.matrix.shape[1]:
        values = values @ whitening.matrix.T
    return values.reshape(images.shape)
