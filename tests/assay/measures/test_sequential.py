"""The level of many looks together."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import zeta
from scipy.stats import norm

from assay.measures.sequential import TOTAL, spend


def test_all_looks_together_spend_no_more_than_the_level() -> None:
    assert pytest.approx(zeta(1.5), abs=1e-12) == TOTAL
    levels = [spend(0.05, look) for look in range(1, 200_000)]
    assert levels == sorted(levels, reverse=True)
    assert 0.0499 < sum(levels) + 0.05 * 2 * 200_000**-0.5 / TOTAL < 0.0501
    assert levels[0] == pytest.approx(0.0191, abs=5e-5)
    assert levels[11] == pytest.approx(0.00046, abs=5e-6)


def test_equal_models_are_promoted_in_at_most_a_twentieth_of_52_retrainings() -> None:
    random = np.random.default_rng(0)
    levels = np.array([spend(0.05, look) for look in range(1, 53)])
    fresh = norm.sf(random.normal(size=(20_000, 52)))
    assert (fresh <= levels).any(axis=1).mean() <= 0.05
    # One test set: the champion's luck on it is in every look.
    shared = norm.sf(np.sqrt(0.5) * (random.normal(size=(20_000, 52)) + random.normal(size=(20_000, 1))))
    assert (shared <= levels).any(axis=1).mean() <= 0.05
    assert (shared <= 0.05).any(axis=1).mean() > 0.25


def test_looks_are_counted_from_one() -> None:
    with pytest.raises(ValueError, match="Received: 0"):
        spend(0.05, 0)
