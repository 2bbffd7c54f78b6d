"""preview.html of sensor windows: what hiding values in training does to them, the one change that they undergo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np

from assay.augmentation.examples import choose_examples
from assay.data.dataset import Dataset
from assay.data.missing import MissingValues

_TEMPLATE = Path(__file__).with_name("sensor_preview.html.j2")
_COLOURS = ("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2")
_WIDTH, _HEIGHT = 380, 130
_DRAWS = 2


@dataclass(frozen=True)
class Trace:
    """One window drawn: a polyline for each channel, and the places of values that were hidden."""

    heading: str
    lines: tuple[tuple[str, str], ...]
    hidden: tuple[tuple[float, float, str], ...]
    caption: str


def write_sensor_preview(path: Path, dataset: Dataset, count: int, seed: int) -> None:
    """Write the self-contained page.

    Args:
        path: The file.
        dataset: Sensor windows; its training split is shown.
        count: How many windows to show.
        seed: Of the run.
    """
    missing = dataset.description.get("missing") or {"policy": "error", "simulate": 0.0}
    chosen = choose_examples(dataset.train.labels, count, seed)
    windows = dataset.train.inputs[chosen]
    names = [dataset.classes[label] for label in dataset.train.labels[chosen]]
    rows = [[_trace("original", window, window, name)] for window, name in zip(windows, names, strict=True)]
    fill = "mean" if missing["policy"] == "error" else missing["policy"]
    if missing["simulate"]:
        hider = MissingValues(missing["simulate"], fill, dataset.mean, seed)
        for epoch in range(_DRAWS):
            shown = hider.batch(windows, chosen, epoch)
            for row, before, after in zip(rows, windows, shown, strict=True):
                share = float((before != after).mean())
                row.append(_trace(f"draw {epoch + 1}", after, before, f"{100 * share:.0f} % of the values hidden"))
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    steps, channels = dataset.input_shape
    page = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        steps=steps,
        channels=channels,
        fraction=missing["simulate"],
        fill={"mean": "the channel's training mean", "interpolate": "a straight line between their neighbours"}[fill],
        rows=rows,
        width=_WIDTH,
        height=_HEIGHT,
        seed=seed,
    )
    path.write_text(page, encoding="utf-8")


def _trace(heading: str, shown: np.ndarray, original: np.ndarray, caption: str) -> Trace:
    """Draw a window float32 (T, C) on the scale of its original, with dots where the two differ."""
    low, high = float(original.min()), float(original.max())
    x = np.linspace(6, _WIDTH - 6, len(shown))
    y = _HEIGHT - 8 - (shown - low) / (high - low if high > low else 1.0) * (_HEIGHT - 16)
    lines, hidden = [], []
    for channel in range(min(shown.shape[1], len(_COLOURS))):
        colour = _COLOURS[channel]
        points = zip(x.tolist(), y[:, channel].tolist(), strict=True)
        lines.append((" ".join(f"{across:.1f},{down:.1f}" for across, down in points), colour))
        for step in np.flatnonzero(shown[:, channel] != original[:, channel]):
            hidden.append((round(float(x[step]), 1), round(float(y[step, channel]), 1), colour))
    return Trace(heading, tuple(lines), tuple(hidden), caption)
