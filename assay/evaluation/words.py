"""What an evaluation says in plain words: the verdict, the gap between splits, what limits the result."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from assay.augmentation.operations import policy_in_words
from assay.augmentation.signal import signal_in_words
from assay.config import Policy
from assay.evaluation.results import Candidate, Evaluation
from assay.measures.metrics import METRICS
from assay.measures.recalibration import Recalibration, claims
from assay.models.info import ModelInfo
from assay.pages.numbers import interval_of, p_value, percent, score, signed

# A gap in AUC that is worth a word, and one that is large.
SMALL_GAP, LARGE_GAP = 0.01, 0.03
FEW_OF_A_CLASS = 50
FEW_GROUPS = 20
SIGNIFICANT = 0.05
# A gap between probability and frequency that makes the probabilities useless.
POOR_CALIBRATION = 0.1
RULES = {
    "youden": "the largest sum of sensitivity and specificity",
    "accuracy": "the highest accuracy",
    "f1": "the highest F1",
    "sensitivity": "a sensitivity of at least {target}",
    "specificity": "a specificity of at least {target}",
    "fixed": "a value given beforehand",
}


def level(evaluation: Evaluation) -> str:
    """Return 95%."""
    return f"{100 * evaluation.config.confidence:g}%"


@dataclass(frozen=True)
class ReportVerdict:
    """The report's first lines.

    Attributes:
        subject: The beginning of the first sentence: which model is the best.
        finding: The rest of it: its AUC and what it does at its threshold.
        standing: How it stands to the baseline and to the others.
        cautions: What a reader must know before believing it.
    """

    subject: str
    finding: str
    standing: str
    cautions: list[str]


def report_verdict(evaluation: Evaluation) -> ReportVerdict:
    """Return the verdict."""
    best = evaluation.best
    values, intervals = best.test_metrics.values, best.intervals
    auc = f"{_judged(evaluation)} AUC {score(values['auc'])}"
    if intervals["auc"].defined:
        auc += f" ({level(evaluation)} interval {interval_of(intervals['auc'])})"
    if math.isnan(values["auc"]):
        auc = f"accuracy {percent(values['accuracy'])} ({interval_of(intervals['accuracy'], percent)})"
    if evaluation.binary and best.threshold is not None:
        does = f"; at threshold {best.threshold.value:.2f} "
        parts = []
        if not math.isnan(values["sensitivity"]):
            parts.append(
                f"it finds {percent(values['sensitivity'])} of {evaluation.positive_class} "
                f"({interval_of(intervals['sensitivity'], percent)})"
            )
        if not math.isnan(values["specificity"]):
            parts.append(
                f"leaves {percent(values['specificity'])} of {evaluation.negative_class} alone "
                f"({interval_of(intervals['specificity'], percent)})"
            )
        does += " and ".join(parts) if parts else "nothing can be said of its decisions"
    elif math.isnan(values["auc"]):
        does = ""
    else:
        does = (
            f"; it names the right one of {len(evaluation.dataset.classes)} classes for {percent(values['accuracy'])} "
        )
        does += f"of the {evaluation.unit} ({interval_of(intervals['accuracy'], percent)})"
    return ReportVerdict(
        f"{_called(best)} is the best model:", f"{auc}{does}.", standing(evaluation), cautions(evaluation)
    )


def _judged(evaluation: Evaluation) -> str:
    return f"pooled over {len(evaluation.folds)} folds," if evaluation.folds else "test"


def tested(evaluation: Evaluation) -> str:
    """Return what the figures are of: the test split, or all cases by the folds that test them."""
    if not evaluation.folds:
        return "the test split"
    return f"all {len(evaluation.ids):,} {evaluation.unit}, each tested by the model of the fold that has not seen it"


def folds_in_words(evaluation: Evaluation) -> list[str]:
    """Say how the folds differ, and what of a cross-validation is kept; empty for a single split."""
    if not evaluation.folds:
        return []
    best, count = evaluation.best.name, len(evaluation.folds)
    aucs = np.array([fold.metrics[best]["test_auc"] for fold in evaluation.folds])
    pooled = evaluation.best.test_metrics.values["auc"]
    said = []
    if np.isfinite(aucs).all():
        said.append(
            f"The AUC of {best} by fold: mean {score(float(aucs.mean()))}, standard deviation "
            f"{score(float(aucs.std(ddof=1)))}, from {score(float(aucs.min()))} to {score(float(aucs.max()))}; pooled "
            f"{score(pooled)}. Pooling compares scores of different models, which need not be on one scale: where the "
            "mean is higher by more than a little, they are not."
        )
    ensemble = evaluation.best.info.config.get("ensemble") or {}
    if ensemble:
        each = 1000 * float(ensemble["seconds_per_input"])
        said.append(
            f"Kept is the mean of the {count} models' calibrated probabilities, as one model with the median of their "
            f"thresholds; it takes {each:.1f} ms for each of the {evaluation.unit}, in a batch on this machine. It has "
            f"seen all {evaluation.unit}, so nothing here measures it directly: the figures are those of its parts."
        )
    if evaluation.best.name == "search":
        said.append("Each fold searched by itself (nested), so that its test images chose no hyperparameter.")
    return said


def _called(candidate: Candidate) -> str:
    names = {"finetune": "fine-tuned", "search": "searched", "baseline": "baseline"}
    name, model = candidate.name, candidate.info.name
    return f"The {names[name]} {model}" if name in names else f"{name} ({model})"


def standing(evaluation: Evaluation) -> str:
    """Return how the best model stands to the baseline and to the runner-up."""
    best, baseline = evaluation.best, evaluation.baseline
    if len(evaluation.candidates) == 1:
        return "It was the only candidate, so nothing here says that it is better than a simpler one."
    sentences = []
    if baseline is not None and baseline is not best:
        found = evaluation.comparison(best.name, baseline.name)
        if found is not None and not math.isnan(found.auc.difference):
            gain, p = found.auc, found.auc_p_holm
            better = "better" if gain.difference > 0 else "worse"
            clear = "clearly" if p < 0.05 else "not clearly"
            sentences.append(
                f"It is {clear} {better} than the baseline: AUC {signed(gain.difference)} "
                f"({signed(gain.interval.low)} to {signed(gain.interval.high)}, {p_value(p)})."
            )
    elif baseline is best:
        sentences.append("Nothing that was tried beats the baseline on the validation split.")
    rivals = [candidate for candidate in evaluation.candidates[1:] if candidate is not baseline]
    close = []
    for rival in rivals:
        found = evaluation.comparison(best.name, rival.name)
        if found is not None and not found.auc_p_holm < 0.05:
            close.append(rival.name)
    if close:
        sentences.append(f"The test {evaluation.unit} do not tell it from {' and '.join(close)}.")
    ahead = [
        candidate.name
        for candidate in evaluation.candidates[1:]
        if candidate.test_metrics.values["auc"] > best.test_metrics.values["auc"] + 5e-4
    ]
    if ahead:
        where, chosen = "the test split", "the validation split"
        if evaluation.folds:
            where, chosen = f"the test {evaluation.unit}", f"the folds' validation {evaluation.unit}"
        sentences.append(
            f"On {where} {' and '.join(ahead)} scores higher, but the choice was made on {chosen} and stands: a choice "
            f"made on {where} would make its scores worthless."
        )
    return " ".join(sentences)


def cautions(evaluation: Evaluation) -> list[str]:
    """Return what must be known before the numbers are believed, the gravest first."""
    best = evaluation.best
    found = []
    auc = best.intervals["auc"]
    if auc.defined and auc.low <= 0.5 <= auc.high:
        found.append("The interval of the AUC includes 0.5: this model is not shown to be better than guessing.")
    elif auc.defined and auc.high < 0.5:
        found.append(
            "The interval of the AUC lies wholly below 0.5: are the labels or the orientation inverted? It ranks "
            f"{evaluation.negative_class if evaluation.binary else 'other classes'} above "
            f"{evaluation.positive_class if evaluation.binary else 'the right one'}; look at the labels and at "
            "data.positive_class before anything else."
        )
    if best.training.get("not_learning"):
        found.append("Its training learnt nothing that the validation split shows.")
    if best.threshold is not None and best.threshold.note:
        found.append(_sentence(best.threshold.note))
    for name, reason in best.test_metrics.undefined.items():
        if name in ("auc", "sensitivity", "specificity"):
            found.append(_sentence(f"{name} is undefined: {reason}"))
    counts = evaluation.test_counts
    rare = {name: count for name, count in counts.items() if count < FEW_OF_A_CLASS}
    if rare:
        of = ", ".join(f"{count} of {name}" for name, count in sorted(rare.items(), key=lambda item: item[1])[:4])
        if evaluation.folds:
            found.append(f"There are few {evaluation.unit} ({of}): the intervals are wide, and rightly so.")
        else:
            every = f"{sum(sum(split.values()) for split in evaluation.dataset.counts.values()):,}"
            found.append(
                f"The test split is small ({of}): the intervals are wide, and rightly so. Cross-validation "
                f"(validate.folds: 5) tests all {every} {evaluation.unit}."
            )
    if _grouped(evaluation) and evaluation.resampler.units < FEW_GROUPS:
        found.append(
            f"The test {evaluation.unit} come from {evaluation.resampler.units} groups only, which the intervals allow "
            "for; those that are drawn by bootstrap may still be too narrow."
        )
    return found


def _sentence(text: str) -> str:
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


@dataclass(frozen=True)
class Gap:
    """The best model's scores on the three splits, and what their differences mean.

    Attributes:
        rows: For each split its name, AUC and accuracy (of the most probable class; nan: unknown).
        words: What the differences mean.
        tried: What was done against overfitting.
    """

    rows: list[tuple[str, float, float]]
    words: list[str]
    tried: list[str]


def gap(evaluation: Evaluation) -> Gap:
    """Name the gap between training, validation and test, and what was tried against it."""
    best = evaluation.best
    train = best.training.get("train_auc", math.nan)
    valid, test = best.valid_metrics.values["auc"], best.test_metrics.values["auc"]
    rows = [
        ("training", train, best.training.get("train_accuracy", math.nan)),
        ("validation", valid, _plain_accuracy(best, "valid")),
        ("test", test, _plain_accuracy(best, "test")),
    ]
    words = []
    if not math.isnan(train) and not math.isnan(valid):
        words.append(_of_training(train, valid, evaluation.unit))
    if not math.isnan(valid) and not math.isnan(test):
        words.append(_of_test(evaluation, valid, test))
    return Gap(rows, words, tried_against_overfitting(best.info))


def _plain_accuracy(candidate: Candidate, split: str) -> float:
    scored = candidate.valid if split == "valid" else candidate.test
    return float((scored.probabilities.argmax(axis=1) == scored.labels).mean())


def _of_training(train: float, valid: float, unit: str) -> str:
    difference = train - valid
    start = f"Training AUC {score(train)}, validation {score(valid)}: "
    if difference >= LARGE_GAP:
        return start + (
            f"the model does {difference:.3f} better on {unit} that it was trained on, so a part of what it learnt is "
            f"those {unit} and not their class. More {unit} (best: of more patients), stronger augmentation, more "
            "dropout or weight decay, or fewer trainable layers close such a gap."
        )
    if train < 0.8:
        return start + (
            "it does not even know its training data well. A larger model, a longer training or a higher learning "
            "rate may do more than more data would."
        )
    if difference >= SMALL_GAP:
        return start + f"it does a little better on {unit} that it was trained on, as most networks do."
    return start + "it does as well on new data as on what it was trained on. There is no sign of memorising."


def _of_test(evaluation: Evaluation, valid: float, test: float) -> str:
    interval = evaluation.best.intervals["auc"]
    start = f"From validation to test the AUC changes by {signed(test - valid)}: "
    if interval.defined and interval.low <= valid <= interval.high:
        return start + "no more than chance explains, by the interval of the test AUC."
    if test < valid:
        return start + (
            "more than chance explains. Epochs, settings and the best candidate were chosen on the validation split, "
            "which flatters it; or the test data differ (other slides, another scanner). Trust the test figure."
        )
    return start + "more than chance explains. The test split is easier than the validation split."


def tried_against_overfitting(info: ModelInfo) -> list[str]:
    """Return what the candidate's own config holds against overfitting, in words."""
    section = info.config.get("section") or {}
    found = []
    operations = augmentation_of(info)
    if operations:
        found.append("augmentation: " + ", ".join(operations))
    options = (section.get("model") or {}).get("options") or {}
    for name, value in options.items():
        if "dropout" in name and value:
            found.append(f"{name.replace('_', ' ')} {value}")
        if name == "l2" and value:
            found.append(f"L2 penalty {value:g}")
    optimizer = section.get("optimizer") or {}
    if optimizer.get("weight_decay"):
        found.append(f"weight decay {optimizer['weight_decay']:g}")
    if section.get("label_smoothing"):
        found.append(f"label smoothing {section['label_smoothing']:g}")
    callbacks = section.get("callbacks") or {}
    if callbacks.get("early_stopping_patience"):
        found.append(f"early stopping after {callbacks['early_stopping_patience']} epochs without gain")
    if section.get("unfreeze_from") is not None:
        found.append(f"layers before {section['unfreeze_from']} kept frozen")
    found.append(f"the epoch with the best {callbacks.get('monitor', 'val_auc')} was kept")
    return found


