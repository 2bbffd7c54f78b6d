"""The ablation: a small model trained with all operations of a policy, with each left out, and with each alone.

Every variant gets the same budget, and in one seed the same initial weights, dropout, order of images and draws of
the operations that it shares with the others; so what is compared is the difference within each seed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from assay.ablation.results import AblationResult, Kind, Variant, VariantOutcome
from assay.augmentation.examples import choose_examples
from assay.augmentation.operations import active_operations
from assay.augmentation.warp import Augmenter
from assay.config import (
    AblationConfig,
    CallbacksConfig,
    ModelConfig,
    OptimizerConfig,
    Policy,
    RuntimeConfig,
    TrainConfig,
)
from assay.data.dataset import Dataset
from assay.observability.progress import log

CONFIDENCE = 0.95
BATCH_SIZE = 32

# Trains one variant from one seed: (policy, name, seed) -> validation AUC after the last epoch.
Train = Callable[[Policy, str, int], float]


def run_ablation(
    policy: Policy, dataset: Dataset, out_dir: Path, *, config: AblationConfig, seed: int, runtime: RuntimeConfig
) -> AblationResult:
    """Train the variants of a policy on a data set and write the table.

    Args:
        policy: The policy in question; at least one operation.
        dataset: Trained on its training split, judged on its validation split.
        out_dir: Gets ``ablation.csv``, ``ablation.md`` and ``ablation.html``.
        config: Model, epochs, seeds, number of images.
        seed: Of the run.
        runtime: Precision and threads.

    Returns:
        The outcomes and the recommended policy.

    Raises:
        InputError: The model is unknown or does not suit the data.
    """
    from assay.ablation.table import write_ablation

    started = time.monotonic()
    train = trainer(config, dataset, seed, runtime)
    result = compare(policy, config.seeds, train)
    budget = (
        f"{config.model}, {config.epochs} epochs of {min(config.images, len(dataset.train)):,} training images, "
        f"{config.seeds} seeds, {time.monotonic() - started:.0f} s in all"
    )
    write_ablation(out_dir, result, policy, budget)
    log(f"ablation: {result.reason}")
    return result


def compare(policy: Policy, seeds: int, train: Train) -> AblationResult:
    """Train all variants of a policy, compare them within each seed, and say what to keep.

    Args:
        policy: The policy in question; at least one operation.
        seeds: Repeats of each variant.
        train: Trains one variant from one seed, numbered from 0, and returns its validation AUC.
    """
    variants = list_variants(policy)
    measured: dict[str, tuple[float, ...]] = {}

    def measure(wanted: Sequence[Variant]) -> None:
        # With one operation, leaving it out is the same as none: equal policies are trained once.
        new = {_key(variant.policy): variant for variant in wanted if _key(variant.policy) not in measured}
        for number, (key, variant) in enumerate(new.items(), start=1):
            name = f"{variant.name} ({number} of {len(new)})"
            measured[key] = tuple(train(variant.policy, name, repeat) for repeat in range(seeds))

    measure(variants)
    outcomes = judge_variants(variants, measured)
    candidate, reason = _candidate(policy, outcomes)
    if candidate != policy:
        proposed = Variant("recommended", None, candidate)
        measure([proposed])
        outcomes = judge_variants([*variants, proposed], measured)
        if outcomes[-1].difference <= 0:
            candidate = policy
            reason = f"the policy stays as it is: {reason}, but trained so the model is no better"
    metrics = {
        f"val_auc_ablation_{outcome.variant.name.replace(' ', '_')}": outcome.mean
        for outcome in outcomes
        if np.isfinite(outcome.mean)
    }
    return AblationResult(tuple(outcomes), candidate, reason, metrics)


def list_variants(policy: Policy) -> list[Variant]:
    """Return the variants of a policy: all, none, without each operation, each alone."""
    operations = active_operations(policy)
    none = policy
    for operation in operations:
        none = operation.left_out(none)
    return [
        Variant("all", None, policy),
        Variant("none", None, none),
        *(Variant("without", operation, operation.left_out(policy)) for operation in operations),
        *(Variant("alone", operation, operation.alone(policy)) for operation in operations),
    ]


def judge_variants(variants: Sequence[Variant], measured: Mapping[str, Sequence[float]]) -> list[VariantOutcome]:
    """Compare each variant with its reference, seed by seed.

    Seeds and variants are a two-way layout: what is left of the values without both means is the error, one for all
    variants, for a few seeds each say too little about their own. The intervals are Student's, and by Bonferroni's
    inequality those against one reference hold at once: of many operations that do nothing one would else stand out.

    Args:
        variants: ``all`` and ``none`` first.
        measured: AUC of each seed by policy.

    Source:
        The randomised block design: Fisher 1935; Bonferroni's inequality: Dunn 1961.
    """
    from scipy import stats

    values = [np.asarray(measured[_key(variant.policy)], dtype=float) for variant in variants]
    references = [_REFERENCES[variant.kind] for variant in variants]
    by_kind = {"all": values[0], "none": values[1]}
    # Equal policies are one: a comparison of a policy with itself has no spread to learn from.
    layout = np.stack(list({_key(variant.policy): own for variant, own in zip(variants, values, strict=True)}.values()))
    error = layout - layout.mean(axis=0) - layout.mean(axis=1, keepdims=True) + layout.mean()
    freedom = max(1, (layout.shape[0] - 1) * (layout.shape[1] - 1))
    deviation = float(np.sqrt(2 * np.square(error).sum() / freedom / layout.shape[1]))
    at_once = max(references.count("all"), 1)
    margin = float(stats.t.ppf(1 - (1 - CONFIDENCE) / 2 / at_once, freedom)) * deviation
    outcomes = []
    for number, variant in enumerate(variants):
        reference = references[number]
        difference = float((values[number] - by_kind[reference]).mean()) if reference else float("nan")
        low, high = difference - margin, difference + margin
        outcomes.append(
            VariantOutcome(
                variant,
                tuple(values[number].tolist()),
                reference,
                difference,
                low,
                high,
                _verdict(variant.kind, low, high),
            )
        )
    return outcomes


def trainer(config: AblationConfig, dataset: Dataset, seed: int, runtime: RuntimeConfig) -> Train:
    """Return what trains one variant on a data set.

    Args:
        config: Model, epochs, number of images.
        dataset: The training images are drawn evenly from its classes, and as many validation images at most.
        seed: Of the run.
        runtime: Precision and threads.
    """
    from assay.runtime import apply_runtime, release_memory
    from assay.training.data import build_for
    from assay.training.fit import fit
    from assay.training.inputs import Batches

    train = _Chosen(dataset.train, choose_examples(dataset.train.labels, config.images, seed))
    valid = _Chosen(dataset.valid, choose_examples(dataset.valid.labels, config.images, seed))
    height, width, channels = dataset.input_shape
    recipe = TrainConfig(
        epochs=config.epochs,
        batch_size=BATCH_SIZE,
        optimizer=OptimizerConfig(name="adam", learning_rate=2e-3, schedule="cosine", warmup_steps=20),
        # The same budget for all: nothing stops early, and a run that does not learn is a result too.
        callbacks=CallbacksConfig(early_stopping_patience=None, not_learning_steps=None),
    )
    apply_runtime(runtime, seed)

    def run(policy: Policy, name: str, repeat: int) -> float:
        own_seed = int(np.random.default_rng([seed, 23, repeat]).integers(2**31))
        release_memory()
        model = build_for(dataset, ModelConfig(name=config.model), policy, own_seed)
        batches = Batches(
            train.inputs,
            train.labels,
            BATCH_SIZE,
            augmenter=Augmenter(policy, (height, width, channels), own_seed),
            seed=own_seed,
            shuffle=True,
            workers=runtime.workers,
        )
        phase = f"{name}, seed {repeat + 1}"
        history = fit(model, batches, valid, recipe, runtime, phase=phase, seed=own_seed)
        # Not the best epoch's: choosing it would favour the variant whose curve is the least steady.
        return float(history.rows[-1]["val_auc"])

    return run


class _Rows:
    """Some rows of a split, read when they are asked for."""

    def __init__(self, inputs: Any, positions: np.ndarray) -> None:
        self._inputs = inputs
        self._positions = positions
        self.shape = (len(positions), *inputs.shape[1:])
        self.ndim = len(self.shape)
        self.dtype = inputs.dtype

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: Any) -> Any:
        return self._inputs[self._positions[index]]


class _Chosen:
    """The inputs and labels of some rows of a split."""

    def __init__(self, split: Any, positions: np.ndarray) -> None:
        self.inputs = _Rows(split.inputs, positions)
        self.labels = split.labels[positions]


_REFERENCES: dict[Kind, str] = {"all": "", "none": "all", "without": "all", "alone": "none", "recommended": "all"}


def _key(policy: Policy) -> str:
    return policy.model_dump_json()


def _verdict(kind: Kind, low: float, high: float) -> str:
    if kind == "all":
        return ""
    better, worse = {
        "none": ("augmentation harms", "augmentation helps"),
        "without": ("it harms", "it helps"),
        "alone": ("it helps", "it harms"),
        "recommended": ("better than all", "worse than all"),
    }[kind]
    if low > 0:
        return better
    return worse if high < 0 else "no clear difference"


def _candidate(policy: Policy, outcomes: Sequence[VariantOutcome]) -> tuple[Policy, str]:
    """Return the policy that the outcomes speak for, and why; an operation without a clear effect stays."""
    harmful = [
        outcome.variant.operation
        for outcome in outcomes
        if outcome.variant.kind == "without" and outcome.low > 0 and outcome.variant.operation is not None
    ]
    none = next(outcome for outcome in outcomes if outcome.variant.kind == "none")
    fewer = policy
    for operation in harmful:
        fewer = operation.left_out(fewer)
    if harmful:
        names = ", ".join(operation.name for operation in harmful)
        return fewer, f"the model is better without {names}"
    if none.low > 0:
        return none.variant.policy, "the model is better without any augmentation, though no one operation is to blame"
    return policy, "no operation clearly harms: the policy stays as it is"
