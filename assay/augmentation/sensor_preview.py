"""preview.html of sensor windows: what training does to them, and which values it hides."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from assay.augmentation.examples import choose_examples
from assay.augmentation.signal import SignalAugmenter, signal_in_words
from assay.config import SignalChange
from assay.data.dataset import Dataset
from assay.data.missing import has_mask, hidden_values, sensor_channels
from assay.pages.pictures import CHANNELS_DRAWN, window_element
from assay.pages.template import page_template

_SIZE = (380, 130)
_DRAWS = 2


@dataclass(frozen=True)
class PreviewWindow:
    """One window: its element, what it is, and what was done to it."""

    element: str
    heading: str
    caption: str


def write_sensor_preview(path: Path, dataset: Dataset, change: SignalChange | None, count: int, seed: int) -> None:
    """Write the self-contained page.

    Args:
        path: The file.
        dataset: Sensor windows; its training split is shown.
        change: What the policy does to windows.
        count: How many windows to show.
        seed: Of the run.
    """
    chosen = choose_examples(dataset.train.labels, count, seed)
    windows = dataset.train.inputs[chosen]
    names = [dataset.classes[label] for label in dataset.train.labels[chosen]]
    steps, channels = dataset.input_shape[0], sensor_channels(dataset)
    originals = windows[..., :channels]
    rows = [[_shown("original", window, window, name)] for window, name in zip(originals, names, strict=True)]
    said, hide = signal_in_words(change), hidden_values(dataset, seed)
    if hide is not None or said:
        augmenter = SignalAugmenter(change, None, dataset.mean, dataset.std, seed, mask=has_mask(dataset))
        for epoch in range(_DRAWS):
            changed = augmenter.batch(windows, chosen, epoch)
            hidden = changed if hide is None else hide.batch(changed, chosen, epoch)
            pairs = zip(rows, changed[..., :channels], hidden[..., :channels], strict=True)
            for row, before, after in pairs:
                share = float((before != after).mean())
                caption = f"{100 * share:.0f} % of the values hidden" if hide is not None else "changed"
                row.append(_shown(f"draw {epoch + 1}", after, before, caption))
    page = page_template("sensor_preview.html.j2", Path(__file__).parent).render(
        steps=steps,
        channels=channels,
        fraction=0.0 if hide is None else hide.fraction,
        changes=said,
        fill={"mean": "the channel's training mean", "interpolate": "a straight line between their neighbours"}[
            "mean" if hide is None else hide.policy
        ],
        rows=rows,
        most=CHANNELS_DRAWN,
        seed=seed,
    )
    path.write_text(page, encoding="utf-8")


def _shown(heading: str, window: np.ndarray, original: np.ndarray, caption: str) -> PreviewWindow:
    element = window_element(window, f"{heading}: {caption}", size=_SIZE, original=original)
    return PreviewWindow(element, heading, caption)
