"""Which encoded images TensorFlow decodes as training did, told from their headers inside the graph.

`assay.data.images` is the one decoder. A SavedModel must do without it, so the signature that takes bytes takes those
files alone of which TensorFlow makes the same pixels, and names the reason for every other: a refusal is seen, a
picture that is turned, or has another palette, is not. The signature that takes pixels has no such limits.
"""

from __future__ import annotations

import tensorflow as tf

from assay.data.samples import Rendering
from assay.models.checksums import crc32

_MOST_SCANS = 200
_LEAST_SIDE = 8
_PADDING = 64
# Frames: baseline, extended and progressive, with Huffman or arithmetic codes; not DHT (C4), JPG (C8), DAC (CC).
_JPEG_FRAMES = [marker for marker in range(0xC0, 0xD0) if marker not in (0xC4, 0xC8, 0xCC)]
_ORIENTATION = 0x0112
_INSTEAD = "Send a PNG or JPEG without it, or decoded pixels to the signature pixels"


def is_jpeg(data: tf.Tensor) -> tf.Tensor:
    """Return whether a file (scalar string) begins as a JPEG does."""
    return tf.strings.substr(data, 0, 2) == b"\xff\xd8"


def is_png(data: tf.Tensor) -> tf.Tensor:
    """Return whether a file (scalar string) begins as a PNG does."""
    return tf.strings.substr(data, 0, 8) == b"\x89PNG\r\n\x1a\n"


def is_deep_png(data: tf.Tensor) -> tf.Tensor:
    """Return whether a file (scalar string) is a PNG of 16 bits a channel."""
    return tf.logical_and(is_png(data), tf.strings.substr(data, 24, 1) == b"\x10")


def refusal(data: tf.Tensor, max_pixels: int, rendering: Rendering) -> tf.Tensor:
    """Return why a file would not be decoded as in training; empty where it would.

    Args:
        data: Scalar string, the whole file.
        max_pixels: A larger image is refused.
        rendering: Window and bands of the training.

    Returns:
        Scalar string.
    """
    if rendering.bands is not None:
        return tf.constant(f"this model looks at chosen bands of a file (data.bands). {_INSTEAD}")
    content = tf.cast(tf.io.decode_raw(data, tf.uint8), tf.int64)
    content = tf.concat([content, tf.zeros([_PADDING], tf.int64)], axis=0)
    reason = tf.case(
        [
            (is_jpeg(data), lambda: _of_jpeg(content, max_pixels)),
            (is_png(data), lambda: _of_png(content, max_pixels, rendering)),
            (tf.strings.substr(data, 0, 2) == b"BM", lambda: _of_bmp(content, max_pixels)),
        ],
        default=lambda: tf.constant("neither JPEG, PNG nor BMP"),
    )
    return tf.cond(reason == "", lambda: tf.constant(""), lambda: tf.strings.join([reason, ". ", _INSTEAD]))


def _first(*checks: tuple[tf.Tensor, str]) -> tf.Tensor:
    """Return the text of the first check that holds, or an empty one."""
    reason = tf.constant("")
    for holds, text in reversed(checks):
        reason = tf.where(holds, text, reason)
    return reason


def _of_jpeg(content: tf.Tensor, max_pixels: int) -> tf.Tensor:
    size = tf.shape(content, tf.int64)[0] - _PADDING
    zero, one = tf.constant(0, tf.int64), tf.constant(1, tf.int64)

    def step(at: tf.Tensor, turned: tf.Tensor, frame: tf.Tensor, done: tf.Tensor) -> tuple[tf.Tensor, ...]:
        marker, length = content[at + 1], _big(content, at + 2, 2)
        filler = marker == 0xFF
        is_frame = tf.reduce_any(marker == tf.constant(_JPEG_FRAMES, tf.int64))
        is_exif = tf.logical_and(marker == 0xE1, tf.reduce_all(content[at + 4 : at + 8] == _codes(b"Exif")))
        end = tf.minimum(at + 2 + length, size)
        turned = tf.cond(is_exif, lambda: _orientation(content, at + 10, end), lambda: turned)
        frame = tf.where(is_frame, at, frame)
        broken = tf.logical_or(content[at] != 0xFF, tf.logical_and(tf.logical_not(filler), length < 2))
        done = tf.logical_or(tf.logical_or(is_frame, marker == 0xDA), broken)
        return tf.where(filler, at + 1, at + 2 + length), turned, frame, done

    _, turned, frame, _ = tf.while_loop(
        lambda at, turned, frame, done: tf.logical_and(tf.logical_not(done), at + 4 < size),
        step,
        (2 * one, one, zero, tf.constant(False)),
    )
    height, width = _big(content, frame + 5, 2), _big(content, frame + 7, 2)
    channels = content[frame + 9]
    pairs = content[:-1] * 256 + content[1:]
    position = tf.range(tf.shape(pairs, tf.int64)[0])
    ends = tf.reduce_any(tf.logical_and(pairs == 0xFFD9, position > frame))
    scans = tf.reduce_sum(tf.cast(pairs == 0xFFDA, tf.int64))
    return _first(
        (frame == 0, "a truncated or broken JPEG"),
        *_sizes(height, width, max_pixels),
        (content[frame + 4] != 8, "a JPEG of more than 8 bits"),
        (tf.logical_and(channels != 1, channels != 3), "a JPEG in CMYK"),
        (turned != 1, "a JPEG that its EXIF orientation turns"),
        (scans > _MOST_SCANS, "a JPEG of too many scans"),
        (tf.logical_not(ends), "a truncated JPEG"),
    )


