"""KerasTuner's oracles, made to survive: failed trials, kills at any moment, several workers, a budget and a deadline.

What an oracle decides (which values come next, when to end) is here; training is in ``trials``.

Kept of KerasTuner, through its public names: `HyperParameters` and their sampling, the oracles of random search and of
the Gaussian process, `Trial`, the tuner's loop (``create_trial``, ``run_trial``, ``end_trial``), the files of a
project, and the chief's gRPC service with its client. Not used, each because of something it does:

- Its hyperband: sized by its own formula and not by a budget of epochs, a failed trial blocks every promotion of its
  bracket, and a promotion restores the weights without the optimizer. `HyperbandOracle` plans its brackets beforehand.
- Its chief (``start_chief``): it waits for ever for a worker that does not come back. ``workers.serve`` looks after
  the workers and uses the service alone.
- Its count of failures: it raises inside a locked section after three failed trials in a row, and a chief then waits
  for ever. Here the search ends with what it has.
- Its writing of state: a kill while writing made the search unreadable. Here a file is renamed into its place.
- Its models' checkpoints: ``trials`` has exact ones.

These replacements hook into private names (``_duplicate``, ``_random_values``, ``_save_trial``, ``_retry_queue``...).
``tests/assay/search/test_keras_tuner.py`` holds a hash of every part relied on: a new KerasTuner that changes one of
them fails there, and not in a search.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.engine.trial import Trial, TrialStatus

from assay.search.plan import Bracket
from assay.search.proposals import propose
from assay.storage.files import new_file
from assay.storage.objects import ObjectStore

STRIKES = 3
# Hyperband's fresh trials are random until LEAST_KNOWN have a score; after that every RANDOM_EVERY-th still is.
LEAST_KNOWN, RANDOM_EVERY = 8, 4
CANDIDATES = 128
RUNNING, COMPLETED, FAILED, STOPPED, IDLE = (
    TrialStatus.RUNNING,
    TrialStatus.COMPLETED,
    TrialStatus.FAILED,
    TrialStatus.STOPPED,
    TrialStatus.IDLE,
)
# Keys under which a trial of hyperband carries its place in the schedule, with KerasTuner's names.
PARENT, EPOCHS, INITIAL_EPOCH = "tuner/trial_id", "tuner/epochs", "tuner/initial_epoch"
BRACKET, ROUND = "tuner/bracket", "tuner/round"


class SteadyOracle(keras_tuner.Oracle):
    """What all oracles here share; a base class that stands before KerasTuner's own.

    Args:
        feasible: Whether values may be tried at all; others are never drawn.
        deadline: Unix time after which no trial but the very first begins, or None.
        mirror: Where the state is kept as well, for a search whose folder goes with its pod; None: nowhere.
    """

    _retry_queue: list[str]

    def __init__(
        self,
        *args: Any,
        feasible: Callable[[dict[str, Any]], bool] = lambda values: True,
        deadline: float | None = None,
        mirror: ObjectStore | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.feasible = feasible
        self.deadline = deadline
        self.mirror = mirror
        self.ended_because = ""
        self.verbose = 0

    @property
    def project(self) -> Path:
        """The folder of the search's state."""
        return Path(self._project_dir)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Return the next trial's values, or that there is none; see `keras_tuner.Oracle.populate_space`."""
        self.ended_because = self._reason_to_end()
        if self.ended_because:
            return {"status": STOPPED}
        response: dict[str, Any] = super().populate_space(trial_id)
        if response["status"] == RUNNING and self._duplicate(response["values"]):
            # The Bayesian oracle proposes what it likes best, also twice, also what is too large.
            values = self._random_values()
            return {"status": STOPPED} if values is None else {"status": RUNNING, "values": values}
        return response

    def _reason_to_end(self) -> str:
        if self.deadline is not None and time.time() > self.deadline and self.trials:
            return "the deadline has passed"
        last = [self.trials[trial_id] for trial_id in self.end_order[-STRIKES:]]
        if len(last) == STRIKES and all(trial.status == FAILED for trial in last):
            return f"{STRIKES} trials in a row have failed"
        return ""

    def _duplicate(self, values: dict[str, Any]) -> bool:
        return not self.feasible(values) or super()._duplicate(values)

    def _compute_values_hash(self, values: dict[str, Any]) -> str:
        return str(super()._compute_values_hash({key: values[key] for key in values if not key.startswith("tuner/")}))

    def _check_consecutive_failures(self) -> None:
        """Do nothing: `_reason_to_end` counts, where no lock is left held."""

    def save(self) -> None:
        """Write the oracle's state."""
        self._write("oracle.json", self.get_state())

    def _save_trial(self, trial: Trial) -> None:
        self._write(f"trial_{trial.trial_id}/trial.json", trial.get_state())

    def _write(self, name: str, value: dict[str, Any]) -> None:
        """Write a file of the project so that a restart finds the old one or the new one and nothing between."""
        content = json.dumps(value)
        with new_file(self.project / name) as stage:
            stage.write_text(content, encoding="utf-8")
        if self.mirror is not None:
            self.mirror.write_bytes(name, content.encode())

    def needed(self) -> set[str]:
        """Return the trials whose checkpoints may be asked for again: those under way and what they continue."""
        # Copies: workers' requests change both from another thread.
        ongoing, waiting = list(self.ongoing_trials.values()), list(self._retry_queue)
        under_way = ongoing + [self.trials[trial_id] for trial_id in waiting]
        parents = {trial.hyperparameters.values.get(PARENT) for trial in under_way}
        return {trial.trial_id for trial in under_way} | {parent for parent in parents if parent}

    def reload(self) -> None:
        """Read the state back; trials that were under way are run again."""
        super().reload()
        for trial_id in set(self.trials) - set(self.start_order):
            # Killed between writing the trial and writing the oracle: nothing knows of it.
            del self.trials[trial_id]
            shutil.rmtree(self._get_trial_dir(trial_id))
        # KerasTuner saves an ended trial as still under way, until its next save.
        self._retry_queue = [trial_id for trial_id in self._retry_queue if trial_id not in self.end_order]

    def give_up(self, tuner_id: str, reason: str) -> None:
        """Record as failed the trial of a worker that will not come back.

        Args:
            tuner_id: The worker.
            reason: Why, for the table of trials.
        """
        trial = self.ongoing_trials.get(tuner_id)
        if trial is None:
            return
        trial.status, trial.message = FAILED, reason
        self.end_trial(trial)


