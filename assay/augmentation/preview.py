"""preview.html: what a policy does to images of the training split, for an eye that knows what they should look like.

For each operation and for all together: the original beside its strongest changes and random draws, with their
values. A clinician who says "this is no longer tissue" names the operation and the value at which it happens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from assay.augmentation.operations import OPERATIONS, Change, Operation, active_operations, describe
from assay.augmentation.parameters import Parameters, draw, matrices
from assay.augmentation.warp import Augmenter
from assay.config import Policy
from assay.pages.pictures import image_element
from assay.pages.template import page_template

_LARGEST_SIDE = 320
_DRAWS = 3
_DRAWS_OF_ALL = 6
# More pixels than this lost to the border or cut off at white, at an extreme, are worth a line of their own.
_NOTABLE = 0.1

BORDERS = {
    "nearest": "the outermost row or column is repeated, which draws streaks",
    "reflect": "the image is mirrored at its edge, which doubles what lies there",
    "wrap": "the opposite side of the image follows, which joins what does not belong together",
    "constant": "one grey level stands there, which no tissue shows",
}


@dataclass(frozen=True)
class PreviewPicture:
    """One picture: its element, a heading, the values that made it, and what was lost."""

    element: str
    heading: str
    values: tuple[str, ...]
    lost: str = ""


@dataclass(frozen=True)
class PreviewSection:
    """One operation, or all together: a row of pictures for each image."""

    anchor: str
    title: str
    meaning: str
    range: str
    warnings: tuple[str, ...]
    rows: tuple[tuple[PreviewPicture, ...], ...]


def write_preview(
    path: Path,
    policy: Policy,
    images: np.ndarray,
    names: Sequence[str],
    indices: np.ndarray,
    seed: int,
    *,
    whitened: np.ndarray | None = None,
) -> dict[str, float]:
    """Write the self-contained page.

    Args:
        path: The file.
        policy: What to show.
        images: uint8 (K, H, W, C), of the training split.
        names: What to call each image (K,): its class, for instance.
        indices: Positions of the images in their split, integers (K,): draw n is then what epoch n shows.
        seed: Of the run.
        whitened: float32 (K, H, W, C): the images after ZCA whitening, where the policy asks for it.

    Returns:
        ``augment_border_fraction`` and ``augment_clipped_fraction``: the mean fraction of pixels that come from
        outside the image, and that are newly cut off at white, over random draws of the whole policy.
    """
    show = _Show(policy, images, names, indices, seed)
    sections = []
    operations = active_operations(policy)
    if operations:
        sections.append(show.together())
        sections += [show.one(operation) for operation in operations if operation.field != "zca_whitening"]
        sections += [
            show.whitening(operation, whitened)
            for operation in operations
            if operation.field == "zca_whitening" and whitened is not None
        ]
    border, clipped = show.losses()
    page = page_template("preview.html.j2", Path(__file__).parent).render(
        policy=policy,
        shape=images.shape[1:],
        table=[
            {
                "title": operation.title,
                "field": operation.field,
                "active": operation in operations,
                "range": operation.range(policy, show.size) if operation in operations else "off",
                "meaning": operation.meaning,
            }
            for operation in OPERATIONS
        ],
        borders=BORDERS,
        fills=_fills(policy, images[0]),
        notes=_notes(policy, show.size),
        sections=sections,
        border=border,
        clipped=clipped,
        width=_shown_width(show.size),
        seed=seed,
    )
    path.write_text(page, encoding="utf-8")
    return {"augment_border_fraction": border, "augment_clipped_fraction": clipped}


class _Show:
    """Makes the rows of pictures of one policy on a few images."""

    def __init__(
        self, policy: Policy, images: np.ndarray, names: Sequence[str], indices: np.ndarray, seed: int
    ) -> None:
        self.policy = policy
        self.images = images
        self.names = names
        self.indices = indices
        self.seed = seed
        self.size: tuple[int, int] = (images.shape[1], images.shape[2])
        self.augmenter = Augmenter(policy, images.shape[1:], seed)

    def one(self, operation: Operation) -> PreviewSection:
        """Show one operation: each image at the extremes, and at the values that the first epochs draw."""
        extremes = operation.extremes(self.policy, self.size)
        alone = operation.alone(self.policy).model_copy(update={"views": 0})
        rows = []
        for position in range(len(self.images)):
            row = [self.original(position)]
            row += [self.picture(position, change, "at the limit") for change in extremes]
            if operation.graded:
                row += [self.drawn(position, alone, epoch) for epoch in range(_DRAWS)]
            rows.append(tuple(row))
        return PreviewSection(
            operation.field,
            operation.title,
            operation.meaning,
            operation.range(self.policy, self.size),
            tuple(self.warnings(extremes)),
            tuple(rows),
        )

    def together(self) -> PreviewSection:
        """Show all operations together, as training draws them in its first epochs, and all at their limits."""
        low: Change = {}
        high: Change = {}
        for operation in active_operations(self.policy):
            extremes = operation.extremes(self.policy, self.size)
            if extremes:
                low |= extremes[0]
                high |= extremes[1 if len(extremes) > 1 else 0]
            for change in extremes[2:] if operation.field == "color_jitter" else []:
                name, value = next(iter(change.items()))
                (low if value < 1 else high)[name] = value
        rows = []
        for position in range(len(self.images)):
            row = [self.original(position)]
            row += [self.drawn(position, self.policy, epoch) for epoch in range(_DRAWS_OF_ALL)]
            row += [self.picture(position, change, "all at the limit") for change in (low, high)]
            rows.append(tuple(row))
        return PreviewSection(
            "together",
            "All together",
            "What training is shown: the draws of its first epochs, and every operation at its limit at once, "
            "which chance all but never brings.",
            "",
            (),
            tuple(rows),
        )

    def whitening(self, operation: Operation, whitened: np.ndarray) -> PreviewSection:
        """Show what the network sees after ZCA whitening, stretched to the range of grey levels."""
        rows = []
        for position in range(len(self.images)):
            values = whitened[position]
            low, high = np.percentile(values, (1, 99))
            stretched = np.clip((values - low) / max(high - low, 1e-9) * 255, 0, 255).astype(np.uint8)
            shown = PreviewPicture(_shown(stretched, "whitened"), "whitened", ("contrast stretched",))
            rows.append((self.original(position), shown))
        return PreviewSection(operation.field, operation.title, operation.meaning, "always", (), tuple(rows))

    def original(self, position: int) -> PreviewPicture:
        """Return the image as it is."""
        return PreviewPicture(_shown(self.images[position], "original"), "original", (self.names[position],))

    def drawn(self, position: int, policy: Policy, epoch: int) -> PreviewPicture:
        """Return the image as ``policy`` shows it in one epoch."""
        parameters = draw(policy, self.size, self.seed, epoch, self.indices[position : position + 1])
        return self.picture(position, parameters.at(0), f"draw {epoch + 1}")

    def picture(self, position: int, change: Change, heading: str) -> PreviewPicture:
        """Return the image under given values."""
        parameters = Parameters.one(**change)
        changed = self.augmenter.apply(self.images[position : position + 1], parameters)[0]
        border = border_fraction(parameters, self.size)
        clipped = _newly_white(self.images[position], changed)
        lost = [f"{100 * border:.0f} % border"] if border >= 0.01 else []
        lost += [f"{100 * clipped:.0f} % cut off at white"] if clipped >= 0.01 else []
        values = tuple(describe(change)) or ("unchanged",)
        return PreviewPicture(_shown(changed, heading), heading, values, ", ".join(lost))

    def warnings(self, extremes: Sequence[Change]) -> list[str]:
        """Say where an operation at its limit loses much of the image."""
        said = []
        border = max((border_fraction(Parameters.one(**change), self.size) for change in extremes), default=0.0)
        if border >= _NOTABLE:
            said.append(
                f"At the limit {100 * border:.0f} % of the picture comes from outside the image: "
                f"{BORDERS[self.policy.fill_mode]}."
            )
        clipped = 0.0
        for change in extremes:
            changed = self.augmenter.apply(self.images, _repeated(change, len(self.images)))
            clipped = max(clipped, _newly_white(self.images, changed))
        if clipped >= _NOTABLE:
            said.append(f"At the limit {100 * clipped:.0f} % of the pixels are cut off at white: their detail is lost.")
        return said

    def losses(self) -> tuple[float, float]:
        """Return the mean border fraction and the mean fraction newly cut off at white of the whole policy."""
        borders, clipped = [], []
        for epoch in range(8):
            parameters = draw(self.policy, self.size, self.seed, epoch, self.indices)
            borders.append(border_fraction(parameters, self.size))
            clipped.append(_newly_white(self.images, self.augmenter.apply(self.images, parameters)))
        return float(np.mean(borders)), float(np.mean(clipped))


def border_fraction(parameters: Parameters, size: tuple[int, int]) -> float:
    """Return the mean fraction of pixels that show a place outside the image.

    Args:
        parameters: Of B images.
        size: Height and width, pixels.
    """
    height, width = size
    rows, columns = np.meshgrid(np.linspace(0, height - 1, 64), np.linspace(0, width - 1, 64), indexing="ij")
    places = matrices(parameters, size) @ np.stack([columns.ravel(), rows.ravel(), np.ones(rows.size)])
    limits = np.array([[width - 1], [height - 1]])
    # Half a pixel beyond the last one still belongs to it.
    return float(((places < -0.5) | (places > limits + 0.5)).any(axis=1).mean())


def _newly_white(before: np.ndarray, after: np.ndarray) -> float:
    return max(0.0, float((after == 255).any(axis=-1).mean() - (before == 255).any(axis=-1).mean()))


def _repeated(change: Change, count: int) -> Parameters:
    one = Parameters.one(**change)
    return Parameters(**{name: np.repeat(values, count) for name, values in vars(one).items()})


def _fills(policy: Policy, image: np.ndarray) -> list[dict[str, Any]]:
    """Return one image moved by a quarter under each fill mode, so that each border can be seen."""
    height, width = image.shape[:2]
    moved = Parameters.one(shift_x=width / 4, shift_y=-height / 4, rotation=12)
    fills = []
    for mode, meaning in BORDERS.items():
        changed = Augmenter(Policy(fill_mode=mode, fill_value=policy.fill_value), image.shape, 0).apply(
            image[None], moved
        )[0]
        chosen = mode == policy.fill_mode
        fills.append({"mode": mode, "element": _shown(changed, mode), "meaning": meaning, "chosen": chosen})
    return fills


def _notes(policy: Policy, size: tuple[int, int]) -> list[str]:
    """Say what is easily got wrong in this policy."""
    notes = []
    if 0 < policy.shear_range < 1:
        moved = np.tan(np.deg2rad(policy.shear_range)) * max(size) / 2
        notes.append(
            f"shear_range {policy.shear_range:g} is in degrees: at the edge of the picture it moves a pixel by "
            f"{moved:.2f} px, which nobody can see. For a visible slant give 5 to 15."
        )
    if policy.quarter_turns and policy.horizontal_flip and policy.vertical_flip:
        notes.append("Quarter turns with one flip reach all eight positions of a square: the second flip adds nothing.")
    if policy.quarter_turns and policy.rotation_range >= 45:
        notes.append("Quarter turns with a rotation of 45° or more cover every angle: the turns add nothing.")
    if policy.views:
        notes.append(
            f"Each image is shown in {policy.views} fixed views, one an epoch in turn, so that their features can be "
            "kept; without views every epoch draws anew."
        )
    return notes


def _shown_width(size: tuple[int, int]) -> int:
    """Return the width of a picture on the page, pixels: wide images get more of it."""
    height, width = size
    return int(np.clip(round(128 * (width / height) ** 0.75), 96, 420))


def _shown(image: np.ndarray, alt: str) -> str:
    return image_element(image, alt, largest=_LARGEST_SIDE)
