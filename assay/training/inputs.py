"""The training input: batches gathered from memory-mapped shards and augmented in threads ahead of their use.

The training loop reads the arrays by number, so that nothing lies between it and the threads: `numpy_function` in
`tf.data` adds 30 microseconds an image, and so does Keras's own adapter.
"""

from __future__ import annotations

import math
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from assay.observability.resources import available_cores

# Batches made ahead of the one asked for, beyond one for each worker: what evens out a slow one.
_SPARE = 2


class BatchTransform(Protocol):
    """What changes a batch in training: an `Augmenter` of images, or a `SignalAugmenter` of sensor windows."""

    def batch(
        self, images: np.ndarray, indices: np.ndarray, epoch: int, out: np.ndarray | None = None, /
    ) -> np.ndarray:
        """Return the changed batch, which depends on (seed, epoch, index) alone."""
        ...


class Batches:
    """Batches of one split, by number within an epoch.

    The order of the images and what is done to them depend on (seed, epoch) only: not on the number of
    workers, and not on what was read before.

    Args:
        inputs: Images uint8 (N, H, W, C) or windows float32 (N, T, C): an array or a `ShardedArray`.
        labels: Class indices (N,).
        batch_size: Images a batch; the last may be smaller.
        augmenter: Changes each batch; None: the images as they are.
        seed: Of the order.
        shuffle: Whether each epoch has an order of its own; False: the order of the split.
        workers: Threads that make batches; None: half the processor's threads, at most 8.
    """

    def __init__(
        self,
        inputs: Any,
        labels: np.ndarray,
        batch_size: int,
        *,
        augmenter: BatchTransform | None = None,
        seed: int = 0,
        shuffle: bool = False,
        workers: int | None = None,
    ) -> None:
        if len(labels) != len(inputs):
            raise ValueError(f"inputs and labels must be of one length. Received: {len(inputs)}, {len(labels)}")
        self.inputs = inputs
        self.labels = np.asarray(labels)
        self.batch_size = batch_size
        self.augmenter = augmenter
        self.seed = seed
        self.shuffle = shuffle
        self.threads = workers if workers is not None else default_workers()
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="batches")
        self._lock = threading.Lock()
        self._coming: dict[int, Future[tuple[np.ndarray, np.ndarray]]] = {}
        self.set_epoch(0)

    def __len__(self) -> int:
        return math.ceil(len(self.inputs) / self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return batch ``index`` of the present epoch: inputs and labels."""
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        with self._lock:
            for position in range(index, min(index + 1 + self.threads + _SPARE, len(self))):
                if position not in self._coming:
                    self._coming[position] = self._pool.submit(self._make, position, self.epoch, self._order)
            batch = self._coming.pop(index)
        return batch.result()

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch, counted from 0: a run that resumes there sees what it would have seen."""
        with self._lock:
            for batch in self._coming.values():
                batch.cancel()
            self._coming = {}
            self.epoch = epoch
            self._order = self.order(epoch)

    def order(self, epoch: int) -> np.ndarray:
        """Return the positions of the images in the order in which an epoch shows them: int64 (N,)."""
        if not self.shuffle:
            return np.arange(len(self.inputs))
        return np.random.default_rng([self.seed, epoch]).permutation(len(self.inputs))

    def _make(self, index: int, epoch: int, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        chosen = order[index * self.batch_size : (index + 1) * self.batch_size]
        inputs = self.inputs[chosen]
        if self.augmenter is not None:
            inputs = self.augmenter.batch(inputs, chosen, epoch)
        return inputs, self.labels[chosen]


def default_workers() -> int:
    """Return how many threads make batches: half of those this process may use, the rest being the network's."""
    return max(1, min(8, available_cores() // 2))