class RandomOracle(SteadyOracle, keras_tuner.oracles.RandomSearchOracle):
    """Independent draws."""


class BayesianOracle(SteadyOracle, keras_tuner.oracles.BayesianOptimizationOracle):
    """A Gaussian process over the trials so far."""


class HyperbandOracle(SteadyOracle):
    """Successive halving in brackets planned beforehand, so that the epochs spent are known.

    Args:
        plan: The brackets, run in this order; later ones fill workers that wait for an earlier one.
    """

    def __init__(self, *args: Any, plan: Sequence[Bracket], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.plan = tuple(plan)
        # Of each bracket, of each round, the ids of its trials in the order of their start.
        self._ids: list[list[list[str]]] = [[[] for _ in bracket.rounds] for bracket in self.plan]
        self._exhausted = False

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Return a promotion where one is due, else a fresh draw; see `SteadyOracle.populate_space`."""
        self.ended_because = self._reason_to_end()
        if self.ended_because:
            return {"status": STOPPED}
        for number, bracket in enumerate(self.plan):
            # Late rounds first: a finished trial is worth more than another beginning.
            for step in reversed(range(1, len(bracket.rounds))):
                parent = self._due(number, step)
                if parent is not None:
                    return self._run(trial_id, number, step, parent)
            if not self._exhausted and len(self._ids[number][0]) < bracket.rounds[0].trials:
                values = self._fresh_values()
                if values is not None:
                    return self._run(trial_id, number, 0, None, values)
                # There are fewer configurations than planned: promotions may now be due that were not.
                self._exhausted = True
                return self.populate_space(trial_id)
        return {"status": IDLE if self.ongoing_trials else STOPPED}

    def _fresh_values(self) -> dict[str, Any] | None:
        """Return the values of a trial that begins: random at first, later mostly what the trials so far speak for."""
        known = self._known()
        begun = sum(len(rounds[0]) for rounds in self._ids)
        if len(known) < LEAST_KNOWN or begun % RANDOM_EVERY == 0:
            return self._random_values()
        drawn = [values for values in (self._random_values() for _ in range(CANDIDATES)) if values is not None]
        sign = 1 if self.objective.direction == "max" else -1
        tried, scores = zip(*known, strict=True)
        ranked = propose(self.hyperparameters.space, tried, [sign * score for score in scores], drawn, self._seed_state)
        return next((values for values in ranked if not self._duplicate(values)), None)

    def _known(self) -> list[tuple[dict[str, Any], float]]:
        """Return each configuration that has a score, with the best one of the trials that continued it."""
        best: dict[str, tuple[dict[str, Any], float]] = {}
        better = max if self.objective.direction == "max" else min
        for trial in list(self.trials.values()):
            if trial.status != COMPLETED or trial.score is None:
                continue
            values = {key: value for key, value in trial.hyperparameters.values.items() if "/" not in key}
            key = self._compute_values_hash(values)
            score = better(trial.score, best[key][1]) if key in best else trial.score
            best[key] = (values, float(score))
        return list(best.values())

    def _run(
        self, trial_id: str, number: int, step: int, parent: Trial | None, values: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        rounds = self.plan[number].rounds
        place: dict[str, Any] = {
            EPOCHS: rounds[step].epochs,
            INITIAL_EPOCH: rounds[step - 1].epochs if step else 0,
            BRACKET: number,
            ROUND: step,
        }
        if parent is not None:
            place[PARENT] = parent.trial_id
            values = parent.hyperparameters.values
        self._ids[number][step].append(trial_id)
        return {"status": RUNNING, "values": {**(values or {}), **place}}

    def _due(self, number: int, step: int) -> Trial | None:
        """Return the trial to promote into a round: one that is surely among the best of the round before."""
        size, before = self._size(number, step), self._size(number, step - 1)
        if len(self._ids[number][step]) >= size:
            return None
        promoted = {self.trials[trial_id].hyperparameters.values[PARENT] for trial_id in self._ids[number][step]}
        past = [self.trials[trial_id] for trial_id in self._ids[number][step - 1]]
        alive = before - sum(trial.status == FAILED for trial in past)
        waiting = [trial for trial in past if trial.status == COMPLETED and trial.trial_id not in promoted]
        if len(waiting) <= alive - size:
            return None
        best = max if self.objective.direction == "max" else min
        return best(waiting, key=lambda trial: trial.score)

    def _size(self, number: int, step: int) -> int:
        """Return how many trials a round will have: fewer than planned where trials before it failed."""
        planned = self.plan[number].rounds[step].trials
        if step == 0:
            return len(self._ids[number][0]) if self._exhausted else planned
        past = self._ids[number][step - 1]
        failed = sum(self.trials[trial_id].status == FAILED for trial_id in past)
        return min(planned, self._size(number, step - 1) - failed)

    def needed(self) -> set[str]:
        """Return the trials whose checkpoints may be asked for again, with those that may yet be promoted."""
        trials = super().needed()
        for number, bracket in enumerate(self.plan):
            for step in range(1, len(bracket.rounds)):
                if len(self._ids[number][step]) < self._size(number, step):
                    trials.update(self._ids[number][step - 1])
        return trials

    def get_state(self) -> dict[str, Any]:
        """Return what a restart needs."""
        return {**super().get_state(), "ids": self._ids, "exhausted": self._exhausted}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over a state from `get_state`."""
        super().set_state(state)
        self._ids, self._exhausted = state["ids"], state["exhausted"]