def _of_png(content: tf.Tensor, max_pixels: int, rendering: Rendering) -> tf.Tensor:
    size = tf.shape(content, tf.int64)[0] - _PADDING
    one, no = tf.constant(1, tf.int64), tf.constant(False)

    def step(
        at: tf.Tensor, turned: tf.Tensor, clear: tf.Tensor, damaged: tf.Tensor, done: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        length, kind = _big(content, at, 4), content[at + 4 : at + 8]
        after = at + 8 + length
        intact = tf.cond(
            after + 4 <= size,
            lambda: crc32(content[at + 4 : after]) == _big(content, after, 4),
            lambda: tf.constant(False),
        )
        # Small first letters are of parts that a picture can be shown without: damaged ones are passed over.
        needed = kind[0] < 97
        is_exif = tf.logical_and(intact, tf.reduce_all(kind == _codes(b"eXIf")))
        turned = tf.cond(
            is_exif, lambda: _orientation(content, at + 8, tf.minimum(after, size)), lambda: tf.identity(turned)
        )
        clear = tf.logical_or(clear, tf.logical_and(intact, tf.reduce_all(kind == _codes(b"tRNS"))))
        damaged = tf.logical_or(damaged, tf.logical_and(needed, tf.logical_not(intact)))
        return after + 4, turned, clear, damaged, tf.reduce_all(kind == _codes(b"IEND"))

    _, turned, clear, damaged, whole = tf.while_loop(
        lambda at, turned, clear, damaged, done: tf.logical_and(tf.logical_not(done), at + 8 < size),
        step,
        (8 * one, one, no, no, no),
    )
    depth = content[24]
    deep = depth == 16
    return _first(
        (tf.logical_or(damaged, tf.logical_not(whole)), "a truncated or broken PNG"),
        *_sizes(_big(content, 20, 4), _big(content, 16, 4), max_pixels),
        (depth < 8, "a PNG of less than 8 bits"),
        (turned != 1, "a PNG that its EXIF orientation turns"),
        (tf.logical_and(deep, clear), "a PNG of 16 bits with a transparent colour"),
        (
            tf.logical_and(deep, rendering.window == "percentile"),
            "a PNG of 16 bits, of which this model sees a window of percentiles",
        ),
    )


def _of_bmp(content: tf.Tensor, max_pixels: int) -> tf.Tensor:
    size = tf.shape(content, tf.int64)[0] - _PADDING
    height, width = _little(content, 22, 4), _little(content, 18, 4)
    # Rows from the top down have a negative height.
    height = tf.where(height >= 2**31, 2**32 - height, height)
    return _first(
        (tf.logical_or(_little(content, 14, 4) < 40, _little(content, 30, 4) != 0), "a BMP that is compressed"),
        (_little(content, 28, 2) != 24, "a BMP of other than 24 bits"),
        *_sizes(height, width, max_pixels),
        (_little(content, 10, 4) + height * ((3 * width + 3) // 4 * 4) > size, "a truncated BMP"),
    )


def _sizes(height: tf.Tensor, width: tf.Tensor, max_pixels: int) -> list[tuple[tf.Tensor, str]]:
    return [
        (tf.minimum(height, width) < _LEAST_SIDE, f"too small: each side needs {_LEAST_SIDE} pixels"),
        (height * width > max_pixels, f"too large: data.max_pixels of the training is {max_pixels:,}"),
    ]


def _codes(text: bytes) -> tf.Tensor:
    return tf.constant(list(text), tf.int64)


def _big(content: tf.Tensor, at: tf.Tensor | int, size: int) -> tf.Tensor:
    """Return an unsigned number, its largest byte first."""
    return tf.add_n([content[at + byte] * 256 ** (size - 1 - byte) for byte in range(size)])


def _little(content: tf.Tensor, at: tf.Tensor | int, size: int) -> tf.Tensor:
    return tf.add_n([content[at + byte] * 256**byte for byte in range(size)])


def _orientation(content: tf.Tensor, start: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
    """Return the orientation in the first directory of an EXIF block, as `assay.data.formats` reads it."""
    block = tf.concat([content[start : tf.maximum(start, end)], tf.zeros([_PADDING], tf.int64)], axis=0)
    size = tf.maximum(end - start, 0)
    intel = tf.reduce_all(block[:2] == _codes(b"II"))

    def number(at: tf.Tensor, count: int) -> tf.Tensor:
        parts = [tf.gather(block, at + byte) for byte in range(count)]
        big = tf.add_n([part * 256 ** (count - 1 - byte) for byte, part in enumerate(parts)])
        little = tf.add_n([part * 256**byte for byte, part in enumerate(parts)])
        return tf.where(intel, little, big)

    directory = number(tf.constant(4, tf.int64), 4)
    directory = tf.where(directory + 2 <= size, directory, size)
    count = number(directory, 2)
    entries = directory + 2 + 12 * tf.range(tf.minimum(count, (size - directory) // 12 + 1))
    # What lies beyond the block ends the search; what stands before that counts.
    entries = tf.boolean_mask(entries, entries + 10 <= size)
    values = tf.boolean_mask(number(entries + 8, 2), number(entries, 2) == _ORIENTATION)
    value = tf.concat([values, tf.ones([1], tf.int64)], axis=0)[0]
    return tf.where(tf.logical_and(value >= 1, value <= 8), value, tf.ones_like(value))