def augmentation_of(info: ModelInfo) -> list[str]:
    """Return what was done to a model's training images or windows, one phrase each; empty where nothing was."""
    given = info.config.get("policy") or {}
    # A model of another version of the code may name operations that are gone.
    policy = Policy.model_validate({name: value for name, value in given.items() if name in Policy.model_fields})
    if info.kind != "image":
        return signal_in_words(policy.signal)
    return policy_in_words(policy, (info.input_shape[0], info.input_shape[1]))


def calibration_in_words(evaluation: Evaluation) -> list[str]:
    """Say what the test cases tell of the probabilities; that they are wrong only where a test says so."""
    best, found = evaluation.best, evaluation.best.calibration
    if found is None:
        return []
    sentences = [_calibration_numbers(found)]
    if math.isnan(found.p_value):
        return [*sentences, f"The test {evaluation.unit} come from too few groups to test more."]
    if found.p_value >= SIGNIFICANT:
        seen = f"The {len(best.test.labels):,} test {evaluation.unit} do not speak against the probabilities"
        return [*sentences, f"{seen} ({p_value(found.p_value)}, {found.test})."]
    wrong = f"The probabilities are not frequencies ({p_value(found.p_value)}, {found.test}): "
    sentences.append(f"{wrong}{_what_is_wrong(found)}.{_for_example(evaluation, found)}")
    if found.error > POOR_CALIBRATION:
        sentences.append("That is much: trust the decisions more than the probabilities.")
    return sentences


