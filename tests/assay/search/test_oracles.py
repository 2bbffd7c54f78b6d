"""Oracles: what they propose, what they spend, and that no failure or kill leaves them stuck."""

from __future__ import annotations

import itertools
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_tuner
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras_tuner.engine.trial import Trial

from assay.search.oracles import (
    BRACKET,
    COMPLETED,
    EPOCHS,
    FAILED,
    IDLE,
    INITIAL_EPOCH,
    PARENT,
    ROUND,
    RUNNING,
    STOPPED,
    BayesianOracle,
    HyperbandOracle,
    RandomOracle,
    SteadyOracle,
)
from assay.search.plan import Bracket, Round, budget_epochs, plan_brackets

NINE = (Bracket((Round(9, 1), Round(3, 3), Round(1, 9))),)


def space() -> keras_tuner.HyperParameters:
    values = keras_tuner.HyperParameters()
    values.Choice("width", [1, 2, 3, 4, 5, 6, 7, 8, 9])
    values.Float("learning_rate", 1e-4, 1e-1, sampling="log")
    return values


def make(kind: type[SteadyOracle], folder: Path, **options: Any) -> Any:
    objective = keras_tuner.Objective("val_auc", "max")
    oracle = kind(objective=objective, hyperparameters=space(), allow_new_entries=False, seed=3, **options)
    oracle._set_project_dir(str(folder), "search")
    return oracle


def end(oracle: SteadyOracle, trial: Trial, score: float | None) -> None:
    """Report a trial as a tuner does: its score, or that it failed."""
    if score is not None:
        oracle.update_trial(trial.trial_id, {"val_auc": score})
    trial.status = FAILED if score is None else COMPLETED
    oracle.end_trial(trial)


def run_out(oracle: SteadyOracle, score: Callable[[Trial], float | None], workers: int = 1, seed: int = 0) -> None:
    """Have workers ask and end trials, in an order drawn by ``seed``, until the oracle has no more."""
    order = random.Random(seed)
    busy: dict[str, Trial] = {}
    idle = {f"worker{index}" for index in range(workers)}
    while idle or busy:
        name = order.choice(sorted(idle | set(busy)))
        if name in busy:
            trial = busy.pop(name)
            end(oracle, trial, score(trial))
            idle.add(name)
            continue
        trial = oracle.create_trial(name)
        if trial.status == STOPPED:
            idle.discard(name)
        elif trial.status == RUNNING:
            idle.discard(name)
            busy[name] = trial
        else:
            assert trial.status == IDLE and busy, "an oracle may have workers wait only for others"


def by_width(trial: Trial) -> float:
    values = trial.hyperparameters.values
    return values["width"] / 10 + values["learning_rate"] / 100


def epochs_of(oracle: SteadyOracle) -> int:
    return sum(
        trial.hyperparameters.values[EPOCHS] - trial.hyperparameters.values[INITIAL_EPOCH]
        for trial in oracle.trials.values()
    )


@settings(max_examples=40, deadline=None)
@given(
    trials=st.integers(1, 12),
    epochs=st.integers(1, 20),
    budget=st.floats(0.1, 1),
    workers=st.integers(1, 4),
    seed=st.integers(0, 1000),
    failing=st.floats(0, 0.4),
)
def test_hyperband_spends_no_more_than_its_budget(
    tmp_path_factory: pytest.TempPathFactory,
    trials: int,
    epochs: int,
    budget: float,
    workers: int,
    seed: int,
    failing: float,
) -> None:
    oracle = make(HyperbandOracle, tmp_path_factory.mktemp("oracle"), plan=plan_brackets(trials, epochs, budget))
    luck = random.Random(seed)
    run_out(oracle, lambda trial: None if luck.random() < failing else by_width(trial), workers, seed)
    assert epochs_of(oracle) <= budget_epochs(trials, epochs, budget)
    assert not oracle.ongoing_trials


@pytest.mark.parametrize("workers", [1, 3])
def test_the_best_of_each_round_go_on_and_continue_their_own(tmp_path: Path, workers: int) -> None:
    oracle = make(HyperbandOracle, tmp_path, plan=NINE)
    run_out(oracle, by_width, workers, seed=workers)
    rounds: dict[int, list[Trial]] = {0: [], 1: [], 2: []}
    for trial in oracle.trials.values():
        rounds[trial.hyperparameters.values[ROUND]].append(trial)
    assert [len(rounds[step]) for step in range(3)] == [9, 3, 1]
    assert epochs_of(oracle) == NINE[0].cost
    for step in (1, 2):
        best = sorted(rounds[step - 1], key=by_width, reverse=True)[: len(rounds[step])]
        assert {trial.hyperparameters.values[PARENT] for trial in rounds[step]} == {trial.trial_id for trial in best}
        for trial in rounds[step]:
            parent = oracle.trials[trial.hyperparameters.values[PARENT]]
            assert trial.hyperparameters.values["width"] == parent.hyperparameters.values["width"]
            assert trial.hyperparameters.values[INITIAL_EPOCH] == parent.hyperparameters.values[EPOCHS]


