"""The next configuration to try, from what is known of those tried: a Gaussian process over the space.

Source:
    Falkner, Klein, Hutter 2018, BOHB: Robust and Efficient Hyperparameter Optimization at Scale (arXiv:1807.01774),
    whose idea this is: hyperband decides how long, a model decides what.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Values = dict[str, Any]

# How much not knowing counts against knowing, in standard deviations.
CURIOSITY = 1.0
# Distance between two choices without an order, where 1 is the length of an ordered axis.
CHOICE_DISTANCE = 0.5
NEIGHBOURS_OF = 3
NEIGHBOURS_EACH = 24
STEP = 0.12  # of an ordered axis


def propose(
    space: Sequence[Any], tried: Sequence[Values], scores: Sequence[float], drawn: Sequence[Values], seed: int
) -> list[Values]:
    """Return candidates, the most promising first.

    Args:
        space: KerasTuner's hyperparameters: choices and ranges.
        tried: Configurations with a score.
        scores: Theirs, higher is better; only their order counts.
        drawn: Candidates drawn from the whole space; neighbours of the best tried are added.
        seed: Of the neighbours.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import Matern, WhiteKernel

    random = np.random.default_rng(seed)
    best = [tried[index] for index in np.argsort(scores)[::-1][:NEIGHBOURS_OF]]
    neighbours = [_neighbour(space, values, random) for values in best for _ in range(NEIGHBOURS_EACH)]
    candidates = [*drawn, *neighbours]
    ranks = np.argsort(np.argsort(scores)) / max(1, len(scores) - 1)
    kernel = Matern(length_scale=0.5, length_scale_bounds=(0.1, 10), nu=2.5) + WhiteKernel(0.1, (0.01, 1))
    process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(_vectors(space, tried), ranks)
    mean, deviation = process.predict(_vectors(space, candidates), return_std=True)
    order = np.argsort(-(mean + CURIOSITY * deviation), kind="stable")
    return [candidates[index] for index in order]


def _neighbour(space: Sequence[Any], values: Values, random: np.random.Generator) -> Values:
    """Return a configuration with one or two hyperparameters changed, ordered ones by a little."""
    changed = dict(values)
    for index in random.choice(len(space), size=min(len(space), int(random.integers(1, 3))), replace=False):
        parameter = space[index]
        if _has_order(parameter):
            place = parameter.value_to_prob(values[parameter.name]) + random.normal(0, STEP + 1 / _steps(parameter))
            changed[parameter.name] = parameter.prob_to_value(float(np.clip(place, 0, 1 - 1e-9)))
        else:
            changed[parameter.name] = parameter.values[int(random.integers(len(parameter.values)))]
    return changed


def _vectors(space: Sequence[Any], configurations: Sequence[Values]) -> npt.NDArray[np.float64]:
    """Return the configurations as points: a coordinate for each ordered axis, one for each choice without order."""
    rows = []
    for values in configurations:
        row: list[float] = []
        for parameter in space:
            value = values[parameter.name]
            if _has_order(parameter):
                row.append(parameter.value_to_prob(value))
            else:
                row += [CHOICE_DISTANCE * (value == choice) for choice in parameter.values]
        rows.append(row)
    return np.array(rows)


def _has_order(parameter: Any) -> bool:
    return bool(getattr(parameter, "ordered", True))


def _steps(parameter: Any) -> float:
    """Return into how many steps an axis is divided: a step must reach the next choice."""
    choices = getattr(parameter, "values", None)
    return float(len(choices)) if isinstance(choices, list) else float("inf")
