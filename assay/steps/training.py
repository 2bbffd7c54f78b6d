"""The steps that train a candidate: baseline, search and finetune, which are one call each."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from assay.config import BaselineConfig, FinetuneConfig, Policy, RuntimeConfig, SearchConfig, Section
from assay.steps.frame import StepRecord, parse, step


def train(
    candidate: Literal["baseline", "search", "finetune"],
    *,
    config: str,
    runtime: str,
    seed: int,
    storage_root: str,
    dataset_path: str,
    policy: str,
    policy_path: str | None,
    model_path: str,
    page_path: str,
) -> StepRecord:
    """Train one candidate: the baseline from scratch, the best of a search, or a fine-tuned pretrained model.

    Args:
        candidate: Which one.
        config: Its section of the config, as `assay.config.write_brief` gives it.
        runtime: The section of that name, likewise.
        seed: Of the run.
        storage_root: Where checkpoints are kept.
        dataset_path: What preprocess wrote.
        policy: The augmentation policy, as `assay.config.write_brief` gives it, where the config says which it is.
        policy_path: What augment wrote, where that decides; None: it does not.
        model_path: Gets the model's artifact.
        page_path: Gets the learning curves, or the trials of a search.
    """
    inputs = {"dataset": dataset_path, **({"augmentation policy": policy_path} if policy_path else {})}
    with step(candidate, inputs=inputs, model_path=model_path, storage_root=storage_root) as record:
        section, run = _trainer(candidate)
        resolved = parse(section, config)
        record.metadata[candidate] = resolved.fingerprint()
        record.metrics.update(
            run(
                resolved,
                parse(RuntimeConfig, runtime),
                Path(dataset_path),
                _policy(policy, policy_path, dataset_path),
                Path(model_path),
                seed,
                storage_root,
                Path(page_path),
            )
        )
    return record


def _policy(policy: str, policy_path: str | None, dataset_path: str) -> Policy:
    """Return the policy of a training: what augment has decided on, else what the config says."""
    from assay.augmentation.augment import check_policy
    from assay.augmentation.policy import load_policy
    from assay.data.dataset import Dataset

    if policy_path:
        return load_policy(Path(policy_path))
    # Augment runs beside this step and may not have come to say so.
    resolved = parse(Policy, policy)
    check_policy(resolved, Dataset.open(Path(dataset_path)))
    return resolved


def train_fold(
    candidate: str,
    *,
    fold: int,
    config: str,
    runtime: str,
    seed: int,
    storage_root: str,
    dataset_path: str,
    policy: str,
) -> StepRecord:
    """Train one candidate for one fold, put its model into storage and give the address.

    What the fold tests is not in the dataset that is trained on. A search is part of it, so that hyperparameters are
    found anew in each fold: nested cross-validation.

    Args:
        candidate: baseline, search or finetune.
        fold: Its number, from 0.
        config: As for `train`.
        runtime: As for `train`.
        seed: As for `train`.
        storage_root: Where checkpoints and the models of folds are kept.
        dataset_path: What preprocess wrote, with folds.
        policy: As for `train`; with folds it is always the config that says which it is.
    """
    from assay.data.dataset import Dataset
    from assay.data.folds import write_fold
    from assay.storage.open import open_store
    from assay.training.fold_models import keep_fold_model

    # Kubeflow hands numbers of a loop over as floats.
    number = int(fold)
    shown = f"fold {number + 1}"
    with (
        step(
            candidate, inputs={"dataset": dataset_path}, shown_as=shown, storage_root=storage_root, fold=number
        ) as record,
        tempfile.TemporaryDirectory() as scratch,
    ):
        section, run = _trainer(candidate)
        resolved = parse(section, config)
        record.metadata[candidate] = resolved.fingerprint()
        if isinstance(resolved, SearchConfig):
            # Pods of its own could not see the fold's data, which lie in this one.
            resolved = resolved.model_copy(update={"placement": "processes"})
        data, model, page = (Path(scratch) / name for name in ("data", "model", "page.html"))
        dataset = Dataset.open(Path(dataset_path))
        write_fold(dataset, number, data)
        augmented = _policy(policy, None, str(data))
        machine = parse(RuntimeConfig, runtime)
        record.metrics.update(run(resolved, machine, data, augmented, model, seed, storage_root, page))
        record.value = keep_fold_model(open_store(storage_root), model, dataset.fingerprint, candidate, number)
    return record


def _trainer(candidate: str) -> tuple[type[Section], Callable[..., dict[str, float]]]:
    """Return a candidate's section of the config, and what trains it, writes its page and returns its metrics."""
    if candidate == "search":
        from assay.search.search import run_search

        def search(*given: Any) -> dict[str, float]:
            *what, page = given
            result = run_search(*what)
            shutil.copyfile(result.model_dir / "trials.html", page)
            return result.metrics

        return SearchConfig, search

    from assay.training.baseline import train_baseline
    from assay.training.curves_page import write_page
    from assay.training.finetune import finetune

    def trained(*given: Any) -> dict[str, float]:
        *what, page = given
        result = (train_baseline if candidate == "baseline" else finetune)(*what)
        write_page(candidate, result, page)
        return result.metrics

    return (BaselineConfig if candidate == "baseline" else FinetuneConfig), trained