def test_failed_trials_shrink_later_rounds_and_block_nothing(tmp_path: Path) -> None:
    oracle = make(HyperbandOracle, tmp_path, plan=NINE)
    # KerasTuner's own hyperband promotes nothing here: it waits for 7 completed trials of 9.
    run_out(oracle, lambda trial: None if int(trial.trial_id) in (1, 2, 4, 5) else by_width(trial))
    steps = [trial.hyperparameters.values[ROUND] for trial in oracle.trials.values()]
    assert [steps.count(step) for step in range(3)] == [9, 3, 1]


def test_a_round_has_no_more_trials_than_survived_the_one_before(tmp_path: Path) -> None:
    oracle = make(HyperbandOracle, tmp_path, plan=(Bracket((Round(9, 1), Round(5, 3), Round(3, 9))),))
    # Two of three fail among the nine, and the second that is promoted.
    fates = {0: itertools.cycle([False, False, True]), 1: itertools.chain([True, False], itertools.repeat(True))}
    always = itertools.repeat(True)
    run_out(
        oracle,
        lambda trial: by_width(trial) if next(fates.get(trial.hyperparameters.values[ROUND], always)) else None,
    )
    steps = [trial.hyperparameters.values[ROUND] for trial in oracle.trials.values()]
    assert [steps.count(step) for step in range(3)] == [9, 3, 2]


@pytest.mark.parametrize("kind", ["random", "hyperband", "bayesian"])
def test_three_failures_in_a_row_end_the_search_with_what_it_has(tmp_path: Path, kind: str) -> None:
    oracle = ORACLES[kind](tmp_path)
    run_out(oracle, lambda trial: by_width(trial) if trial.trial_id.endswith("0") else None)
    assert [trial.status for trial in oracle.trials.values()] == [COMPLETED, FAILED, FAILED, FAILED]
    assert oracle.ended_because == "3 trials in a row have failed"
    assert oracle.get_best_trials()[0].status == COMPLETED


@pytest.mark.parametrize("kind", ["random", "hyperband", "bayesian"])
def test_no_trial_begins_after_the_deadline(tmp_path: Path, kind: str) -> None:
    oracle = ORACLES[kind](tmp_path)
    end(oracle, oracle.create_trial("worker0"), 0.5)
    oracle.deadline = time.time() - 1
    assert oracle.create_trial("worker0").status == STOPPED
    assert oracle.ended_because == "the deadline has passed"


@pytest.mark.parametrize("kind", ["random", "hyperband", "bayesian"])
def test_values_that_are_not_feasible_are_never_tried(tmp_path: Path, kind: str) -> None:
    oracle = ORACLES[kind](tmp_path, feasible=lambda values: values["width"] <= 3)
    run_out(oracle, by_width)
    assert len(oracle.trials) >= 8
    assert {trial.hyperparameters.values["width"] for trial in oracle.trials.values()} <= {1, 2, 3}


def test_a_space_with_fewer_configurations_than_trials_is_tried_once_each(tmp_path: Path) -> None:
    few = keras_tuner.HyperParameters()
    few.Choice("width", [1, 2, 3, 4])
    oracle = HyperbandOracle(
        objective=keras_tuner.Objective("val_auc", "max"), hyperparameters=few, allow_new_entries=False, plan=NINE
    )
    oracle._set_project_dir(str(tmp_path), "search")
    run_out(oracle, lambda trial: trial.hyperparameters.values["width"] / 10)
    first = [trial for trial in oracle.trials.values() if trial.hyperparameters.values[ROUND] == 0]
    assert sorted(trial.hyperparameters.values["width"] for trial in first) == [1, 2, 3, 4]
    assert max(trial.hyperparameters.values[EPOCHS] for trial in oracle.trials.values()) == 9


