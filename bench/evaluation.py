"""Target 6: the bootstrap of the AUC, by counting on sorted scores and by calling scikit-learn each time."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score

from assay.measures.intervals import Resampler, bootstrap_auc
from bench.harness import Check, Finding, Outcome, Settings, combine, interleave, ratio

CASES = 32_768  # PatchCamelyon's test split
RESAMPLES = 2000


def run(settings: Settings) -> Outcome:
    """Compare both bootstraps on the same resamples."""
    positive, scores = example(CASES)
    few = 10 if settings.quick else 20
    many = 200 if settings.quick else RESAMPLES

    def by_scikit_learn() -> float:
        return len(loop(positive, scores, Resampler(CASES, resamples=few, seed=0)))

    def by_counting() -> float:
        return len(bootstrap_auc(positive, scores, Resampler(CASES, resamples=many, seed=0)))

    rates = interleave({"scikit-learn": by_scikit_learn, "counting": by_counting}, settings.rounds, "resamples/s")
    looped, counting = rates["scikit-learn"], rates["counting"]
    seconds = combine("2,000 resamples", "s", lambda rate: RESAMPLES / rate, counting)
    return Outcome(
        "evaluation",
        "Bootstrap of the AUC",
        findings=(
            Finding(6, f"AUC resamples at n = {CASES:,}", ratio("bootstrap", counting, looped), 40),
            Finding(6, f"{RESAMPLES:,} resamples", seconds, 1.2, "at most", note="about a second is asked for"),
        ),
        checks=(Check(6, "AUC of the same resamples", difference(CASES, 10), 1e-12),),
        rates=tuple(rates.values()),
    )


def example(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return truths, bool (N,), and float32 scores (N,) that tell them apart fairly well."""
    random = np.random.default_rng(0)
    positive = random.random(count) < 0.5
    return positive, (1 / (1 + np.exp(-random.normal(1.5 * positive - 0.75)))).astype(np.float32)


def loop(positive: np.ndarray, scores: np.ndarray, resampler: Resampler) -> list[float]:
    """Return the AUC of each resample as scikit-learn has it."""
    return [float(roc_auc_score(positive[rows], scores[rows])) for rows in resampler.draws()]


def difference(cases: int, resamples: int) -> float:
    """Return the largest difference between both ways on the same resamples."""
    positive, scores = example(cases)
    expected = loop(positive, scores, Resampler(cases, resamples=resamples, seed=1))
    counted = bootstrap_auc(positive, scores, Resampler(cases, resamples=resamples, seed=1))
    return float(np.abs(counted - np.array(expected)).max())
