"""Hyperband's schedule: never more epochs than the budget, and a full-length trial at its end."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from assay.search.plan import LEAST_EPOCHS, budget_epochs, plan_brackets

searches = {"trials": st.integers(1, 300), "epochs": st.integers(1, 120), "budget": st.floats(0.01, 1)}


@given(**searches)
def test_the_budget_is_kept(trials: int, epochs: int, budget: float) -> None:
    brackets = plan_brackets(trials, epochs, budget)
    spent = sum(bracket.cost for bracket in brackets)
    assert spent <= budget_epochs(trials, epochs, budget) <= max(epochs, trials * epochs)


@given(**searches)
def test_every_bracket_narrows_and_ends_at_full_length(trials: int, epochs: int, budget: float) -> None:
    for bracket in plan_brackets(trials, epochs, budget):
        assert bracket.rounds[-1].epochs == epochs
        assert bracket.rounds[-1].trials >= 1
        assert bracket.rounds[0].epochs >= min(epochs, LEAST_EPOCHS)
        for before, after in itertools.pairwise(bracket.rounds):
            assert after.trials <= before.trials
            assert after.epochs > before.epochs


@given(**searches)
def test_the_cost_is_what_running_it_costs(trials: int, epochs: int, budget: float) -> None:
    for bracket in plan_brackets(trials, epochs, budget):
        trained = [0] * bracket.rounds[0].trials
        spent = 0
        for step in bracket.rounds:
            for place in range(step.trials):
                spent += step.epochs - trained[place]
                trained[place] = step.epochs
        assert spent == bracket.cost


def test_a_fifth_of_a_full_search_tries_almost_as_many_configurations() -> None:
    (bracket,) = plan_brackets(trials=20, epochs=27, budget=0.2)
    assert [(step.trials, step.epochs) for step in bracket.rounds] == [(14, 3), (5, 9), (2, 27)]
    assert bracket.cost == 20 * 27 / 5


def test_what_is_left_of_the_budget_pays_for_more_promotions() -> None:
    (bracket,) = plan_brackets(trials=6, epochs=6, budget=1.0)
    assert [(step.trials, step.epochs) for step in bracket.rounds] == [(10, 2), (4, 6)]
    assert bracket.cost == 36
