"""Pictures of test cases for the report: which ones, with the heat of what decided, as data that needs no file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.evaluation.gradcam import explain, overlay
from assay.evaluation.results import Evaluation
from assay.measures.metrics import Scored
from assay.models.artifact import load_model

Array = npt.NDArray[Any]
LARGEST_SIDE = 480
SMALLEST_SIDE = 128
JPEG_QUALITY = 90
WORST = 12
CHANNELS_DRAWN = 6
STEPS_DRAWN = 200


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
class Panel:
    """Cases of one outcome: its name, what it means, how many there are, and the most confident of them."""

    title: str
    meaning: str
    count: int
    tiles: Sequence[Tile]


@dataclass(frozen=True)
class Gallery:
    """The panels, and how the heat was made."""

    panels: Sequence[Panel]
    method: str
    layer: str


def gallery(evaluation: Evaluation, model_dir: Path) -> Gallery | None:
    """Show the most confident cases of each outcome with the evidence for the decision.

    Args:
        evaluation: What was found.
        model_dir: The best candidate's folder.

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
    found = explain(load_model(model_dir).model, some, scored.predicted[rows])
    tiles = dict(zip(rows.tolist(), _tiles(evaluation, rows, some, found.heat), strict=True))
    panels = [
        Panel(title, meaning, len(cases), [tiles[int(row)] for row in picked])
        for (title, meaning, cases), picked in zip(outcomes, chosen, strict=True)
    ]
    return Gallery(panels, found.method, found.layer)


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
        case, alt = inputs[index], f"{evaluation.ids[row]}, {classes[scored.labels[row]]}"
        tiles.append(
            Tile(
                id=evaluation.ids[row],
                group=str(groups[row]) if named and groups is not None else "",
                truth=classes[int(scored.labels[row])],
                decided=classes[decided],
                probability=float(scored.probabilities[row, scored.positive_index if scored.binary else decided]),
                plain=drawn(case, alt),
                heated="" if heat is None else drawn(case, f"{alt}, evidence", heat[index]),
            )
        )
    return tiles


def drawn(case: Array, alt: str, heat: npt.NDArray[np.float32] | None = None) -> str:
    """Return an image as an ``img`` element, or a window of sensor data as a small SVG.

    Args:
        case: (H,W,C) uint8, or (T,C) float32.
        alt: What it is, in words.
        heat: Evidence 0..1 to lay over, (H,W) or (T,); None: none.
    """
    if case.ndim == 2:
        return _window(case, alt, heat)
    picture = case if heat is None else overlay(case, heat)
    return f'<img alt="{escape(alt, quote=True)}" src="{_data_uri(picture)}">'


def _data_uri(image: npt.NDArray[np.uint8]) -> str:
    import cv2

    height, width = image.shape[:2]
    scale = 1.0
    if max(height, width) > LARGEST_SIDE:
        scale = LARGEST_SIDE / max(height, width)
    elif max(height, width) < SMALLEST_SIDE:
        scale = SMALLEST_SIDE / max(height, width)
    if scale != 1.0:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    if image.ndim == 3 and image.shape[2] == 3:
        image = np.ascontiguousarray(image[:, :, ::-1])
    encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()


def _window(window: npt.NDArray[np.float32], alt: str, heat: npt.NDArray[np.float32] | None) -> str:
    width, height = 200.0, 100.0
    steps = np.linspace(0, len(window) - 1, min(len(window), STEPS_DRAWN)).round().astype(int)
    shown = window[steps, :CHANNELS_DRAWN]
    low, high = float(np.nanmin(shown)), float(np.nanmax(shown))
    span = high - low if high > low else 1.0
    across = np.linspace(2, width - 2, len(steps))
    parts = []
    if heat is not None:
        edges = np.round(np.linspace(0, width, len(steps) + 1)).astype(int)
        parts += [
            f'<rect class="heat" x="{left}" y="0" width="{right - left}" height="{height:g}" '
            f'opacity="{0.6 * float(warmth):.2f}"/>'
            for left, right, warmth in zip(edges[:-1], edges[1:], heat[steps], strict=True)
            if warmth > 0.05 and right > left
        ]
    for channel in range(shown.shape[1]):
        ups = height - 4 - (shown[:, channel] - low) / span * (height - 8)
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, ups, strict=True) if np.isfinite(y))
        parts.append(f'<polyline class="line s{channel + 1}" points="{points}"/>')
    label = escape(alt, quote=True)
    frame = f'<svg class="window" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{label}">'
    return frame + "".join(parts) + "</svg>"
