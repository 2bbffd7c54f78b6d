"""The checksum of a graph is that of zlib."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import tensorflow as tf

from assay.models.checksums import crc32

graph = tf.function(crc32, [tf.TensorSpec([None], tf.int64)], autograph=False)


@pytest.mark.parametrize("size", [4, 5, 7, 8, 64, 1000, 4097, 70_001])
def test_any_bytes(size: int) -> None:
    rng = np.random.default_rng(size)
    for data in (rng.bytes(size), bytes(size), b"\xff" * size):
        assert int(graph(tf.constant(list(data), tf.int64))) == zlib.crc32(data)