def _calibration_numbers(found: Recalibration) -> str:
    error = f"Typical gap between probability and frequency: {score(found.error)} (root mean square, chance taken off)"
    if not found.slope_interval.defined:
        return f"{error}. The cases are parted without a mistake or hold one class, so no slope can be given."
    slope, shift = found.slope_interval, found.intercept_interval
    return (
        f"{error}. Slope {found.slope:.2f} ({slope.low:.2f} to {slope.high:.2f}; right is 1), "
        f"intercept {found.intercept:+.2f} ({shift.low:+.2f} to {shift.high:+.2f}; right is 0)."
    ).replace("-", "−")


def _what_is_wrong(found: Recalibration) -> str:
    said = []
    if found.slope_interval.defined and found.slope_interval.high < 1:
        said.append("too extreme" if found.slope_interval.high > 0 or found.slope > 0 else "the wrong way round")
    if found.slope_interval.defined and found.slope_interval.low > 1:
        said.append("too cautious")
    if found.intercept_interval.defined and found.intercept_interval.low > 0:
        said.append("too low")
    if found.intercept_interval.defined and found.intercept_interval.high < 0:
        said.append("too high")
    return f"they are {' and '.join(said)}" if said else "level and spread together are off, by little each"


def _for_example(evaluation: Evaluation, found: Recalibration) -> str:
    """Return what becomes of a high probability, one that the model gives often."""
    _, claimed = claims(evaluation.best.test)
    high = min(0.99, max(0.01, round(float(np.quantile(claimed, 0.9)), 2)))
    true = found.recalibrated(high)
    if math.isnan(true):
        return ""
    what = evaluation.positive_class if evaluation.binary else "right"
    return f" Of {evaluation.unit} given {high:.2f}, about {100 * true:.0f} in 100 are {what}."


