"""Pictures of test cases for the report: which ones, with the heat of what decided, as data that needs no file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.data.dataset import Dataset
from assay.data.missing import sensor_channels
from assay.evaluation.gradcam import Explanation, explain, overlay
from assay.evaluation.results import Evaluation
from assay.measures.metrics import Scored
from assay.models.artifact import load_model
from assay.pages.pictures import image_element, window_element

Array = npt.NDArray[Any]
SMALLEST_SIDE = 128
WORST = 12


@dataclass(frozen=True)
class Tile:
    """One test case.

    Attributes:
        id: Of the case.
        group: Its patient or slide; empty where there is none.
        truth: Name of its class.
        decided: Name of the class decided.
        probability: Of the class to detect, where there are two; else of the class decided.
        plain: The case as it is, HTML.
        heated: The same with the evidence for the decision laid over, HTML; empty where none was asked for.
    """

    id: str
    group: str
    truth: str
    decided: str
    probability: float
    plain: str
    heated: str = ""


@dataclass(frozen=True)
class OutcomePanel:
    """Cases of one outcome: its name, what it means, how many there are, and the most confident of them."""

    title: str
    meaning: str
    count: int
    tiles: Sequence[Tile]


@dataclass(frozen=True)
class Gallery:
    """The panels, and how the heat was made."""

    panels: Sequence[OutcomePanel]
    method: str
    layer: str


def gallery(evaluation: Evaluation, model_dirs: Sequence[Path]) -> Gallery | None:
    """Show the most confident cases of each outcome with the evidence for the decision.

    Args:
        evaluation: What was found.
        model_dirs: The best candidate's folder; of a cross-validation those of all folds: each case is explained by
            the model that was tested on it.

    Returns:
        Missed, false alarms, found and left alone for two classes; wrong and right for more. None where no
        pictures were asked for.
    """
    wanted = evaluation.config.gradcam_images
    if wanted == 0:
        return None
    outcomes = _outcomes(evaluation)
    each = max(1, wanted // len(outcomes))
    scored = evaluation.best.test
    chosen = [_most_confident(scored, cases)[:each] for _, _, cases in outcomes]
    rows = np.concatenate(chosen)
    some = evaluation.inputs[rows]
    found = _explain(evaluation, model_dirs, rows, some)
    tiles = dict(zip(rows.tolist(), _tiles(evaluation, rows, some, found.heat), strict=True))
    panels = [
        OutcomePanel(title, meaning, len(cases), [tiles[int(row)] for row in picked])
        for (title, meaning, cases), picked in zip(outcomes, chosen, strict=True)
    ]
    return Gallery(panels, found.method, found.layer)


def _explain(
    evaluation: Evaluation, model_dirs: Sequence[Path], rows: npt.NDArray[np.int64], inputs: Array
) -> Explanation:
    decided = evaluation.best.test.predicted[rows]
    members = np.zeros(len(rows), np.int64) if evaluation.fold_of is None else evaluation.fold_of[rows]
    heat = np.zeros((len(rows), *inputs.shape[1:-1]), np.float32)
    found = None
    for member in [*np.unique(members)] or [0]:
        mine = members == member
        found = explain(load_model(model_dirs[member]).model, inputs[mine], decided[mine])
        heat[mine] = found.heat
    assert found is not None
    return replace(found, heat=heat)


def worst_mistakes(evaluation: Evaluation) -> list[Tile]:
    """Return the wrong decisions that the model was surest of, the surest first."""
    scored = evaluation.best.test
    rows = _most_confident(scored, np.flatnonzero(scored.labels != scored.predicted))[:WORST]
    return _tiles(evaluation, rows, evaluation.inputs[rows], None)


def _outcomes(evaluation: Evaluation) -> list[tuple[str, str, npt.NDArray[np.int64]]]:
    scored = evaluation.best.test
    right = scored.labels == scored.predicted
    if not evaluation.binary:
        return [
            ("Wrong", "decided for another class", np.flatnonzero(~right)),
            ("Right", "decided for its class", np.flatnonzero(right)),
        ]
    positive = scored.labels == scored.positive_index
    yes, no = evaluation.positive_class, evaluation.negative_class
    return [
        ("Missed", f"false negatives: {yes} called {no}", np.flatnonzero(positive & ~right)),
        ("False alarms", f"false positives: {no} called {yes}", np.flatnonzero(~positive & ~right)),
        ("Found", f"true positives: {yes} called {yes}", np.flatnonzero(positive & right)),
        ("Left alone", f"true negatives: {no} called {no}", np.flatnonzero(~positive & right)),
    ]


def _most_confident(scored: Scored, cases: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return cases[np.argsort(-scored.probabilities[cases, scored.predicted[cases]], kind="stable")]


def _tiles(
    evaluation: Evaluation, rows: npt.NDArray[np.int64], inputs: Array, heat: npt.NDArray[np.float32] | None
) -> list[Tile]:
    scored, classes, groups = evaluation.best.test, evaluation.class_names, evaluation.groups
    named = evaluation.dataset.group_column is not None and groups is not None
    tiles = []
    for index, row in enumerate(rows.tolist()):
        decided = int(scored.predicted[row])
        case, alt = _shown(inputs[index], evaluation.dataset), f"{evaluation.ids[row]}, {classes[scored.labels[row]]}"
        tiles.append(
            Tile(
                id=evaluation.ids[row],
                group=str(groups[row]) if named and groups is not None else "",
                truth=classes[int(scored.labels[row])],
                decided=classes[decided],
                probability=float(scored.probabilities[row, scored.positive_index if scored.binary else decided]),
                plain=_drawn(case, alt),
                heated="" if heat is None else _drawn(case, f"{alt}, evidence", heat[index]),
            )
        )
    return tiles


def _shown(case: Array, dataset: Dataset) -> Array:
    """Return a case without the channels that tell a network what is missing."""
    return case[:, : sensor_channels(dataset)] if case.ndim == 2 else case


def _drawn(case: Array, alt: str, heat: npt.NDArray[np.float32] | None = None) -> str:
    """Return a case as an element: an image (H,W,C) uint8 or a window (T,C) float32, with heat (H,W) or (T,)."""
    if case.ndim == 2:
        return window_element(case, alt, heat=heat)
    return image_element(case if heat is None else overlay(case, heat), alt, smallest=SMALLEST_SIDE)
