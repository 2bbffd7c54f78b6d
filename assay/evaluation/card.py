"""model_card.md and leaderboard.md: the evaluation as Markdown, for the registry and for Kubeflow's page."""

from __future__ import annotations

from pathlib import Path

from assay.evaluation import words
from assay.evaluation.results import Candidate, Evaluation
from assay.measures.metrics import METRICS
from assay.pages import numbers
from assay.pages.markdown import cell
from assay.pages.template import page_template

TEMPLATES = Path(__file__).parent / "templates"


def render_leaderboard(evaluation: Evaluation) -> str:
    """Return the candidates as a Markdown table with intervals, the best first."""
    header = ["model", "validation AUC", "test AUC", "accuracy", "sensitivity", "specificity", "AUC gain over baseline"]
    lines = ["| " + " | ".join(header) + " |", "|---|" + "---|" * (len(header) - 1)]
    for candidate in evaluation.candidates:
        cells = [
            f"**{cell(candidate.name)}** ({cell(candidate.info.name)})"
            + (" ★" if candidate is evaluation.best else ""),
            numbers.score(candidate.valid_metrics.values["auc"]),
            *(_with_interval(candidate, name) for name in ("auc", "accuracy", "sensitivity", "specificity")),
            _gain(evaluation, candidate),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    if evaluation.views is not None:
        views = evaluation.views
        text = f"{numbers.score(views.metrics.values['auc'])} ({numbers.interval_of(views.intervals['auc'])})"
        lines.append(f"| {evaluation.best.name}, mean of {views.views} views | | {text} | | | | |")
    chosen = "log loss" if evaluation.chosen_by == "val_log_loss" else "AUC"
    detects = f" Positive, what sensitivity is of: {cell(evaluation.positive_class)}." if evaluation.binary else ""
    optimism = words.optimism_in_words(evaluation)
    said = [f"★ best by validation {chosen}.{detects}", *([optimism] if optimism else [])]
    lines += ["", " ".join([*said, f"{words.how_intervals(evaluation)}."]), ""]
    return "\n".join(lines)


def render_card(evaluation: Evaluation) -> str:
    """Return the model card of the best candidate.

    Source:
        Mitchell et al. 2019, Model Cards for Model Reporting.
    """
    best = evaluation.best
    metrics = [
        (METRICS[name].title, _with_interval(best, name) or f"undefined: {best.test_metrics.undefined[name]}")
        for name in METRICS
        if not (evaluation.binary and name == "recall")
    ]
    return page_template("model_card.md.j2", TEMPLATES).render(
        evaluation=evaluation,
        dataset=evaluation.dataset,
        best=best,
        verdict=words.report_verdict(evaluation),
        gap=words.gap(evaluation),
        calibration=words.calibration_in_words(evaluation),
        fitted=words.fitted_in_words(evaluation),
        metrics=metrics,
        leaderboard=render_leaderboard(evaluation),
        limitations=words.limitations(evaluation),
        splits=evaluation.splits,
        folds=words.folds_in_words(evaluation),
        tested=words.tested(evaluation),
        rule=words.rule_in_words(evaluation),
        augmentation=words.augmentation_of(best.info),
        source=str(evaluation.dataset.description.get("snapshot", {}).get("source", "")),
    )


def _with_interval(candidate: Candidate, name: str) -> str:
    value = candidate.test_metrics.values[name]
    if name in candidate.test_metrics.undefined:
        return ""
    interval = numbers.interval_of(candidate.intervals[name])
    return numbers.score(value) + (f" ({interval})" if interval else "")


def _gain(evaluation: Evaluation, candidate: Candidate) -> str:
    baseline = evaluation.baseline
    found = None if baseline is None else evaluation.comparison(candidate.name, baseline.name)
    if found is None:
        return ""
    low, high = found.auc.interval.low, found.auc.interval.high
    p = numbers.p_value(found.auc_p_holm)
    return f"{numbers.signed(found.auc.difference)} ({numbers.signed(low)} to {numbers.signed(high)}" + (
        f", {p})" if p else ")"
    )
