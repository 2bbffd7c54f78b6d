"""Target 5: hyperband with a fifth of the epochs against random search with all of them, on small networks."""

from __future__ import annotations

import statistics
import warnings
from pathlib import Path
from typing import Any

import cv2
import keras_tuner
import numpy as np
from keras_tuner.engine.trial import Trial
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPClassifier

from assay.search.oracles import COMPLETED, EPOCHS, RUNNING, HyperbandOracle, RandomOracle, SteadyOracle
from assay.search.plan import budget_epochs, plan_brackets
from bench.harness import Finding, Measurement, Outcome, Settings
from bench.images import tissue

TRIALS, LENGTH, BUDGET = 20, 18, 0.2
SEEDS, QUICK_SEEDS = 5, 2
IMAGES, SIDE = 400, 8


class Problem:
    """Perceptrons of many shapes on shrunken tissue: a trial's epoch takes milliseconds and is real training."""

    def __init__(self, seed: int) -> None:
        images, labels = tissue(2 * IMAGES, 48)
        small = np.stack([cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for image in images])
        inputs = small.reshape(len(small), -1).astype(np.float32) / 127.5 - 1
        order = np.random.default_rng(seed).permutation(len(inputs))
        train, valid = order[:IMAGES], order[IMAGES:]
        self._train, self._valid = (inputs[train], labels[train]), (inputs[valid], labels[valid])
        self._seed = seed
        self.epochs = 0
        self._networks: dict[str, tuple[MLPClassifier, int]] = {}

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
        """Train a configuration on to so many epochs in all; return the best validation AUC on the way."""
        key = repr(sorted((name, value) for name, value in values.items() if "/" not in name))
        network, done = self._networks.get(key, (None, 0))
        network = network or MLPClassifier(
            hidden_layer_sizes=(values["width"],) * values["depth"],
            activation=values["activation"],
            alpha=values["penalty"],
            batch_size=values["batch_size"],
            learning_rate_init=values["learning_rate"],
            random_state=self._seed,
        )
        best = 0.0
        for _ in range(until - done):
            network.partial_fit(*self._train, classes=[0, 1])
            self.epochs += 1
            best = max(best, float(roc_auc_score(self._valid[1], network.predict_proba(self._valid[0])[:, 1])))
        self._networks[key] = (network, until)
        return best


def run(settings: Settings) -> Outcome:
    """Compare the best scores and the epochs spent, over seeds."""
    seeds = range(QUICK_SEEDS if settings.quick else SEEDS)
    full, cut = [], []
    for seed in seeds:
        full.append(best_of(RandomOracle, settings.folder / f"random-{seed}", seed, max_trials=TRIALS))
        plan = plan_brackets(TRIALS, LENGTH, BUDGET)
        cut.append(best_of(HyperbandOracle, settings.folder / f"hyperband-{seed}", seed, plan=plan))
    gaps = Measurement(
        "gap", "fraction", tuple(ours - theirs for (ours, _), (theirs, _) in zip(cut, full, strict=True))
    )
    spent = Measurement(
        "epochs", "fraction", tuple(ours / theirs for (_, ours), (_, theirs) in zip(cut, full, strict=True))
    )
    found = f"{len(seeds)} seeds" + (", a quick look" if settings.quick else "")
    return Outcome(
        "search",
        "Search",
        findings=(
            Finding(5, "best validation AUC, above random search in full", gaps, 0, note=found),
            Finding(5, "share of its epochs", spent, BUDGET, "at most", note=found),
        ),
        rates=(
            Measurement("random search, best AUC", "", tuple(score for score, _ in full)),
            Measurement("hyperband, best AUC", "", tuple(score for score, _ in cut)),
        ),
        notes=(
            f"Random search: {TRIALS} trials of {LENGTH} epochs. Hyperband: at most "
            f"{budget_epochs(TRIALS, LENGTH, BUDGET)} epochs, each fresh trial but the first ones proposed by a model. "
            f"Median best AUC {statistics.median(score for score, _ in full):.4f} and "
            f"{statistics.median(score for score, _ in cut):.4f}.",
        ),
    )


def best_of(kind: type[SteadyOracle], folder: Path, seed: int, **options: Any) -> tuple[float, int]:
    """Run a search to its end; return its best score and the epochs that it trained."""
    problem = Problem(seed)
    objective = keras_tuner.Objective("val_auc", "max")
    oracle = kind(objective=objective, hyperparameters=problem.space(), allow_new_entries=False, seed=seed, **options)
    oracle._set_project_dir(str(folder), "search")
    scores: list[float] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        while True:
            trial: Trial = oracle.create_trial("worker")
            if trial.status != RUNNING:
                return max(scores), problem.epochs
            values = trial.hyperparameters.values
            scores.append(problem.score(values, values.get(EPOCHS, LENGTH)))
            oracle.update_trial(trial.trial_id, {"val_auc": scores[-1]})
            trial.status = COMPLETED
            oracle.end_trial(trial)
