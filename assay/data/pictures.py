"""Small pictures of examples for the page of data quality: what a file shows, or nothing where it shows nothing."""

from __future__ import annotations

from assay.config import DataConfig
from assay.data.images import Rendering, decode_native, to_color_mode
from assay.data.missing import mark_missing
from assay.data.sensors import decode_window
from assay.data.sources import Entry, Source
from assay.data.unusable import Unusable
from assay.pages.pictures import image_element, window_element

_SIDE = 112


def picture(source: Source, entry: Entry, config: DataConfig) -> str | None:
    """Return an element that shows an example, or None where it cannot be shown.

    Args:
        source: Where to read it.
        entry: What to show.
        config: Whether it is an image, and how large an image may be.
    """
    try:
        data = source.read(entry)
        if config.kind == "sensor":
            window = mark_missing(decode_window(data), config.missing_values, config.missing_flat_steps)
            return window_element(window, entry.id, size=(_SIDE, _SIDE))
        pixels, _ = decode_native(data, config.max_pixels, Rendering.of(config))
    except (Unusable, OSError):
        return None
    return image_element(to_color_mode(pixels, "rgb"), entry.id, largest=_SIDE)
