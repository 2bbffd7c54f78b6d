"""KerasTuner's side of a search: the oracle that a config asks for, and the loop that asks it for trials."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.engine.trial import Trial
from keras_tuner.src import config as keras_tuner_config

from assay.config import SearchConfig
from assay.data.dataset import Dataset
from assay.search.oracles import EPOCHS, PARENT, BayesianOracle, HyperbandOracle, RandomOracle, SteadyOracle
from assay.search.plan import plan_brackets
from assay.search.space import SearchSpace, count_parameters
from assay.search.spec import SearchSpec
from assay.search.trials import Place, TrialRunner
from assay.storage.files import new_file
from assay.storage.objects import ObjectStore
from assay.training.callbacks import HIGHER_IS_BETTER

# A failed trial is recorded with its reason; its trace on the terminal would hide the rest.
keras_tuner_config.DEBUG = False
PROJECT = "search"
IDLE_SECONDS = 0.5
# The share of the trials that are drawn at random before the Gaussian process proposes any.
BAYESIAN_START = 3


def objective_of(search: SearchConfig) -> keras_tuner.Objective:
    """Return the objective in KerasTuner's terms."""
    return keras_tuner.Objective(search.objective, "max" if HIGHER_IS_BETTER[search.objective] else "min")


def make_oracle(
    spec: SearchSpec, dataset: Dataset, space: SearchSpace, mirror: ObjectStore | None = None
) -> SteadyOracle:
    """Return the oracle of a search.

    Args:
        spec: The search.
        dataset: Says shape and classes, for the size of networks.
        space: What is drawn from.
        mirror: Where the oracle's state is kept as well.
    """
    search = spec.search

    def feasible(drawn: dict[str, Any]) -> bool:
        values = space.values(drawn)
        return count_parameters(search, values, dataset.input_shape, dataset.num_classes) <= search.max_parameters

    common: dict[str, Any] = {
        "objective": objective_of(search),
        "hyperparameters": space.hyperparameters(),
        "allow_new_entries": False,
        # KerasTuner takes a seed of 0 for none at all.
        "seed": spec.seed + 1,
        "feasible": feasible,
        "deadline": spec.deadline,
        "mirror": mirror,
    }
    if search.tuner == "hyperband":
        return HyperbandOracle(plan=plan_brackets(search.trials, search.epochs, search.budget), **common)
    if search.tuner == "bayesian":
        start = max(BAYESIAN_START, search.trials // BAYESIAN_START)
        return BayesianOracle(max_trials=search.trials, num_initial_points=start, **common)
    return RandomOracle(max_trials=search.trials, **common)


def planned_trials(search: SearchConfig) -> int:
    """Return how many trials a search will have, if none fails and the space is not exhausted."""
    if search.tuner != "hyperband":
        return search.trials
    brackets = plan_brackets(search.trials, search.epochs, search.budget)
    return sum(step.trials for bracket in brackets for step in bracket.rounds)


@contextlib.contextmanager
def causes_of_fatal_errors() -> Iterator[None]:
    """Raise what lies behind KerasTuner's `FatalError`."""
    try:
        yield
    except keras_tuner.errors.FatalError as error:
        raise error.__cause__ or error from None


class SearchTuner(keras_tuner.engine.base_tuner.BaseTuner):
    """Asks an oracle for trials and runs them, in one process or as one of several workers.

    Args:
        oracle: This process's own, or what stands for it in a worker.
        runner: Runs trials.
        directory: Folder of KerasTuner's state.
        after_trial: Called when a trial has ended.
    """

    def __init__(
        self,
        oracle: SteadyOracle,
        runner: TrialRunner,
        directory: Path,
        after_trial: Callable[[], None] = lambda: None,
    ) -> None:
        self.runner = runner
        self.after_trial = after_trial
        self._idle = False
        # KerasTuner tells where it reads its state from; the user is told by the step.
        with contextlib.redirect_stdout(io.StringIO()):
            super().__init__(oracle, directory=str(directory), project_name=PROJECT)

    def run_trial(self, trial: Trial, *fit_args: Any, **fit_kwargs: Any) -> dict[str, float]:
        """Run one trial; see `TrialRunner.run`.

        Raises:
            FailedTrialError: The trial has no score, which KerasTuner records.
            FatalError: The machine failed, which ends the search; `run_search` raises the cause.
        """
        drawn = trial.hyperparameters.values
        place = Place(int(drawn.get(EPOCHS, self.runner.spec.search.epochs)), str(drawn.get(PARENT, "")))
        try:
            row = self.runner.run(trial.trial_id, drawn, place)
        except Exception as error:
            raise keras_tuner.errors.FatalError(str(error)) from error
        if row.score is None:
            raise keras_tuner.errors.FailedTrialError(row.note)
        return {self.runner.spec.search.objective: row.score}

    def pre_create_trial(self) -> None:
        """Wait a little where the last answer was to wait: KerasTuner asks again at once."""
        if self._idle:
            time.sleep(IDLE_SECONDS)
        self._idle = True

    def on_trial_begin(self, trial: Trial) -> None:
        """Note that there is work."""
        self._idle = False

    def save(self) -> None:
        """Save the oracle, and a mark for KerasTuner that there is something to take up."""
        if not self._is_worker():
            self.oracle.save()
        mark = Path(self._get_tuner_fname())
        if not mark.exists():
            with new_file(mark) as stage:
                stage.write_text("{}", encoding="utf-8")

    def on_trial_end(self, trial: Trial) -> None:
        """Tell the oracle and whoever follows the search."""
        super().on_trial_end(trial)
        self.after_trial()
