"""The sections of the page: each runs its simulations and returns its text."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import repeat

from bench.statistics.learning import Trainings, stopped_in
from bench.statistics.lookalikes import CHANGES, KINDS, search_drawn
from bench.statistics.page import coverage_page, promotion_page, table
from bench.statistics.probabilities import METHODS, calibration_gap, missed_targets, offset_gains
from bench.statistics.simulate import cells, coverage, false_promotions, power
from bench.statistics.sweeps import policy_changes, sweep_calls

LOOKS = (1, 12, 52)
RUNS_AT_ONCE = 20


def _coverage(rounds: int, pool: ProcessPoolExecutor) -> str:
    return coverage_page(list(pool.map(partial(coverage, rounds=rounds), cells())), rounds)


def _promotion(rounds: int, pool: ProcessPoolExecutor) -> str:
    del pool
    promotions = {
        (retrainings, one_test_set): false_promotions(retrainings, 20 * rounds, one_test_set=one_test_set)
        for retrainings in LOOKS
        for one_test_set in (True, False)
    }
    return promotion_page(promotions, {look: power(0.02, 0.93, 1000, look, rounds) for look in LOOKS})


def _calibration(rounds: int, pool: ProcessPoolExecutor) -> str:
    kinds = [(prevalence, cases) for prevalence in (0.01, 0.05, 0.2) for cases in (300, 1000, 5000)]
    found = pool.map(partial(calibration_gap, rounds=max(1, rounds // 10)), *zip(*kinds, strict=True))
    rows = [[f"{share:.0%}", f"{cases:,}", *gaps.values()] for (share, cases), gaps in zip(kinds, found, strict=True)]
    return "\n".join(
        [
            "## Probabilities after class weights",
            "",
            f"Mean gap between reported and true probability, {max(1, rounds // 10):,} trainings with balanced class "
            "weights a row, whose log odds are half of what they should be; AUC 0.9. It is never less than the ECE. "
            "Target: at most 0.02 at 5% positives (scaling is what `evaluate.calibration` does by default).",
            "",
            *table(["positives", "validation cases", *METHODS], rows),
        ]
    )


def _thresholds(rounds: int, pool: ProcessPoolExecutor) -> str:
    kinds = [
        (target, positives, size)
        for target in (0.9, 0.95)
        for positives, size in ((50, 1), (200, 1), (1000, 1), (200, 5), (200, 20), (1000, 20))
    ]
    found = pool.map(partial(missed_targets, rounds=rounds), *zip(*kinds, strict=True))
    rows = [
        [f"{target:g}", positives, size, row["plain"], row["missed"], row["promised"], row["specificity"]]
        for (target, positives, size), row in zip(kinds, found, strict=True)
    ]
    header = ["sensitivity asked", "positives", "cases of a group", "missed: by the share alone", "missed"]
    return "\n".join(
        [
            "## A sensitivity asked for",
            "",
            f"How often later cases are below the target, {rounds:,} validation splits a row with as many negative as "
            "positive cases, AUC 0.9, `threshold_confidence` 0.9; target: at most 0.1. Promised: how often the bound "
            "could reach the target at all; else the report says that it cannot, and with what chance it is met.",
            "",
            *table([*header, "promised", "specificity paid"], rows),
        ]
    )


def _offsets(rounds: int, pool: ProcessPoolExecutor) -> str:
    mixes = ((0.9, 0.06, 0.04), (0.8, 0.1, 0.06, 0.04), (0.25, 0.25, 0.25, 0.25))
    kinds = [(shares, cases) for shares in mixes for cases in (200, 1000)]
    rounds = max(1, rounds // 10)
    found = pool.map(partial(offset_gains, rounds=rounds), *zip(*kinds, strict=True))
    rows = [
        [", ".join(f"{share:.0%}" for share in shares), f"{cases:,}", *row.values()]
        for (shares, cases), row in zip(kinds, found, strict=True)
    ]
    return "\n".join(
        [
            "## Decisions among several classes",
            "",
            f"Balanced accuracy of later cases, {rounds:,} validation splits a row, probabilities that are "
            "frequencies. At its best: with the true shares of the classes.",
            "",
            *table(["shares of the classes", "validation cases", "most probable", "with offsets", "at its best"], rows),
        ]
    )


def _sweeps(rounds: int, pool: ProcessPoolExecutor) -> str:
    kinds = [(rows, seeds, images) for rows in (3, 10) for seeds in (2, 3, 5) for images in (300, 1000)]
    sweeps, repeats = max(1, rounds // 4), (2, 3, 5)
    found = pool.map(partial(sweep_calls, rounds=sweeps), *zip(*kinds, strict=True))
    rows = [[*kind, *row.values()] for kind, row in zip(kinds, found, strict=True)]
    changes = pool.map(partial(policy_changes, rounds=rounds), repeats)
    changed = ", ".join(f"{share:.3f} with {seeds} seeds" for seeds, share in zip(repeats, changes, strict=True))
    return "\n".join(
        [
            "## Sweeps and ablations in which nothing differs",
            "",
            f"{sweeps:,} sweeps a row, all rows alike (AUC 0.9, its standard deviation over seeds .012); targets: "
            "the interval of a pair holds 0 in at least 0.93, at least one row is called worse than the best in at "
            "most 0.07.",
            "",
            *table(["rows", "seeds", "images", "pair holds 0", "any called worse"], rows),
            f"An ablation of eight operations that do nothing changes the policy in a share of {changed} "
            f"({rounds:,} ablations each; target: at most 0.05).",
            "",
        ]
    )


def _learning(rounds: int, pool: ProcessPoolExecutor) -> str:
    splits = ((0.01, 1000, 30), (0.01, 5000, 30), (0.02, 1000, 30), (0.05, 1000, 30), (0.05, 1000, 300))
    runs = max(1, rounds // 5)
    rows = []
    for share, cases, features in splits:
        for learnable in (True, False):
            kind, blocks = Trainings(share, learnable, cases, features), range(0, runs, RUNS_AT_ONCE)
            sizes = [min(RUNS_AT_ONCE, runs - first) for first in blocks]
            ended = list(pool.map(stopped_in, blocks, repeat(kind), sizes))
            stopped = sum(epoch is not None for block in ended for epoch in block)
            labels = "something to learn" if learnable else "shuffled"
            rows.append(
                [f"{share:.0%}", f"{cases:,}", f"{share * cases:.0f}", features, labels, f"{stopped} of {runs}"]
            )
    return "\n".join(
        [
            "## Runs stopped because they do not learn",
            "",
            "Logistic regression by gradient steps, 16 epochs, 2,000 training cases, the best possible AUC .86; "
            "target: none that learns, all on shuffled labels. Stopped: on the way, or named at their end where the "
            "validation split has never been ranked better than chance. With ten positive validation cases (and twenty "
            "to train on) loss and ranking cannot tell all runs apart: the best limit on the sum of both errs in 8 of "
            "1,000 runs that learn and in 8 of 1,000 that do not. With 300 features a run learns its training cases by "
            "heart, and its validation split alone decides.",
            "",
            *table(["positives", "validation cases", "of them positive", "features", "labels", "stopped"], rows),
        ]
    )


def _duplicates(rounds: int, pool: ProcessPoolExecutor) -> str:
    kinds = [(name, count) for name in KINDS for count in (rounds // 10, rounds // 2) if count >= 10]
    found = list(pool.map(search_drawn, *zip(*kinds, strict=True))) if kinds else []
    rows = [
        [one.kind, f"{one.images:,}", one.false, one.false_among_copies, *one.found.values(), one.seconds]
        for one in found
    ]
    return "\n".join(
        [
            "## Near duplicates",
            "",
            "Drawn pictures that look alike, and copies of a fifth of them, changed in seven ways. False: share of the "
            "images that are joined with another one, without copies in the set and with them, target at most 0.01. "
            "Then the share of the copies that are joined with their original, target at least 0.95; the seconds of "
            "processor time are of the search alone.",
            "",
            *table(["pictures", "images", "false", "false, with copies", *CHANGES, "seconds"], rows),
        ]
    )


SECTIONS: dict[str, Callable[[int, ProcessPoolExecutor], str]] = {
    "coverage": _coverage,
    "promotion": _promotion,
    "calibration": _calibration,
    "thresholds": _thresholds,
    "offsets": _offsets,
    "sweeps": _sweeps,
    "learning": _learning,
    "duplicates": _duplicates,
}
