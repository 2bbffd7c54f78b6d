"""The verdict on a challenger: its metric against the floor and against the champion's, on the same test images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.config import PromoteConfig
from assay.measures.comparison import PairedDifference, compare_samples
from assay.measures.interval import Interval
from assay.measures.intervals import Resampler, bootstrap_metrics, metric_intervals
from assay.measures.metrics import METRICS, Scored, point_metrics
from assay.measures.sequential import spend

CONFIDENCE = 0.95
RESAMPLES = 2000
# Fewer groups of a class decide by luck, whatever the test says.
FEWEST_UNITS = 10
# Each is bought with the other by moving the threshold.
COUNTERPARTS = {"sensitivity": "specificity", "specificity": "sensitivity"}


@dataclass(frozen=True)
class Score:
    """One model's metric on the test split, with its interval.

    Args:
        value: nan where the split leaves it undefined.
        interval: At the level ``CONFIDENCE``.
        undefined: Why there is no value; empty where there is one.
    """

    value: float
    interval: Interval
    undefined: str = ""

    def __str__(self) -> str:
        within = f" [{self.interval.low:.3f}, {self.interval.high:.3f}]" if self.interval.defined else ""
        return f"{self.value:.3f}{within}"


@dataclass(frozen=True)
class PromotionVerdict:
    """Whether the challenger should be champion, and the numbers behind it.

    Args:
        promote: The answer.
        why: A clause with the numbers, to follow a colon.
        metric: What was compared.
        challenger: Its score; None where nothing was scored.
        champion: The champion's on the same images; None where there is none to compare with.
        gain: Challenger over champion; None likewise.
    """

    promote: bool
    why: str
    metric: str
    challenger: Score | None = None
    champion: Score | None = None
    gain: PairedDifference | None = None


def judge_alone(
    config: PromoteConfig,
    challenger: Scored,
    groups: npt.NDArray[Any] | None,
    seed: int,
    over_baseline: Interval | None = None,
) -> PromotionVerdict:
    """Hold a challenger against guessing, the baseline and the floor of the config; there is no champion to beat.

    Whatever the metric, its AUC must be above 0.5 by the lower end of the interval: a model that ranks no better than
    guessing reaches any sensitivity at some threshold.

    Args:
        config: Gives metric and floor.
        challenger: Its probabilities and decisions on the test split.
        groups: Patient or slide of each image (N,); None: images are independent.
        seed: Of the bootstrap.
        over_baseline: Of its AUC less the baseline's on the same images; None: it is the baseline, or there is none.
    """
    resampler = Resampler(len(challenger.labels), groups, RESAMPLES, seed)
    models = {"challenger": challenger}
    samples = bootstrap_metrics(models, resampler)
    score = _scores(models, config.metric, groups, seed, samples)["challenger"]
    title = METRICS[config.metric].title
    if score.undefined:
        return PromotionVerdict(False, f"its {title} is undefined ({score.undefined})", config.metric, score)
    ranking = _scores(models, "auc", groups, seed, samples)["challenger"]
    guessing = _fails_guessing(ranking) if config.beat_guessing else ""
    fails = guessing or _fails_baseline(config, over_baseline) or _fails_floor(config, score)
    return PromotionVerdict(not fails, fails or f"test {title} {score}", config.metric, score)


def judge_against_champion(
    config: PromoteConfig,
    challenger: Scored,
    champion: Scored,
    groups: npt.NDArray[Any] | None,
    seed: int,
    look: int = 1,
) -> PromotionVerdict:
    """Hold a challenger against the champion: better by more than ``min_gain``, in a paired one-sided test.

    Each look at one champion spends a part of the level, so that retraining for a year does not promote by luck.

    Args:
        config: Gives metric, least gain, level of the test and floor.
        challenger: Its probabilities and decisions.
        champion: Those of the champion, of the same images in the same order.
        groups: Patient or slide of each image (N,); None: images are independent.
        seed: Of the bootstrap.
        look: Which comparison with this champion it is, from 1; see `assay.measures.sequential.spend`.
    """
    metric, title, level = config.metric, METRICS[config.metric].title, spend(config.alpha, look)
    resampler = Resampler(len(challenger.labels), groups, RESAMPLES, seed)
    models = {"challenger": challenger, "champion": champion}
    samples = bootstrap_metrics(models, resampler)
    scores = _scores(models, metric, groups, seed, samples)
    gain = compare_samples(
        challenger,
        champion,
        metric,
        samples["challenger"][metric],
        samples["champion"][metric],
        resampler,
        groups,
        # The interval that belongs to a one-sided test at this level.
        1 - 2 * level,
        config.min_gain,
    )
    score, other = scores["challenger"], scores["champion"]
    undefined = score.undefined or other.undefined or _too_few(challenger, groups)
    numbers = f"test {title} {score} against {other}"
    if undefined or math.isnan(gain.p_better):
        reason = undefined or "the test split is too small for a test"
        return PromotionVerdict(False, f"{title} cannot be compared ({reason})", metric, score, other, gain)
    change = f"{gain.difference:+.3f} [{gain.interval.low:+.3f}, {gain.interval.high:+.3f}]"
    margin = f" over {config.min_gain:g}" if config.min_gain else ""
    significant = gain.p_better <= level
    sign = "≤" if significant else ">"
    p_value = f"one-sided p{margin} = {gain.p_better:.2g} {sign} {level:.2g} (look {look} at this champion)"
    why = f"{numbers}, a gain of {change}, {p_value} ({gain.test})"
    fails = _fails_floor(config, score) or _fails_counterpart(config, models, samples, resampler, groups)
    if fails:
        why = f"{fails}; {why}"
    return PromotionVerdict(significant and not fails, why, metric, score, other, gain)


def _scores(
    models: Mapping[str, Scored],
    metric: str,
    groups: npt.NDArray[Any] | None,
    seed: int,
    samples: Mapping[str, Mapping[str, npt.NDArray[np.float64]]] | None = None,
) -> dict[str, Score]:
    resampler = Resampler(len(next(iter(models.values())).labels), groups, RESAMPLES, seed)
    samples = samples or bootstrap_metrics(models, resampler)
    scores = {}
    for name, scored in models.items():
        points = point_metrics(scored)
        interval = metric_intervals(scored, points.values, samples[name], resampler, CONFIDENCE)[metric]
        scores[name] = Score(points.values[metric], interval, points.undefined.get(metric, ""))
    return scores


def _too_few(scored: Scored, groups: npt.NDArray[Any] | None) -> str:
    """Return why so few groups (or cases) of a class decide nothing, or an empty text."""
    for index in np.unique(scored.labels):
        cases = scored.labels == index
        units = int(cases.sum()) if groups is None else len(np.unique(np.asarray(groups)[cases].astype(str)))
        if units < FEWEST_UNITS:
            what = "images" if groups is None else "groups with images"
            return f"only {units} {what} of one class are left to compare on; {FEWEST_UNITS} are needed"
    return ""


def _fails_guessing(ranking: Score) -> str:
    """Return why an AUC is not shown to be better than guessing, or an empty text."""
    if ranking.undefined:
        return f"its AUC is undefined ({ranking.undefined}), so that nothing shows it to be better than guessing"
    if ranking.interval.high < 0.5:
        return f"test AUC {ranking} lies below 0.5: are the labels or the positive class inverted?"
    if not ranking.interval.low > 0.5:
        return f"test AUC {ranking} is not shown to be better than guessing (0.5)"
    return ""


def _fails_baseline(config: PromoteConfig, over_baseline: Interval | None) -> str:
    """Return why a model is not shown to be better than the baseline, or an empty text."""
    if not config.beat_baseline or over_baseline is None or not over_baseline.defined or over_baseline.low > 0:
        return ""
    return (
        f"it is not shown to be better than the baseline: AUC [{over_baseline.low:+.3f}, {over_baseline.high:+.3f}] "
        "over it (promote.beat_baseline=false lets it pass)"
    )


def _fails_counterpart(
    config: PromoteConfig,
    models: Mapping[str, Scored],
    samples: Mapping[str, Mapping[str, npt.NDArray[np.float64]]],
    resampler: Resampler,
    groups: npt.NDArray[Any] | None,
) -> str:
    """Return why too much specificity may be lost for sensitivity, or the reverse; or an empty text.

    A lower threshold raises the one at the cost of the other: alone, neither says that a model is better.
    """
    other = COUNTERPARTS.get(config.metric)
    if other is None:
        return ""
    change = compare_samples(
        models["challenger"],
        models["champion"],
        other,
        samples["challenger"][other],
        samples["champion"][other],
        resampler,
        groups,
        CONFIDENCE,
    )
    if change.interval.low >= -config.counterpart_margin:
        return ""
    return (
        f"its {METRICS[other].title.lower()} changes by {change.difference:+.3f} [{change.interval.low:+.3f}, "
        f"{change.interval.high:+.3f}], and may lose no more than {config.counterpart_margin:g}"
    )


def _fails_floor(config: PromoteConfig, score: Score) -> str:
    """Return why the floor is not reached, or an empty text."""
    if config.min_value is None:
        return ""
    measure = METRICS[config.metric]
    if measure.higher_is_better and score.value < config.min_value:
        return f"its test {measure.title} {score} is below min_value {config.min_value:g}"
    if not measure.higher_is_better and score.value > config.min_value:
        return f"its test {measure.title} {score} is above min_value {config.min_value:g}"
    return ""
