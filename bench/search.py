"""Target 5: hyperband with a fifth of the epochs against random search with all of them."""

from __future__ import annotations

import csv
import statistics
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import keras_tuner
import numpy as np
from keras_tuner.engine.trial import Trial
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from assay.config import Policy, RuntimeConfig, SearchConfig
from assay.search.oracles import COMPLETED, EPOCHS, RUNNING, HyperbandOracle, RandomOracle
from assay.search.plan import budget_epochs, plan_brackets
from assay.search.results import TRIALS_FILE
from assay.search.search import run_search
from bench.harness import Finding, Measurement, Outcome, Settings
from bench.images import dataset
from bench.training import quiet

TRIALS, LENGTH, BUDGET = 20, 18, 0.2
SEEDS, QUICK_SEEDS = 5, 2
# Convolutional networks on generated tissue: a trial's epoch takes half a second.
IMAGES, SIDE, DIFFICULTY = 1000, 32, 0.3
DIGITS = 600  # to train on; the other 1,197 judge

Tuner = Literal["random", "hyperband"]
# Runs a whole search in a folder with a seed; returns its best score and the epochs that it trained.
Search = Callable[[Path, Tuner, int], tuple[float, int]]


def run(settings: Settings) -> Outcome:
    """Compare the best scores and the epochs spent, over seeds."""
    seeds = range(QUICK_SEEDS if settings.quick else SEEDS)
    search: Search = of_perceptrons if settings.quick else of_networks
    full, cut = ([search(settings.folder, tuner, seed) for seed in seeds] for tuner in ("random", "hyperband"))
    pairs = list(zip(cut, full, strict=True))
    gaps = Measurement("gap", "fraction", tuple(ours - theirs for (ours, _), (theirs, _) in pairs))
    spent = Measurement("epochs", "fraction", tuple(ours / theirs for (_, ours), (_, theirs) in pairs))
    score = "accuracy of perceptrons" if settings.quick else "AUC"
    note = f"{len(seeds)} seeds" + (", a quick look" if settings.quick else "")
    return Outcome(
        "search",
        "Search",
        findings=(
            Finding(5, f"best validation {score}, above random search in full", gaps, 0, note=note),
            Finding(5, "share of its epochs", spent, BUDGET, "at most", note=note),
        ),
        rates=(
            Measurement(f"random search, best {score}", "", tuple(best for best, _ in full)),
            Measurement(f"hyperband, best {score}", "", tuple(best for best, _ in cut)),
        ),
        notes=(
            (
                "Perceptrons of many shapes on scikit-learn's digits, judged by accuracy: a quick run has no time for "
                "convolutional networks."
                if settings.quick
                else f"Assay's own search step over its default space of convolutional networks, on {IMAGES:,} "
                f"generated images of {SIDE}x{SIDE}; {IMAGES:,} others judge."
            ),
            f"Random search: {TRIALS} trials of {LENGTH} epochs. Hyperband: at most "
            f"{budget_epochs(TRIALS, LENGTH, BUDGET)} epochs, each fresh trial but the first ones proposed by a model. "
            f"Median best {statistics.median(best for best, _ in full):.4f} and "
            f"{statistics.median(best for best, _ in cut):.4f}.",
        ),
    )


def of_networks(folder: Path, tuner: Tuner, seed: int, images: int = IMAGES) -> tuple[float, int]:
    """Search as the pipeline's step does."""
    root = dataset(folder, images, images, SIDE, DIFFICULTY).root
    options = {"trials": TRIALS, "epochs": LENGTH, "budget": BUDGET, "callbacks": {"not_learning_steps": None}}
    config = SearchConfig.model_validate({**options, "tuner": tuner})
    out = folder / f"{tuner}-{seed}"
    with quiet():
        run_search(config, RuntimeConfig(), root, Policy(), out, seed, str(folder / f"{tuner}-{seed}-store"))
    with (out / TRIALS_FILE).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return max(float(row["val_auc"]) for row in rows if row["val_auc"]), sum(int(row["epochs"]) for row in rows)


class Perceptrons:
    """Perceptrons of many shapes on written digits: a trial's epoch takes milliseconds and is real training."""

    def __init__(self, seed: int) -> None:
        digits = load_digits()
        inputs = (digits.data / 8 - 1).astype(np.float32)
        order = np.random.default_rng(seed).permutation(len(inputs))
        train, valid = order[:DIGITS], order[DIGITS:]
        self._train, self._valid = (inputs[train], digits.target[train]), (inputs[valid], digits.target[valid])
        self._seed = seed
        self.epochs = 0
        self._networks: dict[str, tuple[MLPClassifier, int, float]] = {}

    @staticmethod
    def space() -> keras_tuner.HyperParameters:
        """Return what is searched: rate, shape, batch, penalty and activation."""
        space = keras_tuner.HyperParameters()
        space.Float("learning_rate", 1e-5, 1e-1, sampling="log")
        space.Choice("width", [4, 16, 64])
        space.Choice("depth", [1, 2, 3])
        space.Choice("batch_size", [32, 64, 200])
        space.Float("penalty", 1e-6, 1e1, sampling="log")
        space.Choice("activation", ["relu", "tanh", "logistic"])
        return space

    def score(self, values: dict[str, Any], until: int) -> float:
        """Train a configuration on to so many epochs in all; return the best validation accuracy on the way."""
        key = repr(sorted((name, value) for name, value in values.items() if "/" not in name))
        network, done, best = self._networks.get(key, (None, 0, 0.0))
        network = network or MLPClassifier(
            hidden_layer_sizes=(values["width"],) * values["depth"],
            activation=values["activation"],
            alpha=values["penalty"],
            batch_size=values["batch_size"],
            learning_rate_init=values["learning_rate"],
            random_state=self._seed,
        )
        for _ in range(until - done):
            network.partial_fit(*self._train, classes=range(10))
            self.epochs += 1
            best = max(best, float(network.score(*self._valid)))
        self._networks[key] = (network, until, best)
        return best


def of_perceptrons(folder: Path, tuner: Tuner, seed: int) -> tuple[float, int]:
    """Search with Assay's oracles, trial by trial."""
    problem = Perceptrons(seed)
    common: dict[str, Any] = {
        "objective": keras_tuner.Objective("val_accuracy", "max"),
        "hyperparameters": problem.space(),
        "allow_new_entries": False,
        "seed": seed + 1,  # as in assay.search.tuner: KerasTuner takes 0 for none at all
    }
    oracle = (
        RandomOracle(max_trials=TRIALS, **common)
        if tuner == "random"
        else HyperbandOracle(plan=plan_brackets(TRIALS, LENGTH, BUDGET), **common)
    )
    oracle._set_project_dir(str(folder / f"{tuner}-{seed}"), "search")
    scores: list[float] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        while True:
            trial: Trial = oracle.create_trial("worker")
            if trial.status != RUNNING:
                return max(scores), problem.epochs
            values = trial.hyperparameters.values
            scores.append(problem.score(values, values.get(EPOCHS, LENGTH)))
            oracle.update_trial(trial.trial_id, {"val_accuracy": scores[-1]})
            trial.status = COMPLETED
            oracle.end_trial(trial)
