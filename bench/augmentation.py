"""Target 1: augmented images a second on one core, from files by Keras's generator and from shards by one warp."""

from __future__ import annotations

import itertools

import numpy as np

from assay.augmentation.parameters import Parameters
from assay.augmentation.warp import Augmenter
from assay.config import Policy
from assay.training.inputs import Batches
from bench.harness import Check, Finding, Outcome, Settings, interleave, ratio
from bench.images import dataset, png_folder, tissue
from bench.reference.generator import BATCH, POLICY, RANGES, flow, generator

SIDE = 96


def run(settings: Settings) -> Outcome:
    """Compare the two inputs."""
    count = 512 if settings.quick else 2048
    reference = flow(png_folder(settings.folder, count, SIDE), SIDE, augment=True)
    data = dataset(settings.folder, count, 64, SIDE)
    augmenter = Augmenter(POLICY, (SIDE, SIDE, 3), 0)
    epochs = itertools.count()
    buffer = np.empty((BATCH, SIDE, SIDE, 3), np.uint8)

    def by_reference() -> float:
        steps = count // 2 // BATCH
        for _ in range(steps):
            next(reference)
        return steps * BATCH

    def by_warp(*, as_float: bool) -> float:
        for epoch in itertools.islice(epochs, 3):
            for start in range(0, count, BATCH):
                chosen = np.arange(start, start + BATCH)
                images = augmenter.batch(data.train.inputs[chosen], chosen, epoch, buffer)
                if as_float:
                    images.astype(np.float32)
        return 3 * count

    def by_batches(workers: int) -> float:
        with_threads = Batches(
            data.train.inputs, data.train.labels, BATCH, augmenter=augmenter, shuffle=True, workers=workers
        )
        for epoch in range(3):
            with_threads.set_epoch(epoch)
            for index in range(len(with_threads)):
                with_threads[index]
        return 3 * count

    ways = {
        "reference, PNG": by_reference,
        "one warp, one thread, uint8": lambda: by_warp(as_float=False),
        "one warp, one thread, float32": lambda: by_warp(as_float=True),
        "Batches, two threads, uint8": lambda: by_batches(2),
    }
    rates = interleave(ways, settings.rounds, "images/s")
    gain = ratio("augmentation", rates["one warp, one thread, uint8"], rates["reference, PNG"])
    return Outcome(
        "augmentation",
        "Augmentation",
        findings=(Finding(1, "augmented images a second, one core", gain, 20),),
        checks=(
            Check(1, "augmentation, 99th percentile of grey levels", percentile_difference(32, SIDE), 2.5),
            Check(1, "augmentation, one thread against two", _threads_differ(data.train.inputs[:64]), 0),
        ),
        rates=tuple(rates.values()),
        notes=(f"The generator's ranges: {', '.join(f'{key} {value}' for key, value in RANGES.items())}.",),
    )


def percentile_difference(count: int, side: int) -> float:
    """Return the 99th percentile of the difference between both ways on the generator's own random parameters."""
    theirs = generator(augment=True, rescale=None)
    ours = Augmenter(Policy(fill_mode="nearest"), (side, side, 3), 0)
    differences = []
    for number, image in enumerate(tissue(count, side)[0]):
        drawn = theirs.get_random_transform(image.shape, seed=number)
        parameters = Parameters.one(
            rotation=drawn["theta"],
            shift_x=drawn["tx"],
            shift_y=drawn["ty"],
            shear=drawn["shear"],
            zoom_x=drawn["zx"],
            zoom_y=drawn["zy"],
            flip_horizontal=drawn["flip_horizontal"],
            flip_vertical=drawn["flip_vertical"],
        )
        expected = theirs.apply_transform(image.astype(np.float32), drawn)
        differences.append(np.abs(expected - ours.apply(image[None], parameters)[0]))
    return float(np.percentile(np.stack(differences), 99))


def _threads_differ(images: np.ndarray) -> float:
    made = []
    for workers in (1, 2):
        augmenter = Augmenter(POLICY, (SIDE, SIDE, 3), 0)
        batches = Batches(images, np.zeros(len(images), np.int64), 16, augmenter=augmenter, workers=workers)
        made.append(np.concatenate([batches[index][0] for index in range(len(batches))]).astype(np.int64))
    return float(np.abs(made[0] - made[1]).max())
