"""Pictures of examples inside a page: images as JPEG data URIs, windows of sensor data as small inline SVG."""

from __future__ import annotations

import base64
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
LARGEST_SIDE = 480
JPEG_QUALITY = 90
# As many as the page has colours for.
CHANNELS_DRAWN = 8
COOLEST_DRAWN = 0.05


def image_element(image: npt.NDArray[np.uint8], alt: str, *, largest: int = LARGEST_SIDE, smallest: int = 0) -> str:
    """Return an image as an ``img`` element that needs no file.

    Args:
        image: (H, W, C) uint8, RGB or, with C = 1, grey.
        alt: What it shows, in words.
        largest: Longest side in pixels; a larger image is shrunk to it.
        smallest: Longest side at least; a smaller image is enlarged to it. 0: it stays as it is, and the browser
            enlarges it.
    """
    import cv2

    height, width, channels = image.shape
    longest = max(height, width)
    wanted = min(max(longest, smallest), largest)
    if wanted != longest:
        size = (max(1, round(width * wanted / longest)), max(1, round(height * wanted / longest)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if wanted < longest else cv2.INTER_CUBIC)
    # Full colour resolution: halved, as JPEG does by default, it would blur the hues that are to be judged.
    full = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    colours = np.ascontiguousarray(image[:, :, ::-1]) if channels == 3 else image
    encoded = cv2.imencode(".jpg", colours, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, *full])[1]
    data = base64.b64encode(encoded.tobytes()).decode()
    return f'<img alt="{escape(alt, quote=True)}" src="data:image/jpeg;base64,{data}">'


def window_element(
    window: npt.NDArray[np.float32],
    alt: str,
    *,
    size: tuple[int, int] = (200, 100),
    heat: npt.NDArray[np.float32] | None = None,
    original: npt.NDArray[np.float32] | None = None,
) -> str:
    """Return a window of sensor data as an SVG element, a line a channel, at most one point a pixel of its width.

    Args:
        window: (T, C) float; what is not finite is left out.
        alt: What it shows, in words.
        size: Width and height of the drawing in pixels.
        heat: Evidence 0..1 to lay behind each step, (T,); None: none.
        original: The window before values were changed, (T, C): it gives the scale, and dots mark the changes.
    """
    width, height = size
    # From what the scale is taken: of a window without one finite value, nothing is drawn.
    known = (window if original is None else original)[:, :CHANNELS_DRAWN]
    known = known[np.isfinite(known)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    steps = np.linspace(0, len(window) - 1, min(len(window), width)).round().astype(int)
    across = np.linspace(4, width - 4, len(steps)) if len(steps) > 1 else np.array([width / 2])
    shown = window[steps, :CHANNELS_DRAWN]
    down = height - 6 - (shown - low) / (high - low if high > low else 1.0) * (height - 12)
    parts = [] if heat is None else _heat(heat[steps], width, height)
    for channel in range(shown.shape[1]):
        places = [f"{x:.1f},{y:.1f}" for x, y in zip(across, down[:, channel], strict=True) if np.isfinite(y)]
        parts.append(f'<polyline class="line s{channel + 1}" points="{" ".join(places)}"/>')
    if original is not None:
        changed = shown != original[steps, :CHANNELS_DRAWN]
        parts += [
            f'<circle class="dot s{channel + 1}" cx="{across[step]:.1f}" cy="{down[step, channel]:.1f}" r="2.2"/>'
            for step, channel in np.argwhere(changed & np.isfinite(down)).tolist()
        ]
    label = escape(alt, quote=True)
    frame = f'<svg class="window" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">'
    return frame + "".join(parts) + "</svg>"


def _heat(warmth: npt.NDArray[np.float32], width: int, height: int) -> list[str]:
    edges = np.round(np.linspace(0, width, len(warmth) + 1)).astype(int)
    return [
        f'<rect class="heat" x="{left}" y="0" width="{right - left}" height="{height}" opacity="{0.6 * value:.2f}"/>'
        for left, right, value in zip(edges[:-1].tolist(), edges[1:].tolist(), warmth.tolist(), strict=True)
        if value > COOLEST_DRAWN and right > left
    ]
