"""Proposals: they find the good region of a space and never leave it."""

from __future__ import annotations

import math
from typing import Any

import keras_tuner
import numpy as np
import pytest

from assay.search.proposals import propose


def space() -> list[Any]:
    parameters = keras_tuner.HyperParameters()
    parameters.Choice("width", [8, 16, 32])
    parameters.Choice("optimizer", ["adam", "sgd", "rmsprop"])
    parameters.Float("learning_rate", 1e-5, 1e-1, sampling="log")
    return list(parameters.space)


def score(values: dict[str, Any]) -> float:
    """Best with sgd, 32 filters, and a rate of 0.001."""
    return (values["optimizer"] == "sgd") + values["width"] / 32 - abs(math.log10(values["learning_rate"]) + 3) / 2


def draws(count: int, seed: int) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)
    return [
        {parameter.name: parameter.prob_to_value(random.uniform(0, 1 - 1e-9)) for parameter in space()}
        for _ in range(count)
    ]


@pytest.mark.parametrize("seed", range(3))
def test_the_first_proposals_are_far_better_than_draws(seed: int) -> None:
    tried = draws(12, seed)
    ranked = propose(space(), tried, [score(values) for values in tried], draws(100, seed + 100), seed)
    usual = np.median([score(values) for values in draws(500, seed + 200)])
    best = np.quantile([score(values) for values in draws(500, seed + 200)], 0.9)
    proposed = [score(values) for values in ranked[:5]]
    assert np.median(proposed) > (usual + best) / 2


def test_only_the_order_of_scores_counts() -> None:
    tried = draws(10, 0)
    scores = [score(values) for values in tried]
    ranked = propose(space(), tried, scores, draws(30, 1), seed=0)
    assert ranked == propose(space(), tried, [math.exp(9 * one) for one in scores], draws(30, 1), seed=0)


def test_neighbours_stay_in_the_space() -> None:
    edge = {"width": 32, "optimizer": "sgd", "learning_rate": 1e-1}
    for values in propose(space(), [edge, *draws(3, 0)], [1.0, 0.1, 0.2, 0.3], [], seed=4):
        assert values["width"] in (8, 16, 32)
        assert values["optimizer"] in ("adam", "sgd", "rmsprop")
        assert 1e-5 <= values["learning_rate"] <= 1e-1 * (1 + 1e-9)


def test_a_space_of_one_value_can_be_proposed_from() -> None:
    parameters = keras_tuner.HyperParameters()
    parameters.Choice("width", [8])
    parameters.Choice("optimizer", ["sgd"])
    ranked = propose(parameters.space, [{"width": 8, "optimizer": "sgd"}], [0.5], [], seed=0)
    assert ranked[0] == {"width": 8, "optimizer": "sgd"}
