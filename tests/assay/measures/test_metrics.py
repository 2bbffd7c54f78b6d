"""Every metric agrees with scikit-learn where that defines it, and says why where it is undefined."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as reference

from assay.measures.metrics import METRICS, Scored, confusion_matrix, decide, per_class_table, point_metrics


def _softmax(logits):
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)


def _cases(classes: int, count: int = 400, seed: int = 0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, count)
    logits = generator.normal(size=(count, classes))
    logits[np.arange(count), labels] += 1.2
    return labels.astype(np.int64), _softmax(logits)


@pytest.mark.parametrize("positive_index", [0, 1])
def test_binary_metrics_are_those_of_scikit_learn(positive_index):
    labels, probabilities = _cases(2)
    predicted = decide(probabilities, 0.35, positive_index)
    values = point_metrics(Scored(labels, probabilities, predicted, positive_index)).values
    truth, score = labels == positive_index, probabilities[:, positive_index].astype(float)
    called = score >= 0.35
    expected = {
        "auc": reference.roc_auc_score(truth, score),
        "pr_auc": reference.average_precision_score(truth, score),
        "accuracy": reference.accuracy_score(truth, called),
        "balanced_accuracy": reference.balanced_accuracy_score(truth, called),
        "sensitivity": reference.recall_score(truth, called),
        "recall": reference.recall_score(truth, called),
        "specificity": reference.recall_score(~truth, ~called),
        "precision": reference.precision_score(truth, called),
        "f1": reference.f1_score(truth, called),
        "brier": reference.brier_score_loss(truth, score),
        "log_loss": reference.log_loss(truth, score),
    }
    for name, value in expected.items():
        assert values[name] == pytest.approx(value, abs=1e-6), name


def test_metrics_of_many_classes_are_the_macro_averages_of_scikit_learn():
    labels, probabilities = _cases(4)
    predicted = probabilities.argmax(axis=1)
    values = point_metrics(Scored(labels, probabilities, predicted)).values
    double = probabilities.astype(float)
    double /= double.sum(axis=1, keepdims=True)
    one_hot = np.eye(4)[labels]
    expected = {
        "auc": reference.roc_auc_score(labels, double, multi_class="ovr", average="macro"),
        "pr_auc": reference.average_precision_score(one_hot, double, average="macro"),
        "accuracy": reference.accuracy_score(labels, predicted),
        "balanced_accuracy": reference.balanced_accuracy_score(labels, predicted),
        "sensitivity": reference.recall_score(labels, predicted, average="macro"),
        "precision": reference.precision_score(labels, predicted, average="macro"),
        "f1": reference.f1_score(labels, predicted, average="macro"),
        "brier": np.square(double - one_hot).sum(axis=1).mean(),
        "log_loss": reference.log_loss(labels, double),
    }
    for name, value in expected.items():
        assert values[name] == pytest.approx(value, abs=1e-6), name


def test_a_class_never_called_counts_as_precision_zero_among_many():
    labels = np.array([0, 1, 2, 2])
    probabilities = _softmax(np.array([[3.0, 0, 0], [3, 0, 0], [0, 0, 3], [0, 0, 3]]))
    scored = Scored(labels, probabilities, probabilities.argmax(axis=1))
    expected = reference.precision_score(labels, scored.predicted, average="macro", zero_division=0)
    assert point_metrics(scored).values["precision"] == pytest.approx(expected)


def test_a_split_of_one_class_says_what_is_undefined_and_why():
    probabilities = np.array([[0.2, 0.8], [0.6, 0.4]])
    labels = np.array([1, 1])
    result = point_metrics(Scored(labels, probabilities, decide(probabilities, 0.5, 1)))
    assert math.isnan(result.values["auc"])
    assert result.undefined["auc"] == "the split holds no negative case"
    assert result.undefined["specificity"] == "the split holds no negative case"
    assert result.undefined["balanced_accuracy"] == "the split holds no negative case"
    assert result.values["sensitivity"] == 0.5
    assert set(result.undefined) == {name for name in METRICS if math.isnan(result.values[name])}


def test_precision_without_positive_calls_is_undefined_and_f1_is_zero():
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2]])
    result = point_metrics(Scored(np.array([0, 1]), probabilities, np.array([0, 0])))
    assert result.undefined == {"precision": "no case was called positive"}
    assert result.values["f1"] == 0.0


def test_absent_classes_are_left_out_of_averages():
    labels = np.array([0, 1, 0, 1])
    probabilities = _softmax(np.array([[2.0, 0, 0], [0, 2, 0], [2, 0, 0], [0, 0, 2]]))
    values = point_metrics(Scored(labels, probabilities, probabilities.argmax(axis=1))).values
    assert values["sensitivity"] == pytest.approx((1 + 0.5) / 2)
    assert not math.isnan(values["auc"])


def test_probabilities_that_are_not_numbers_are_refused():
    with pytest.raises(ValueError, match="1 rows hold no probabilities"):
        Scored(np.array([0, 1]), np.array([[np.nan, np.nan], [0.5, 0.5]]), np.array([0, 0]))


def test_the_confusion_matrix_has_true_classes_in_rows():
    matrix = confusion_matrix(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), 3)
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]


def test_decisions_use_the_threshold_for_two_classes_and_the_largest_for_more():
    two = np.array([[0.7, 0.3], [0.71, 0.29]])
    assert decide(two, 0.3, 1).tolist() == [1, 0]
    assert decide(two, 0.705, 0).tolist() == [1, 0]
    assert decide(np.array([[0.2, 0.5, 0.3]]), 0.9, 2).tolist() == [1]


def test_the_per_class_table_agrees_with_the_averages():
    labels, probabilities = _cases(3)
    scored = Scored(labels, probabilities, probabilities.argmax(axis=1))
    rows = per_class_table(scored, ("a", "b", "c"))
    values = point_metrics(scored).values
    for name in ("auc", "pr_auc", "sensitivity", "specificity", "precision", "f1"):
        assert np.mean([row[name] for row in rows]) == pytest.approx(values[name]), name
    assert [row["images"] for row in rows] == np.bincount(labels).tolist()