def fitted_in_words(evaluation: Evaluation) -> list[str]:
    """Say how the reported probabilities were made of the network's own, and of a parameter at its bound that it is."""
    best, fitted = evaluation.best, evaluation.best.fitted
    sentences = []
    if fitted.map.prior_shift:
        sentences.append(_shift_in_words(evaluation, fitted.map.prior_shift))
    if fitted.map.method == "none":
        return [*sentences, _sentence(fitted.note)]
    numbers_of = best.flat_metrics()
    slopes = fitted.map.slopes
    if fitted.map.curves:
        what = f"a rising curve of {max(map(len, fitted.map.curves))} corners (isotonic)"
    elif fitted.map.method == "temperature":
        what = f"a temperature of {1 / slopes[0]:.3f}"
    elif evaluation.binary:
        what = (
            f"slope {numbers_of['fitted_slope']:.2f} and intercept {numbers_of['fitted_intercept']:+.2f} of the "
            "log odds"
        ).replace("-", "−")
    elif max(slopes) > min(slopes):
        what = f"a slope ({min(slopes):.2f} to {max(slopes):.2f}) and an intercept of each class (vector scaling)"
    else:
        what = f"a slope of {slopes[0]:.2f} and an intercept of each class"
    sentences.append(
        f"Fitted on the validation split: {what}; the log loss there went from {score(fitted.loss_before)} to "
        f"{score(fitted.loss_after)}."
    )
    if fitted.note:
        sentences.append(_sentence(fitted.note))
    for bound in fitted.at_bound:
        sentences.append(
            f"{_sentence(bound)[:-1]}: the fit would have gone further, so the scores say next to nothing there or "
            "the network has hardly begun to learn. Do not use the probabilities."
        )
    return sentences


