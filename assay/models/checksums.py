"""CRC-32 inside a graph: TensorFlow has no operation for it, and PNG says by it which of its parts are damaged."""

from __future__ import annotations

import functools
import zlib

import numpy as np
import numpy.typing as npt
import tensorflow as tf

# Parts of up to 2**30 bytes; a larger PNG chunk does not fit into what a request may hold.
_LEVELS = 30


def crc32(content: tf.Tensor) -> tf.Tensor:
    """Return what `zlib.crc32` does.

    A checksum of two parts is that of the first, carried over as many bytes as the second has, and that of the second.
    So bytes are joined in pairs, pairs of pairs and so on, all of one level at once.

    Args:
        content: (N,) int64, bytes, four or more.

    Returns:
        Scalar int64.
    """
    # A register that begins as ones is one that begins as zeros, with the first four bytes inverted.
    content = tf.concat([tf.bitwise.bitwise_xor(content[:4], tf.constant(0xFF, tf.int64)), content[4:]], axis=0)
    sums = tf.gather(tf.constant(_byte_table()), content)
    tables = tf.constant(_zero_tables())

    def join(level: tf.Tensor, sums: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # A zero in front of everything changes nothing.
        sums = tf.concat([tf.zeros([tf.shape(sums)[0] % 2], tf.int64), sums], axis=0)
        first, second = sums[0::2], sums[1::2]
        table = tables[level]
        for byte in range(4):
            index = tf.bitwise.bitwise_and(tf.bitwise.right_shift(first, tf.constant(8 * byte, tf.int64)), 0xFF)
            second = tf.bitwise.bitwise_xor(second, tf.gather(table[byte], index))
        return level + 1, second

    _, sums = tf.while_loop(
        lambda level, sums: tf.shape(sums)[0] > 1,
        join,
        (tf.constant(0), sums),
        shape_invariants=(tf.TensorShape([]), tf.TensorShape([None])),
    )
    return tf.bitwise.bitwise_xor(tf.reduce_sum(sums), tf.constant(0xFFFFFFFF, tf.int64))


@functools.cache
def _byte_table() -> npt.NDArray[np.int64]:
    """Return the register after each byte, from a register of zeros."""
    ones = 0xFFFFFFFF
    return np.array([zlib.crc32(bytes([byte]), ones) ^ ones for byte in range(256)], np.int64)


@functools.cache
def _zero_tables() -> npt.NDArray[np.int64]:
    """Return (levels, 4, 256): what each byte of a register becomes after 2**level bytes of zero."""
    bytewise = _byte_table()
    codes = np.arange(256, dtype=np.int64)
    # After one byte of zero the lowest byte goes through the table, the others move down.
    tables = [np.stack([bytewise, codes, codes << 8, codes << 16])]
    for _ in range(_LEVELS - 1):
        last = tables[-1]
        tables.append(np.stack([_carried(last, last[byte]) for byte in range(4)]))
    return np.stack(tables)


def _carried(table: npt.NDArray[np.int64], registers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    out = np.zeros_like(registers)
    for byte in range(4):
        out ^= table[byte][(registers >> (8 * byte)) & 0xFF]
    return out
