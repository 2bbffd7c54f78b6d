"""From a file of sensor data to one window of steps x channels, the twin of `assay.data.images` for time series."""

from __future__ import annotations

import csv
import io

import numpy as np

from assay.data.unusable import UnusableWindow

_NPY_MAGIC = b"\x93NUMPY"
# What people's programs write for "no value".
_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?", "-"})
_DELIMITERS = (",", ";", "\t")


def decode_window(data: bytes) -> np.ndarray:
    """Return one window of sensor data.

    Args:
        data: A ``.npy`` file of shape (T, C) or (T,), or CSV text with one row a step and one column a channel;
            a first line of names is passed over, an empty cell is a missing value.

    Returns:
        float32 array (T, C); NaN where a value is missing.

    Raises:
        UnusableWindow: The file is empty, or no such window.
    """
    if not data:
        raise UnusableWindow("empty (0 bytes)")
    values = _from_npy(data) if data.startswith(_NPY_MAGIC) else _from_text(data)
    if values.ndim == 1:
        values = values[:, np.newaxis]
    if values.ndim != 2 or not values.size:
        raise UnusableWindow(f"not a window of steps x channels: its shape is {values.shape}")
    with np.errstate(over="ignore", invalid="ignore"):  # what is too large for float32 is infinite, and told below
        window = values.astype(np.float32)
    if np.isinf(window).any():
        raise UnusableWindow(f"{int(np.isinf(window).sum())} infinite values")
    return np.ascontiguousarray(window)


def _from_npy(data: bytes) -> np.ndarray:
    try:
        values = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # numpy raises nearly anything on a damaged header
        raise UnusableWindow(f"truncated or broken array ({' '.join(str(error).split())[:120]})") from error
    if values.dtype.kind not in "iufb":
        raise UnusableWindow(f"not numbers but {values.dtype}")
    return values


def _from_text(data: bytes) -> np.ndarray:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnusableWindow("neither a .npy array nor CSV text") from error
    lines = text.splitlines()
    first = lines[0] if lines else ""
    delimiter = max(_DELIMITERS, key=first.count)
    try:
        rows = [row for row in csv.reader(lines, delimiter=delimiter) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise UnusableWindow(f"not valid CSV ({error})") from error
    start = 1 if rows and not _is_number_row(rows[0]) else 0
    if len(rows) <= start:
        raise UnusableWindow("holds no rows of numbers")
    width = len(rows[start])
    values = np.full((len(rows) - start, width), np.nan)
    for step, row in enumerate(rows[start:]):
        if len(row) != width:
            raise UnusableWindow(f"row {start + step + 1} has {len(row)} values, the first has {width}")
        for channel, cell in enumerate(row):
            if cell.strip().lower() not in _MISSING:
                try:
                    values[step, channel] = float(cell)
                except ValueError as error:
                    raise UnusableWindow(f"row {start + step + 1} holds {cell.strip()[:40]!r}, no number") from error
    return values


def _is_number_row(row: list[str]) -> bool:
    """Return whether a row holds values; a line of names holds something that is neither a number nor missing."""
    for cell in row:
        if cell.strip().lower() in _MISSING:
            continue
        try:
            float(cell)
        except ValueError:
            return False
    return True