def _shift_in_words(evaluation: Evaluation, shift: tuple[float, ...]) -> str:
    if evaluation.binary:
        positive = evaluation.dataset.positive_index
        factor = math.exp(shift[positive] - shift[1 - positive])
        what = f"the odds of {evaluation.positive_class} by {factor:.3g}"
        return f"Training multiplied {what} (class weights); that is divided out."
    factors = [math.exp(value) for value in shift]
    return (
        f"Training multiplied the odds of the classes by {min(factors):.3g} to {max(factors):.3g} (class weights); "
        "that is divided out."
    )


def optimism_in_words(evaluation: Evaluation) -> str:
    """Say by how much the best validation AUC flatters because it was chosen, or nothing where that is not known."""
    found = evaluation.optimism
    tried = evaluation.best.training.get("search_optimism", math.nan)
    parts = []
    if not math.isnan(found):
        parts.append(f"for being the best of {len(evaluation.candidates)} candidates by about {_amount(found)}")
    if not math.isnan(tried):
        trials = int(evaluation.best.training.get("search_trials", 0))
        parts.append(f"for being the best of {trials} trials by up to {_amount(tried)}")
    if not parts:
        return ""
    return f"A validation AUC that was chosen flatters: that of {evaluation.best.name} {' and '.join(parts)}."


def _amount(value: float) -> str:
    return score(value) if value >= 0.0005 else "0.001 or less"


