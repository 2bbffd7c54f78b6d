"""The report's charts show the right curves."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import auc, precision_recall_curve, roc_curve

from assay.measures.calibration import reliability_curve
from assay.measures.intervals import Resampler
from assay.measures.ranking import SortedScores
from assay.pages import plots


def _ranking(count: int = 3000, seed: int = 0, decimals: int = 8) -> SortedScores:
    generator = np.random.default_rng(seed)
    positive = generator.random(count) < 0.4
    return SortedScores(positive, np.round(1 / (1 + np.exp(-generator.normal(size=count) - positive)), decimals))


@pytest.mark.parametrize("decimals", [1, 8])
def test_a_thinned_roc_keeps_ends_order_and_area(decimals):
    ranking = _ranking(decimals=decimals)
    fpr, tpr, thresholds = plots.roc_points(ranking)
    assert len(fpr) <= 200
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert (np.diff(fpr) >= 0).all() and (np.diff(tpr) >= 0).all() and (np.diff(thresholds) < 0).all()
    assert auc(fpr, tpr) == pytest.approx(ranking.auc(ranking.ones), abs=2e-3)
    scores = np.empty(3000)
    scores[ranking._descending] = np.repeat(ranking.thresholds, np.diff(np.append(-1, ranking._ends)))
    full = dict(zip(*(column.tolist() for column in roc_curve(ranking.positive, scores)[2:0:-1]), strict=True))
    for place, threshold in zip(tpr[1:-1], thresholds[1:-1], strict=True):
        if threshold in full:
            assert place == pytest.approx(full[threshold])


def test_few_points_are_all_kept():
    fpr, tpr, _ = plots.roc_points(SortedScores(np.array([True, False, True]), np.array([0.9, 0.5, 0.3])))
    assert list(zip(fpr, tpr, strict=True)) == [(0, 0), (0, 0.5), (1, 0.5), (1, 1)]


def test_the_band_holds_the_curve_and_is_wider_for_fewer_cases():
    widths = []
    for count in (100, 3000):
        ranking = _ranking(count)
        grid, low, high = plots.roc_band(ranking, Resampler(count, None, 200, 0), 0.95)
        assert len(grid) == len(low) == len(high) == 101
        found, alarms = ranking.curve()
        curve = np.append(0, found / found[-1])[
            np.searchsorted(np.append(0, alarms / alarms[-1]), grid, side="right") - 1
        ]
        assert np.mean((low <= curve) & (curve <= high)) > 0.95
        widths.append((high - low).mean())
    assert widths[0] > 2 * widths[1]


def test_the_band_of_one_class_is_undefined():
    ranking = SortedScores(np.ones(5, dtype=bool), np.arange(5.0))
    assert np.isnan(plots.roc_band(ranking, Resampler(5, None, 100, 0), 0.95)[1]).all()


def test_precision_and_recall_are_those_of_scikit_learn():
    ranking = _ranking(300)
    recall, precision = plots.precision_recall_points(ranking)
    scores = np.empty(300)
    scores[ranking._descending] = ranking.thresholds
    expected_precision, expected_recall, _ = precision_recall_curve(ranking.positive, scores)
    expected = set(zip(expected_recall.round(12), expected_precision.round(12), strict=True))
    assert set(zip(recall.round(12), precision.round(12), strict=True)) <= expected
    assert recall[-1] == 1


def _texts(figure: plots.Figure) -> str:
    return " ".join("".join(node.itertext()) for node in ElementTree.fromstring(figure.svg).iter())


def test_every_figure_is_well_formed_and_says_what_it_is():
    generator = np.random.default_rng(0)
    curve = plots.Curve("a & b 0.9", np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    band = (np.linspace(0, 1, 3), np.array([0.0, 0.4, 1.0]), np.array([0.1, 0.6, 1.0]))
    bins = reliability_curve(generator.random(100) < 0.5, generator.random(100))
    roc = plots.roc_figure([curve, curve], band, (0.2, 0.8, "threshold 0.40"))
    assert "threshold 0.40" in _texts(roc)
    assert len(list(ElementTree.fromstring(roc.svg).iter("polygon"))) == 1
    assert "guessing" in _texts(plots.precision_recall_figure([curve], 0.3))
    assert "probability of tumor" in _texts(plots.calibration_figure(bins, bins, "tumor"))
    histogram = plots.histogram_figure(generator.random(50), generator.random(50), ("tumor", "normal"), 0.7)
    assert "threshold 0.70" in _texts(histogram)
    bars = [node.findtext("title") for node in ElementTree.fromstring(histogram.svg).iter("rect")]
    assert sum(int(words.split()[0]) for words in bars if "tumor" in words) == 50
    ElementTree.fromstring(plots.histogram_figure(np.zeros(0), np.zeros(0), ("a", "b"), None).svg)


def test_learning_curves_mark_phases_and_the_epoch_kept():
    history = pd.DataFrame(
        {
            "phase": ["frozen"] * 2 + ["unfrozen"] * 2,
            "loss": [1.0, 0.8, 0.5, np.nan],
            "val_loss": [1.1, 0.9, 0.7, 0.75],
            "val_auc": [0.6, 0.7, 0.8, 0.79],
            "kept": [False, False, True, False],
        }
    )
    figures = plots.learning_figures(history)
    assert len(figures) == 2
    for figure in figures:
        assert "frozen" in _texts(figure) and "unfrozen" in _texts(figure)
        rings = [one for one in ElementTree.fromstring(figure.svg).iter("circle") if "ring" in one.attrib["class"]]
        assert len(rings) == 1 and "epoch 3" in (rings[0].findtext("title") or "")


@pytest.mark.parametrize("frame", [pd.DataFrame(), pd.DataFrame({"loss": [np.nan, np.nan]}), pd.DataFrame({"x": [1]})])
def test_a_history_without_numbers_draws_nothing(frame):
    assert plots.learning_figures(frame) == []
