"""Small pictures of examples for a self-contained page: data URIs of images, SVG lines of sensor windows."""

from __future__ import annotations

import base64

import cv2
import numpy as np

from assay.config import DataConfig
from assay.data.images import Rendering, decode_native, resize, to_color_mode
from assay.data.sensors import decode_window
from assay.data.sources import Entry, Source
from assay.data.unusable import Unusable

_SIDE = 112
_COLOURS = ("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2")
_CHANNELS_DRAWN = 6
_STEPS_DRAWN = 200
_JPEG_QUALITY = 88


def picture(source: Source, entry: Entry, config: DataConfig) -> str | None:
    """Return a data URI that shows an example, or None where it cannot be shown.

    Args:
        source: Where to read it.
        entry: What to show.
        config: Whether it is an image, and how large an image may be.
    """
    try:
        data = source.read(entry)
        if config.kind == "sensor":
            return _drawn(decode_window(data))
        pixels, _ = decode_native(data, config.max_pixels, Rendering.of(config))
    except (Unusable, OSError):
        return None
    return _photographed(pixels)


def _photographed(pixels: np.ndarray) -> str:
    height, width, _ = pixels.shape
    scale = _SIDE / max(height, width)
    # Small images are shown as they are: enlarging is the browser's, with its pixels visible.
    if scale < 1:
        pixels = resize(pixels, (max(1, round(height * scale)), max(1, round(width * scale))))
    colour = cv2.cvtColor(to_color_mode(pixels, "rgb"), cv2.COLOR_RGB2BGR)
    encoded = cv2.imencode(".jpg", colour, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()


def _drawn(window: np.ndarray) -> str:
    steps = np.linspace(0, len(window) - 1, min(len(window), _STEPS_DRAWN)).round().astype(int)
    shown = window[steps, :_CHANNELS_DRAWN]
    low, high = np.nanmin(shown), np.nanmax(shown)
    heights = _SIDE - 6 - (shown - low) / (high - low if high > low else 1) * (_SIDE - 12)
    places = np.linspace(4, _SIDE - 4, len(shown)) if len(shown) > 1 else np.array([_SIDE / 2])
    lines = []
    for channel in range(shown.shape[1]):
        points = " ".join(
            f"{x:.1f},{y:.1f}" for x, y in zip(places, heights[:, channel], strict=True) if np.isfinite(y)
        )
        colour = _COLOURS[channel % len(_COLOURS)]
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.2"/>')
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_SIDE} {_SIDE}">{"".join(lines)}</svg>'
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