def limitations(evaluation: Evaluation) -> list[str]:
    """Return what these numbers do not say."""
    dataset = evaluation.dataset
    chosen_on = f"a validation split of {sum(dataset.counts['valid'].values()):,} {evaluation.unit}"
    if evaluation.folds:
        chosen_on = f"the folds' validation {evaluation.unit}"
    found = [
        f"Training, validation and test {evaluation.unit} come from one source. Nothing here says how the model does "
        f"on {evaluation.unit} of another hospital, scanner or stain.",
        f"The intervals are over test {evaluation.unit} (another sample of the same kind). They do not cover another "
        "training run of the same model: repeat it with other seeds for that.",
        f"The threshold and the calibration count as given; that they were chosen on {chosen_on} adds uncertainty that "
        "the intervals leave out.",
    ]
    if evaluation.folds:
        found.append(
            "Models of different folds share most of their training data, so their errors go together: the intervals "
            f"take the {evaluation.unit} for independent all the same (Bengio and Grandvalet 2004)."
        )
    if not _grouped(evaluation):
        found.append(
            f"The {evaluation.unit} count as independent of each other. If several show one patient or slide, the "
            "intervals are too narrow: name the groups in the source, and the bootstrap draws whole groups."
        )
    if str(dataset.description.get("snapshot", {}).get("source", "")).startswith("demo://"):
        found.append("The data are generated: the scores show that the pipeline works, and nothing of medicine.")
    looks = len(evaluation.looks)
    if looks:
        same = sum(test == evaluation.test_fingerprint for test in evaluation.looks)
        times = "once" if looks == 1 else f"{looks:,} times"
        found.append(
            f"Test {evaluation.unit} of this model's name have been looked at {times} before to decide a promotion, "
            f"{same:,} of these at the very same ones. Promotion pays for each look; settings that were changed after "
            "reading such a report do not, and make its figures flatter."
        )
    if len(evaluation.candidates) > 2:
        chosen = (
            f"The best candidate was chosen on the validation {evaluation.unit} of all folds, which other folds test: "
            "its pooled score is flattered by the choice, by no more than its validation AUC is."
            if evaluation.folds
            else "The best candidate was chosen on the validation split, so its test score is not flattered by the "
            "choice."
        )
        found.append(f"p-values are adjusted for the number of comparisons (Holm). {chosen}")
    return found


def _grouped(evaluation: Evaluation) -> bool:
    """Return whether there are groups worth the name: more than a few duplicates among single cases."""
    resampler = evaluation.resampler
    return resampler.grouped and resampler.units <= resampler.count / 2


def how_intervals(evaluation: Evaluation) -> str:
    """Return how the intervals were made."""
    resampler = evaluation.resampler
    unit = f"{resampler.units:,} {evaluation.unit}"
    if _grouped(evaluation):
        unit = f"{resampler.units:,} groups, drawn whole"
    elif resampler.grouped:
        unit = f"{resampler.count:,} {evaluation.unit}, duplicates drawn together"
    scores = "Wilson's for proportions, DeLong's and Newcombe's for the AUC" if evaluation.binary else "Wilson's"
    return (
        f"{level(evaluation)} intervals: {scores}, with Student's t and the design effect of groups; for everything "
        f"else {resampler.resamples:,} bootstrap resamples of {unit} (seed {evaluation.seed})"
    )


def rule_in_words(evaluation: Evaluation) -> str:
    """Return by what the threshold was chosen."""
    threshold = evaluation.best.threshold
    if threshold is None:
        offsets, metric = evaluation.best.offsets, METRICS[evaluation.best.offsets.metric or "balanced_accuracy"]
        if not offsets.values:
            return "the most probable class is taken"
        return (
            f"the probability of each class counts up to {math.exp(max(offsets.values)):.3g} times, the more the rarer "
            f"it is, by the highest {metric.title.lower() if metric.title != 'F1' else 'mean F1'} "
            f"({score(offsets.after)}, of the most probable class {score(offsets.before)})"
        )
    rule = RULES[threshold.rule].format(target=percent(evaluation.config.threshold_target))
    return (
        rule if math.isnan(threshold.chance) else f"{rule} (met on later cases with a chance of {threshold.chance:.0%})"
    )
