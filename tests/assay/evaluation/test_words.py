"""What the report says in words follows from the numbers."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from assay.evaluation import words
from assay.measures.calibration import Calibration, FittedCalibration
from assay.measures.interval import Interval
from assay.measures.metrics import Scored
from assay.measures.recalibration import claims, recalibration
from assay.measures.thresholds import Threshold
from assay.pages import numbers


def _with(evaluation, **changes):
    best = replace(evaluation.best, **changes)
    return replace(evaluation, candidates=[best, *evaluation.candidates[1:]])


def test_the_verdict_names_model_score_threshold_and_intervals(evaluation):
    verdict = words.report_verdict(evaluation)
    best = evaluation.best
    assert verdict.subject == "The searched cnn is the best model:"
    assert f"test AUC {best.test_metrics.values['auc']:.3f} (95% interval" in verdict.finding
    assert f"at threshold {best.threshold.value:.2f}" in verdict.finding
    assert f"finds {100 * best.test_metrics.values['sensitivity']:.1f}% of tumor" in verdict.finding
    assert "It is clearly better than the baseline: AUC +" in verdict.standing
    assert any("12 groups only" in caution for caution in verdict.cautions)


def test_a_model_that_may_be_guessing_is_said_to_be(evaluation):
    intervals = {**evaluation.best.intervals, "auc": Interval(0.48, 0.6, "bootstrap")}
    cautions = words.cautions(_with(evaluation, intervals=intervals))
    assert cautions[0] == "The interval of the AUC includes 0.5: this model is not shown to be better than guessing."


def test_an_auc_wholly_below_one_half_asks_whether_labels_are_inverted(evaluation):
    intervals = {**evaluation.best.intervals, "auc": Interval(0.0, 0.023, "bootstrap")}
    cautions = words.cautions(_with(evaluation, intervals=intervals))
    assert "wholly below 0.5: are the labels or the orientation inverted?" in cautions[0]
    assert "It ranks normal above tumor" in cautions[0]
    fine = {**evaluation.best.intervals, "auc": Interval(0.8, 0.9, "bootstrap")}
    assert not any("0.5" in caution for caution in words.cautions(_with(evaluation, intervals=fine)))


def _answering(evaluation, seed=0, offset=0.0, slope=1.0, count=400):
    """The evaluation of a model whose logits would have to become offset + slope times what they are."""
    generator = np.random.default_rng(seed)
    logits = 1.5 * generator.normal(size=count)
    labels = (generator.random(count) < expit(offset + slope * logits)).astype(np.int64)
    claimed = expit(logits)
    scored = Scored(labels, np.stack([1 - claimed, claimed], axis=1), (claimed >= 0.5).astype(np.int64))
    return _with(evaluation, test=scored, calibration=recalibration(*claims(scored)))


@pytest.mark.parametrize(
    ("offset", "slope", "expected"),
    [
        (0.0, 0.3, "they are too extreme"),
        (0.0, 2.5, "they are too cautious"),
        (-1.5, 1.0, "they are too high"),
        (1.5, 1.0, "they are too low"),
    ],
)
def test_probabilities_that_are_wrong_are_called_so_with_what_is_wrong(evaluation, offset, slope, expected):
    said = " ".join(words.calibration_in_words(_answering(evaluation, offset=offset, slope=slope)))
    assert "The probabilities are not frequencies (p < 0.001, score test, exact)" in said
    assert expected in said


def test_what_becomes_of_a_high_probability_is_said_in_numbers(evaluation):
    said = " ".join(words.calibration_in_words(_answering(evaluation, slope=0.3, count=4000)))
    found = re.search(r"Of images given (0\.\d\d), about (\d+) in 100 are tumor\.", said)
    given = float(found[1])
    assert int(found[2]) == pytest.approx(100 * expit(0.3 * np.log(given / (1 - given))), abs=4)
    assert "trust the decisions more than the probabilities" in said


def test_probabilities_that_are_right_are_called_wrong_in_one_report_of_twenty(evaluation):
    said = [" ".join(words.calibration_in_words(_answering(evaluation, seed, count=100))) for seed in range(60)]
    wrong = sum("not frequencies" in text for text in said)
    assert wrong <= 8
    assert sum("do not speak against the probabilities" in text for text in said) == 60 - wrong


def test_how_probabilities_were_made_is_said_and_a_bound_too(evaluation):
    assert re.search(
        r"Fitted on the validation split: slope \d\.\d\d and intercept [+−]\d", words.fitted_in_words(evaluation)[0]
    )
    found = Calibration(prior_shift=(0.0, 2.0), method="temperature", slopes=(0.05, 0.05))
    fitted = FittedCalibration(found, 0.7, 0.69, at_bound=("the temperature is at its upper bound of 20",))
    shift, temperature, bound = words.fitted_in_words(_with(evaluation, fitted=fitted))
    assert shift == "Training multiplied the odds of tumor by 7.39 (class weights); that is divided out."
    assert "a temperature of 20.000; the log loss there went from 0.700 to 0.690." in temperature
    assert bound.startswith("The temperature is at its upper bound of 20: the fit would have gone further")


def test_a_chosen_validation_score_is_said_to_flatter(evaluation):
    said = words.optimism_in_words(replace(evaluation, optimism=0.0123))
    assert "that of search for being the best of 2 candidates by about 0.012." in said
    training = {**evaluation.best.training, "search_optimism": 0.02, "search_trials": 24.0}
    both = words.optimism_in_words(replace(_with(evaluation, training=training), optimism=0.0))
    assert "by about 0.001 or less and for being the best of 24 trials by up to 0.020." in both
    assert words.optimism_in_words(replace(evaluation, optimism=float("nan"))) == ""


def test_two_candidates_far_apart_were_no_close_choice(evaluation):
    assert 0 <= evaluation.optimism < 0.005


def test_a_threshold_that_misses_its_target_is_a_caution(evaluation):
    threshold = Threshold(0.5, "specificity", 0.5, 0.5, "no threshold reaches specificity 0.99 on the validation split")
    cautions = words.cautions(_with(evaluation, threshold=threshold))
    assert "No threshold reaches specificity 0.99 on the validation split." in cautions


def test_one_candidate_is_not_called_better_than_anything(evaluation):
    alone = replace(evaluation, candidates=[evaluation.best], comparisons=[])
    assert words.standing(alone).startswith("It was the only candidate")


def test_a_baseline_that_wins_is_admitted(evaluation):
    turned = replace(evaluation, candidates=list(reversed(evaluation.candidates)), comparisons=[])
    standing = words.standing(turned)
    assert standing.startswith("Nothing that was tried beats the baseline")
    assert "On the test split search scores higher, but the choice was made on the validation split" in standing


@pytest.mark.parametrize(
    ("train", "valid", "expected"),
    [
        (0.99, 0.90, "0.090 better on images that it was trained on"),
        (0.92, 0.90, "a little better"),
        (0.90, 0.90, "no sign of memorising"),
        (0.70, 0.69, "does not even know its training data"),
    ],
)
def test_the_gap_between_training_and_validation_is_named(evaluation, train, valid, expected):
    metrics = replace(evaluation.best.valid_metrics, values={**evaluation.best.valid_metrics.values, "auc": valid})
    changed = _with(evaluation, training={"train_auc": train}, valid_metrics=metrics)
    assert expected in words.gap(changed).words[0]


@pytest.mark.parametrize(
    ("valid", "expected"), [(0.85, "no more than chance"), (0.95, "Trust the test figure"), (0.7, "easier")]
)
def test_the_gap_between_validation_and_test_is_named(evaluation, valid, expected):
    metrics = replace(evaluation.best.valid_metrics, values={**evaluation.best.valid_metrics.values, "auc": valid})
    test = replace(evaluation.best.test_metrics, values={**evaluation.best.test_metrics.values, "auc": 0.86})
    intervals = {**evaluation.best.intervals, "auc": Interval(0.8, 0.9, "bootstrap")}
    changed = _with(evaluation, valid_metrics=metrics, test_metrics=test, intervals=intervals)
    assert expected in words.gap(changed).words[-1]


def test_what_was_tried_comes_from_the_candidates_own_config(evaluation):
    config = {
        "policy": {"rotation_range": 15, "horizontal_flip": True, "brightness_range": [0.5, 1.5], "zoom_range": 0.0},
        "section": {
            "model": {"options": {"dropout": 0.5, "l2": 0.001, "pool_dropout": 0.0}},
            "optimizer": {"weight_decay": 1e-4},
            "callbacks": {"early_stopping_patience": 10, "monitor": "val_loss"},
            "unfreeze_from": "block5_conv1",
        },
    }
    tried = words.tried_against_overfitting(evaluation.best.info.model_copy(update={"config": config}))
    assert tried[0] == "augmentation: rotation ±15°, brightness ×0.5 to ×1.5, horizontal flip"
    assert tried[1:] == [
        "dropout 0.5",
        "L2 penalty 0.001",
        "weight decay 0.0001",
        "early stopping after 10 epochs without gain",
        "layers before block5_conv1 kept frozen",
        "the epoch with the best val_loss was kept",
    ]


def test_a_model_trained_without_augmentation_or_on_windows_was_not_augmented(evaluation):
    info = evaluation.best.info
    assert words.augmentation_of(info.model_copy(update={"config": {}})) == []
    config = {"policy": {"horizontal_flip": True, "an_operation_of_long_ago": 3}}
    of_images = info.model_copy(update={"config": config})
    assert words.augmentation_of(of_images) == ["horizontal flip"]
    # No operation is done to windows, whatever the policy says.
    assert words.augmentation_of(of_images.model_copy(update={"kind": "sensor", "input_shape": (30, 2)})) == []


def test_generated_data_are_said_to_be_generated(evaluation):
    assert not any("generated" in one for one in words.limitations(evaluation))
    description = {**evaluation.dataset.description, "snapshot": {"source": "demo://tissue"}}
    generated = replace(evaluation, dataset=replace(evaluation.dataset, description=description))
    assert any("The data are generated" in one for one in words.limitations(generated))


@pytest.mark.parametrize(
    ("value", "text"), [(0.0001, "p < 0.001"), (0.0234, "p = 0.023"), (0.5, "p = 0.50"), (float("nan"), "")]
)
def test_p_values_are_written_briefly(value, text):
    assert numbers.p_value(value) == text


def test_numbers_that_are_none_are_dashes():
    nan = float("nan")
    assert (numbers.score(nan), numbers.signed(nan), numbers.percent(nan)) == ("–", "–", "–")
    assert numbers.signed(-0.01) == "−0.010"
    assert numbers.interval_of(Interval(0.1, 0.2, "x"), numbers.percent) == "10.0–20.0%"
    assert numbers.interval_of(Interval(nan, nan, "none")) == ""


def test_how_often_the_test_split_was_looked_at_is_said(evaluation):
    assert not any("looked at" in sentence for sentence in words.limitations(evaluation))
    looks = ["another", evaluation.test_fingerprint, evaluation.test_fingerprint]
    said = [sentence for sentence in words.limitations(replace(evaluation, looks=looks)) if "looked at" in sentence]
    assert "have been looked at 3 times before to decide a promotion, 2 of these at the very same ones" in said[0]