def test_several_brackets_fill_workers_that_would_wait(tmp_path: Path) -> None:
    two = Bracket((Round(2, 1), Round(1, 3)))
    oracle = make(HyperbandOracle, tmp_path, plan=(two, two))
    begun = [oracle.create_trial(f"worker{index}") for index in range(5)]
    assert [trial.status for trial in begun] == [RUNNING] * 4 + [IDLE]
    assert [trial.hyperparameters.values[BRACKET] for trial in begun[:4]] == [0, 0, 1, 1]


@pytest.mark.parametrize("kind", ["random", "hyperband", "bayesian"])
def test_a_search_killed_after_any_write_ends_as_if_it_had_not_been(tmp_path: Path, kind: str) -> None:
    whole = ORACLES[kind](tmp_path / "whole")
    run_out(whole, by_width)
    killed = ORACLES[kind](tmp_path / "killed")
    killed.save()
    for _ in range(100):
        # One request, then all memory is lost; what is on disk is all there is.
        killed = ORACLES[kind](tmp_path / "killed")
        killed.reload()
        trial = killed.create_trial("worker0")
        if trial.status == STOPPED:
            break
        again = ORACLES[kind](tmp_path / "killed")
        again.reload()
        assert again.create_trial("worker0").trial_id == trial.trial_id, "the interrupted trial comes first"
        end(again, trial, by_width(trial))
    ended = {name: trial.score for name, trial in killed.trials.items()}
    if kind == "bayesian":
        assert len(ended) == len(whole.trials)  # its proposals are drawn by a generator that begins anew
    else:
        assert ended == {name: trial.score for name, trial in whole.trials.items()}


def test_a_trial_that_no_state_knows_of_is_dropped(tmp_path: Path) -> None:
    oracle = make(RandomOracle, tmp_path, max_trials=8)
    end(oracle, oracle.create_trial("worker0"), 0.5)
    shutil.copytree(tmp_path / "search" / "trial_0", tmp_path / "search" / "trial_1")
    orphan = tmp_path / "search" / "trial_1" / "trial.json"
    orphan.write_text(orphan.read_text().replace('"trial_id": "0"', '"trial_id": "1"').replace(COMPLETED, RUNNING))
    oracle = make(RandomOracle, tmp_path, max_trials=8)
    oracle.reload()
    assert list(oracle.trials) == ["0"]
    assert not orphan.exists()


def test_the_trial_of_a_lost_worker_is_recorded_and_its_bracket_goes_on(tmp_path: Path) -> None:
    oracle = make(HyperbandOracle, tmp_path, plan=(Bracket((Round(2, 1), Round(1, 3))),))
    lost = oracle.create_trial("worker1")
    oracle.give_up("worker1", "killed by signal 9")
    oracle.give_up("worker1", "and it has no trial now")
    run_out(oracle, by_width)
    assert oracle.trials[lost.trial_id].status == FAILED
    assert oracle.trials[lost.trial_id].message == "killed by signal 9"
    assert [trial.hyperparameters.values[EPOCHS] for trial in oracle.trials.values()] == [1, 1, 3]


def test_checkpoints_are_needed_until_their_round_is_decided(tmp_path: Path) -> None:
    oracle = make(HyperbandOracle, tmp_path, plan=(Bracket((Round(3, 1), Round(1, 3))),))
    first = [oracle.create_trial(f"worker{index}") for index in range(3)]
    assert oracle.needed() == {"0000", "0001", "0002"}
    for trial in first:
        end(oracle, trial, by_width(trial))
    assert oracle.needed() == {"0000", "0001", "0002"}
    promoted = oracle.create_trial("worker0")
    parent = promoted.hyperparameters.values[PARENT]
    assert oracle.needed() == {promoted.trial_id, parent}
    end(oracle, promoted, 0.9)
    assert oracle.needed() == set()


def test_the_bayesian_oracle_proposes_before_three_times_its_dimensions(tmp_path: Path) -> None:
    oracle = make(BayesianOracle, tmp_path, max_trials=7, num_initial_points=4)
    run_out(oracle, by_width)
    trials = list(oracle.trials.values())
    mean = [sum(by_width(trial) for trial in part) / len(part) for part in (trials[:4], trials[4:])]
    assert mean[1] > mean[0], "proposals should be better than the first draws"


ORACLES: dict[str, Callable[..., SteadyOracle]] = {
    "random": lambda folder, **options: make(RandomOracle, folder, max_trials=8, **options),
    "bayesian": lambda folder, **options: make(BayesianOracle, folder, max_trials=8, num_initial_points=7, **options),
    "hyperband": lambda folder, **options: make(HyperbandOracle, folder, plan=NINE, **options),
}
